import { askRedis } from '@onewriter/protocol';
import { MAX_REASON_LENGTH, readReason } from '@onewriter/tenants';
import { readJsonBody } from '../../../bodies/json-body.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { whoAsks } from '../../../security/who-asks.ts';
import { type Api, addRoute } from '../api.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, TenantParam, z } from '../schemas.ts';
import { hasBody, TENANT_PATH } from './request.ts';
import { describeTenant } from './tenant-answers.ts';
import { Tenant } from './tenant-shapes.ts';

const PauseRequest = z
  .object({ reason: z.string().default('').openapi({ maxLength: MAX_REASON_LENGTH }) })
  .openapi('PauseTenant', { description: 'Why, for the people who see it paused.' });

const pause = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/pause`,
  operationId: 'pauseTenant',
  summary: 'Stop applying writes',
  description:
    "Needs access admin. Answers when nothing is being applied any more and the broker has closed the tenant's file. New writes through the gateway get 503 " +
    'TENANT_PAUSED; those of SDK clients wait in the queue. Reads continue.',
  request: { params: TenantParam, body: { ...jsonBody(PauseRequest), required: false } },
  responses: { 200: json('It is paused.', Tenant), ...FAILURE },
});
const resume = createRoute({
  security: SECURED,
  method: 'post',
  path: `${TENANT_PATH}/resume`,
  operationId: 'resumeTenant',
  summary: 'Apply writes again',
  description:
    'Needs access admin. Ends a pause; a file operation that holds the tenant then continues, and "holders" names it.',
  request: { params: TenantParam },
  responses: { 200: json('It is not paused any more.', Tenant), ...FAILURE },
});

/** `POST /v1/tenants/{tenant}/pause` and `…/resume` */
export function addPauseRoutes(api: Api): void {
  const { options, guards } = api;
  const { audit } = options;

  addRoute(api, pause, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { reason = '' } = hasBody(c) ? await readJsonBody(c, PauseRequest) : {};
    await askRedis(() => describeTenant(options, tenant));
    const why = readReason(reason);
    await audit.record(c, 'tenant.pause', tenant, () => options.pauses.pause(tenant, whoAsks(c), why), why);
    return c.json(await describeTenant(options, tenant));
  });

  addRoute(api, resume, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    await askRedis(() => describeTenant(options, tenant));
    await audit.record(c, 'tenant.resume', tenant, () => options.pauses.resume(tenant));
    return c.json(await describeTenant(options, tenant));
  });
}
