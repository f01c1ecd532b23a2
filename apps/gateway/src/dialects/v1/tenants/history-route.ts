import { OnewriterError, WRITE_KINDS } from '@onewriter/protocol';
import { requireReplica } from '../../../replica/gateway-replica.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { ownerOf } from '../../../security/shares.ts';
import { type Api, addRoute } from '../api.ts';
import { parseQuery } from '../parse-query.ts';
import { createRoute, FAILURE, json, SECURED, TenantParam, z } from '../schemas.ts';
import { TENANT_PATH } from './request.ts';

const HistoryQuery = z.object({ limit: z.coerce.number().int().min(1).max(1_000).default(50) });

const HistoryPoint = z
  .object({
    fromPos: z.int(),
    toPos: z.int(),
    fromSeq: z.int().openapi({ description: 'The first commit.' }),
    toSeq: z.int().openapi({ description: 'The last one.' }),
    fromMs: z.int(),
    toMs: z.int().openapi({ description: 'When it was committed, ms since the epoch.' }),
    bytes: z.int().openapi({ description: 'As stored.' }),
    each: z.boolean().openapi({ description: 'Each commit in it can be named; otherwise only the last.' }),
    kind: z.enum(['pages', 'full', 'base', 'deleted']).openapi({
      description: 'Pages that changed, the whole file, a branch that begins, the deletion of the tenant.',
    }),
    written: z
      .object({
        writes: z.int(),
        kinds: z.array(z.enum(WRITE_KINDS)),
        by: z.array(z.object({ who: z.string(), writes: z.int() })).openapi({
          description: 'Those with the most writes: ids of clients, or "token <id>". The rest are of others.',
        }),
      })
      .optional()
      .openapi({ description: 'Absent where it is not known.' }),
  })
  .openapi('HistoryPoint');

const route = createRoute({
  security: SECURED,
  method: 'get',
  path: `${TENANT_PATH}/history`,
  operationId: 'getHistory',
  summary: 'The points that a tenant can be restored to, the newest first',
  description:
    'Needs access admin. Also of a tenant that was deleted. 503 REPLICA_UNAVAILABLE where there is no replica.',
  request: { params: TenantParam, query: HistoryQuery },
  responses: {
    200: json('What the replica has.', z.object({ points: z.array(HistoryPoint) }).openapi('History')),
    ...FAILURE,
  },
});

/** `GET /v1/tenants/{tenant}/history` */
export function addHistoryRoute(api: Api): void {
  const { options, guards } = api;

  addRoute(api, route, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { limit } = parseQuery(HistoryQuery, c.req.query());
    const owner = ownerOf(c.get('access'), tenant);
    const points = await requireReplica(options.replica).history({
      ...{ tenant, limit, owner, signal: c.req.raw.signal },
    });
    if (points.length > 0) return c.json({ points });
    throw new OnewriterError('TENANT_NOT_FOUND', `The replica has nothing of tenant ${tenant}.`, { tenant });
  });
}
