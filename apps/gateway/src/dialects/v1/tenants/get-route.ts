import { askRedis } from '@onewriter/protocol';
import { authorizeTenant } from '../../../security/authorize.ts';
import { type Api, addRoute } from '../api.ts';
import { createRoute, FAILURE, json, SECURED, TenantParam } from '../schemas.ts';
import { TENANT_PATH } from './request.ts';
import { describeTenant } from './tenant-answers.ts';
import { Tenant } from './tenant-shapes.ts';

const get = createRoute({
  security: SECURED,
  method: 'get',
  path: TENANT_PATH,
  operationId: 'getTenant',
  summary: 'State of a tenant',
  request: { params: TenantParam },
  responses: { 200: json('What is known of it.', Tenant), ...FAILURE },
});

/** `GET /v1/tenants/{tenant}` */
export function addGetRoute(api: Api): void {
  const { options, guards } = api;

  addRoute(api, get, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'read');
    return c.json(await askRedis(() => describeTenant(options, tenant)));
  });
}
