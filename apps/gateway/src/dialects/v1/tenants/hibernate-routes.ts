import { askRedis } from '@onewriter/protocol';
import { MAX_REASON_LENGTH, readReason } from '@onewriter/tenants';
import { readJsonBody } from '../../../bodies/json-body.ts';
import { wakeTenant } from '../../../reads/wake-tenant.ts';
import { requireReplica } from '../../../replica/gateway-replica.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { ownerOf } from '../../../security/shares.ts';
import { whoAsks } from '../../../security/who-asks.ts';
import { type Api, addRoute } from '../api.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, TenantParam, z } from '../schemas.ts';
import { hasBody, TENANT_PATH } from './request.ts';
import { describeTenant } from './tenant-answers.ts';
import { Tenant } from './tenant-shapes.ts';

const HibernateRequest = z
  .strictObject({
    reason: z.string().default('by hand').openapi({ maxLength: MAX_REASON_LENGTH }),
    force: z
      .boolean()
      .default(false)
      .openapi({ description: 'Also where writes wait: they bring it back at once.' }),
  })
  .openapi('HibernateTenant');

const hibernate = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/hibernate`,
  operationId: 'hibernateTenant',
  summary: 'Take its file away, once the replica has proved that it gives it back',
  description:
    'Needs the right admin:tenants. What comes for the tenant later brings the file back. 409 TENANT_BUSY where writes wait; 503 ' +
    'REPLICA_UNAVAILABLE where the replica has not all of it, or there is none. Nothing has changed then.',
  request: { params: TenantParam, body: { ...jsonBody(HibernateRequest), required: false } },
  responses: { 200: json('It is hibernated.', Tenant), ...FAILURE },
});
const wake = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/wake`,
  operationId: 'wakeTenant',
  summary: 'Bring its file back before it is needed',
  description:
    'Needs the right admin:tenants. 503 TENANT_WAKING where it takes longer: it is on its way then.',
  request: { params: TenantParam },
  responses: { 200: json('Its file is here.', Tenant), ...FAILURE },
});

/** `POST /v1/tenants/{tenant}/hibernate` and `…/wake` */
export function addHibernateRoutes(api: Api): void {
  const { options, guards } = api;
  const { audit, limits } = options;

  addRoute(api, hibernate, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, limits, c.req.param('tenant'), 'admin:tenants');
    const body = HibernateRequest.parse(hasBody(c) ? await readJsonBody(c, HibernateRequest) : {});
    const replica = requireReplica(options.replica);
    await askRedis(() => describeTenant(options, tenant));
    const reason = readReason(body.reason);
    const owner = ownerOf(c.get('access'), tenant);
    const request = { tenant, who: whoAsks(c), reason, force: body.force, owner, signal: c.req.raw.signal };
    await audit.record(c, 'tenant.hibernate', tenant, () => replica.hibernate(request), reason);
    return c.json(await describeTenant(options, tenant));
  });

  addRoute(api, wake, guards.token, async c => {
    const tenant = await authorizeTenant(c, limits, c.req.param('tenant'), 'admin:tenants');
    await askRedis(() => describeTenant(options, tenant));
    const wait = { timeoutMs: options.writeTimeoutMs, signal: c.req.raw.signal };
    await audit.record(c, 'tenant.wake', tenant, () => wakeTenant(options, tenant, wait));
    return c.json(await describeTenant(options, tenant));
  });
}
