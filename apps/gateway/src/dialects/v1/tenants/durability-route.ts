import { askRedis, DURABILITIES } from '@onewriter/protocol';
import { readJsonBody } from '../../../bodies/json-body.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { type Api, addRoute } from '../api.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, TenantParam, z } from '../schemas.ts';
import { TENANT_PATH } from './request.ts';
import { describeTenant } from './tenant-answers.ts';
import { Tenant } from './tenant-shapes.ts';

const DurabilityRequest = z
  .object({ durability: z.enum(DURABILITIES).nullable() })
  .openapi('SetDurability', { description: 'null: that of the settings (ONEWRITER_REPLICA_MODE).' });

const route = createRoute({
  security: SECURED,
  method: 'put',
  path: `${TENANT_PATH}/durability`,
  operationId: 'setDurability',
  summary: 'Choose when callers are answered',
  description:
    'Needs access admin. async: when the commit is on the disk; the replica follows. sync: when the replica has it, too. off: nothing ' +
    'is replicated.',
  request: { params: TenantParam, body: jsonBody(DurabilityRequest) },
  responses: { 200: json('It is chosen.', Tenant), ...FAILURE },
});

/** `PUT /v1/tenants/{tenant}/durability` */
export function addDurabilityRoute(api: Api): void {
  const { options, guards } = api;

  addRoute(api, route, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { durability } = await readJsonBody(c, DurabilityRequest);
    await askRedis(() => describeTenant(options, tenant));
    await options.audit.record(
      c,
      'tenant.set',
      tenant,
      () => options.tenants.setDurability(tenant, durability ?? undefined),
      `durability ${durability ?? 'default'}`,
    );
    return c.json(await describeTenant(options, tenant));
  });
}
