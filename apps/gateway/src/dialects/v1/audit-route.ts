import { askRedis } from '@onewriter/protocol';
import { assertAdminOfAll } from '../../security/authorize.ts';
import { type Api, addRoute } from './api.ts';
import { parseQuery } from './parse-query.ts';
import { createRoute, FAILURE, json, SECURED, z } from './schemas.ts';

const Query = z.object({
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  before: z
    .string()
    .regex(/^\d{1,20}-\d{1,20}$/)
    .optional()
    .openapi({ description: "An entry's id: only older ones." }),
});

const Entry = z
  .object({
    id: z.string(),
    at: z.string(),
    action: z.string(),
    tenant: z.string(),
    outcome: z.string().openapi({ description: 'ok, or the code of the error.' }),
    subject: z.string(),
    token: z.string(),
    requestId: z.string(),
    address: z.string(),
    detail: z.string().optional(),
  })
  .openapi('AuditEntry');

const route = createRoute({
  method: 'get',
  path: '/v1/audit',
  operationId: 'audit',
  summary: 'What admins did, the newest first',
  description: 'Needs access admin to all tenants.',
  security: SECURED,
  request: { query: Query },
  responses: {
    200: json('Entries.', z.object({ entries: z.array(Entry) }).openapi('AuditPage')),
    ...FAILURE,
  },
});

/** `GET /v1/audit` */
export function addAuditRoute(api: Api): void {
  addRoute(api, route, api.guards.token, async c => {
    assertAdminOfAll(c);
    const { limit, before } = parseQuery(Query, c.req.query());
    return c.json({ entries: await askRedis(() => api.options.audit.list(limit, before)) });
  });
}
