import { OnewriterError, TENANT_ID_PATTERN } from '@onewriter/protocol';
import { parsePoint } from '@onewriter/replicator';
import type { Context } from 'hono';
import { readJsonBody } from '../../../bodies/json-body.ts';
import type { GatewayEnv } from '../../../gateway-env.ts';
import { requireReplica } from '../../../replica/gateway-replica.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { type Api, addRoute } from '../api.ts';
import { OperationLog } from '../operation-schemas.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, TenantParam, z } from '../schemas.ts';
import { startOperation } from '../start-operation.ts';
import { TENANT_PATH } from './request.ts';

/** Which point, as callers name it. */
export const at = z.union([z.int().min(0), z.string().min(1).max(100)]).openapi({
  description:
    'The number of a commit, a time as 2026-11-30T12:00:00Z, "5 minutes ago" or newest (GET …/history lists them).',
  example: '5 minutes ago',
});
const as = z
  .string()
  .regex(TENANT_ID_PATTERN)
  .openapi({ description: 'The new tenant; the token must cover it, too.' });

const RestoreAsRequest = z.strictObject({ at, as });
const RestoreReplaceRequest = z.strictObject({ at, replace: z.literal(true) });
const RestorePointRequest = z.union([RestoreAsRequest, RestoreReplaceRequest]).openapi('RestorePoint', {
  description: 'As a new tenant, or in the place of the present file, which is kept.',
});
const BranchRequest = z.strictObject({ as, at: at.default('newest') }).openapi('Branch');

const STARTED = { 202: json('It waits for its turn, or runs.', OperationLog), ...FAILURE };
const RIGHTS_NOTE =
  'Needs the right admin:tenants, also for the new tenant. It continues when the request has ended; follow it by its id. 503 REPLICA_UNAVAILABLE where there is no replica.';

const restore = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/restore`,
  operationId: 'restoreTenant',
  summary: 'Restore a tenant as it was at a point, out of the replica',
  description: `With replace it needs the header Confirm-Replace with the tenant id. ${RIGHTS_NOTE}`,
  request: {
    params: TenantParam,
    headers: z.object({
      'confirm-replace': z.string().optional().openapi({ description: 'The tenant id.' }),
    }),
    body: jsonBody(RestorePointRequest),
  },
  responses: STARTED,
});

const branch = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/branch`,
  operationId: 'branchTenant',
  summary: 'Make a new tenant of one as it is, or was, out of the replica',
  description: `No data is copied where that can be: then rows and tables are null in the result, and the file comes with the first use. ${RIGHTS_NOTE}`,
  request: { params: TenantParam, body: jsonBody(BranchRequest) },
  responses: STARTED,
});

/** `POST /v1/tenants/{tenant}/restore` and `…/branch` */
export function addRestoreRoutes(api: Api): void {
  const { options, guards } = api;
  const admit = (c: Context<GatewayEnv>, tenant: string | undefined) =>
    authorizeTenant(c, options.limits, tenant, 'admin:tenants');

  addRoute(api, restore, guards.token, guards.jsonBody, async c => {
    const from = await admit(c, c.req.param('tenant'));
    const body = await readJsonBody(c, RestorePointRequest);
    if ('as' in body) return startAs(c, from, await admit(c, body.as), body.at, 'copy');
    if (c.req.header('confirm-replace') !== from) {
      throw new OnewriterError(
        'CONFIRMATION_REQUIRED',
        `This puts another file in the place of tenant ${from}. To confirm, send the header "Confirm-Replace: ${from}".`,
        { tenant: from },
      );
    }
    return start(c, from, undefined, body.at, 'copy');
  });

  addRoute(api, branch, guards.token, guards.jsonBody, async c => {
    const from = await admit(c, c.req.param('tenant'));
    const body = await readJsonBody(c, BranchRequest);
    return startAs(c, from, await admit(c, body.as), body.at, 'branch');
  });

  async function startAs(
    c: Context<GatewayEnv>,
    from: string,
    tenant: string,
    point: z.output<typeof at>,
    by: 'copy' | 'branch',
  ): Promise<Response> {
    if ((await options.tenants.catalogue.find(tenant)) !== undefined)
      throw new OnewriterError('TENANT_BUSY', `There is a tenant ${tenant} already.`, { tenant });
    return start(c, from, tenant, point, by);
  }

  function start(
    c: Context<GatewayEnv>,
    from: string,
    asTenant: string | undefined,
    point: z.output<typeof at>,
    by: 'copy' | 'branch',
  ): Promise<Response> {
    const { access } = requireReplica(options.replica);
    const text = String(point);
    const request = {
      kind: 'restorePoint',
      by,
      access,
      from,
      as: asTenant,
      at: text,
      point: parsePoint(text),
    } as const;
    const tenant = asTenant ?? from;
    return startOperation(c, options, request, [tenant], `restore ${text} of ${from}`);
  }
}
