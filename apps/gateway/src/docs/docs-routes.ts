import { type OpenAPIHono, z } from '@hono/zod-openapi';
import { json } from '../dialects/v1/schemas.ts';
import type { GatewayEnv } from '../gateway-env.ts';
import { renderDocsPage } from './docs-page.ts';
import { STYLE } from './style.css.ts';

const INFO = {
  openapi: '3.1.0',
  info: {
    title: 'Onewriter',
    version: '1',
    description:
      "One SQLite file per tenant, one writer for each. Writes are queued to the tenant's writer and answered when they " +
      'are committed; reads go to the file.',
    license: { name: 'MIT', identifier: 'MIT' },
  },
  tags: [],
};

const Health = z
  .object({
    status: z.string(),
    reasons: z.array(z.string()).optional(),
    checks: z.record(z.string(), z.string()).optional(),
  })
  .openapi('Health');

/**
 *   GET /openapi.json    the document of all routes that were added so far
 *   GET /docs            the same for people
 *
 * Neither needs a token: they contain nothing about any tenant.
 */
export function addDocsRoutes(app: OpenAPIHono<GatewayEnv>): void {
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
  });
  for (const path of ['/livez', '/readyz', '/health']) {
    app.openAPIRegistry.registerPath({
      method: 'get',
      path,
      summary: path === '/livez' ? 'Whether the process answers' : 'Whether requests can be served',
      responses: { 200: json('Yes.', Health), 503: json('No, and why.', Health) },
    });
  }
  let document: unknown;
  const makeDocument = () => {
    document ??= app.getOpenAPI31Document(INFO);
    return document;
  };
  // Bytes that all answers share: a client without a token that does not read its answer holds no memory.
  let text: Buffer<ArrayBuffer> | undefined;
  app.get('/openapi.json', c => {
    text ??= Buffer.from(JSON.stringify(makeDocument()));
    return c.body(text, 200, { 'content-type': 'application/json' });
  });
  let page: { readonly origin: string; readonly html: Buffer<ArrayBuffer> } | undefined;
  app.get('/docs', c => {
    const { origin } = new URL(c.req.url);
    if (page?.origin !== origin) page = { origin, html: Buffer.from(renderDocsPage(makeDocument(), origin)) };
    return c.body(page.html, 200, { 'content-type': 'text/html; charset=UTF-8' });
  });
  app.get('/docs/style.css', c => c.body(STYLE, 200, { 'content-type': 'text/css; charset=utf-8' }));
}
