import { askRedis, OnewriterError } from '@onewriter/protocol';
import { readOther } from '../../../bodies/json-body.ts';
import { CreateTenant } from '../../../bodies/other-bodies.ts';
import type { GatewayOptions } from '../../../gateway-options.ts';
import { authorizeTenant } from '../../../security/authorize.ts';
import { ownerOf } from '../../../security/shares.ts';
import { whoAsks } from '../../../security/who-asks.ts';
import { type Api, addRoute } from '../api.ts';
import { createRoute, FAILURE, json, jsonBody, SECURED, TenantParam } from '../schemas.ts';
import { hasBody, TENANT_PATH } from './request.ts';
import { describeTenant } from './tenant-answers.ts';
import { Tenant } from './tenant-shapes.ts';

/** For the writer to open what was created. */
const OPEN_WAIT_MS = 5_000;

const put = createRoute({
  security: SECURED,
  method: 'put',
  path: TENANT_PATH,
  operationId: 'createTenant',
  summary: 'Create a tenant',
  description:
    'Needs access admin. Does nothing where there is one already; its script is not run then. Where the script fails there is ' +
    'no tenant, and the same request can be sent again.',
  request: { params: TenantParam, body: { ...jsonBody(CreateTenant), required: false } },
  responses: {
    200: json('There was one already.', Tenant),
    201: json('Created.', Tenant),
    ...FAILURE,
  },
});

/** `PUT /v1/tenants/{tenant}` */
export function addCreateRoute(api: Api): void {
  const { options, guards } = api;
  const { tenants, audit } = options;

  addRoute(api, put, guards.token, guards.jsonBody, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const body = hasBody(c) ? await readOther(c, 'createTenant', options) : {};
    const created = await audit.record(c, 'tenant.create', tenant, () =>
      body.script === undefined
        ? tenants.create(tenant, whoAsks(c))
        : tenants.build(tenant, body.script, whoAsks(c), ownerOf(c.get('access'), tenant), c.req.raw.signal),
    );
    if (created) {
      tenants.catalogue.refresh();
      await openNew(options, tenant);
    }
    if (!created) return c.json(await askRedis(() => describeTenant(options, tenant)));
    return c.json(await describeTenant(options, tenant), 201);
  });
}

/** Has the writer open a tenant that was created, which is there whether that works now or later. */
async function openNew(options: GatewayOptions, tenant: string): Promise<void> {
  try {
    const timeoutMs = Math.min(options.writeTimeoutMs, OPEN_WAIT_MS);
    await options.onewriter.tenant(tenant).transaction([{ sql: 'SELECT 1' }], { timeoutMs });
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    options.log.warn({ tenant, code: error.code }, `A new tenant was not opened yet: ${error.message}`);
  }
}
