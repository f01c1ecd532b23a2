import { askRedis } from '@onewriter/protocol';
import { assertAccess, coversTenant } from '@onewriter/runtime';
import { type Api, addRoute } from '../api.ts';
import { parseQuery } from '../parse-query.ts';
import { createRoute, FAILURE, json, SECURED, z } from '../schemas.ts';
import { pageOfTenants } from './tenant-answers.ts';
import { Summary } from './tenant-shapes.ts';

const ListQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  after: z.string().max(63).default('').openapi({ description: 'The "next" of the page before.' }),
});

const list = createRoute({
  security: SECURED,
  method: 'get',
  path: '/v1/tenants',
  operationId: 'listTenants',
  summary: 'List tenants, by name',
  description: 'Those that the token covers.',
  request: { query: ListQuery },
  responses: {
    200: json(
      'One page.',
      z.object({ tenants: z.array(Summary), next: z.string().nullable() }).openapi('TenantPage'),
    ),
    ...FAILURE,
  },
});

/** `GET /v1/tenants` */
export function addListRoute(api: Api): void {
  const { options, guards } = api;

  addRoute(api, list, guards.token, async c => {
    const access = c.get('access');
    assertAccess(access, 'read');
    const { limit, after } = parseQuery(ListQuery, c.req.query());
    const covers = (tenant: string) => coversTenant(access, tenant);
    return c.json(await askRedis(() => pageOfTenants(options, after, limit, covers)));
  });
}
