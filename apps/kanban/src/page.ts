import { readFile } from 'node:fs/promises';

/** The page and what it loads, in memory. */
export interface Page {
  readonly html: string;
  /** By file name, as in `/assets/<file>`. */
  readonly assets: ReadonlyMap<string, { readonly type: string; readonly text: string }>;
}

const ASSETS = {
  'kanban.css': 'text/css; charset=utf-8',
  'kanban.js': 'text/javascript; charset=utf-8',
  'api.js': 'text/javascript; charset=utf-8',
  'board-view.js': 'text/javascript; charset=utf-8',
  'card-dialog.js': 'text/javascript; charset=utf-8',
  'element.js': 'text/javascript; charset=utf-8',
} as const;

/** Reads the files of `public/`, a few kilobytes. */
export async function loadPage(): Promise<Page> {
  const read = (file: string) => readFile(new URL(`../public/${file}`, import.meta.url), 'utf8');
  const assets = await Promise.all(
    Object.entries(ASSETS).map(async ([file, type]) => [file, { type, text: await read(file) }] as const),
  );
  return { html: await read('index.html'), assets: new Map(assets) };
}
