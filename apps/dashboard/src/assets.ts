import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { MiddlewareHandler } from 'hono';

/** What the pages load, by file name: all of it is served here. */
const ASSETS: Readonly<Record<string, string>> = {
  'dashboard.css': 'text/css; charset=utf-8',
  'dashboard.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  'live.js': 'text/javascript; charset=utf-8',
  'morph.js': 'text/javascript; charset=utf-8',
  'plot.js': 'text/javascript; charset=utf-8',
  'sql.js': 'text/javascript; charset=utf-8',
  'time-line.js': 'text/javascript; charset=utf-8',
  'theme.js': 'text/javascript; charset=utf-8',
};

/** `GET /assets/:file`: the files of `public/`, some kilobytes, held in memory. */
export async function createAssetHandler(): Promise<MiddlewareHandler> {
  const files = new Map<string, { readonly type: string; readonly text: string; readonly etag: string }>();
  for (const [file, type] of Object.entries(ASSETS)) {
    const text = await readFile(new URL(`../public/${file}`, import.meta.url), 'utf8');
    files.set(file, {
      type,
      text,
      etag: `"${createHash('sha256').update(text).digest('hex').slice(0, 16)}"`,
    });
  }
  return async (c, next) => {
    const file = files.get(c.req.param('file') ?? '');
    if (file === undefined) return next();
    // Asked again each time, answered in a few bytes: an upgrade shows at once.
    const headers = { etag: file.etag, 'cache-control': 'no-cache', 'content-type': file.type };
    if (c.req.header('if-none-match') === file.etag) return c.body(null, 304, headers);
    return c.body(file.text, 200, headers);
  };
}
