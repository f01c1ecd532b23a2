import { type OpenAPIHono, z } from '@hono/zod-openapi';
import type { GatewayEnv } from '../gateway-env.ts';
import { json } from '../v1/schemas.ts';
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
 * Neither needs a token: they say nothing of any tenant.
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
  app.get('/openapi.json', c => c.json(makeDocument() as object));
  app.get('/docs', c => c.html(renderDocsPage(makeDocument(), new URL(c.req.url).origin)));
  app.get('/docs/style.css', c => c.body(STYLE, 200, { 'content-type': 'text/css; charset=utf-8' }));
}
