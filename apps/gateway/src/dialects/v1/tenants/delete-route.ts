import { OnewriterError } from '@onewriter/protocol';
import { authorizeTenant } from '../../../security/authorize.ts';
import { whoAsks } from '../../../security/who-asks.ts';
import { type Api, addRoute } from '../api.ts';
import { parseQuery } from '../parse-query.ts';
import { createRoute, FAILURE, json, SECURED, TenantParam, z } from '../schemas.ts';
import { TENANT_PATH } from './request.ts';

const DeleteQuery = z.object({
  discardQueued: z
    .enum(['true', 'false'])
    .default('false')
    .openapi({ description: 'Whether writes that wait in the queue may be lost.' }),
});

const remove = createRoute({
  security: SECURED,
  method: 'delete',
  path: TENANT_PATH,
  operationId: 'deleteTenant',
  summary: 'Delete a tenant',
  description:
    'Needs access admin, and the header Confirm-Delete with the tenant id. The folder goes to the trash, where it stays ' +
    'until it expires. 409 TENANT_BUSY where writes wait in the queue.',
  request: {
    params: TenantParam,
    query: DeleteQuery,
    headers: z.object({ 'confirm-delete': z.string().optional().openapi({ description: 'The tenant id.' }) }),
  },
  responses: {
    200: json(
      'It is in the trash.',
      z
        .object({
          tenant: z.string(),
          trash: z.string().nullable().openapi({ description: 'null: its folder was gone already.' }),
          deletedAt: z.string(),
          expiresAt: z.string().nullable(),
        })
        .openapi('DeletedTenant'),
    ),
    ...FAILURE,
  },
});

/** `DELETE /v1/tenants/{tenant}` */
export function addDeleteRoute(api: Api): void {
  const { options, guards } = api;
  const { tenants, audit } = options;

  addRoute(api, remove, guards.token, async c => {
    const tenant = await authorizeTenant(c, options.limits, c.req.param('tenant'), 'admin:tenants');
    const { discardQueued } = parseQuery(DeleteQuery, c.req.query());
    if (c.req.header('confirm-delete') !== tenant) {
      throw new OnewriterError(
        'CONFIRMATION_REQUIRED',
        `This deletes tenant ${tenant}. To confirm, send the header "Confirm-Delete: ${tenant}".`,
        { tenant },
      );
    }
    const entry = await audit.record(c, 'tenant.delete', tenant, () =>
      tenants.remove(tenant, discardQueued === 'true', whoAsks(c)),
    );
    return c.json({
      tenant,
      trash: entry?.name ?? null,
      deletedAt: new Date(entry?.deletedAtMs ?? Date.now()).toISOString(),
      expiresAt: entry === undefined ? null : new Date(entry.expiresAtMs).toISOString(),
    });
  });
}
