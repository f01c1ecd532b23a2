import { assertTenantId, OnewriterError } from '@onewriter/protocol';
import { assertAccess, type Right } from '@onewriter/runtime';
import type { Context } from 'hono';
import type { GatewayEnv } from '../gateway-env.ts';
import type { RateLimits } from './rate-limits.ts';

/**
 * Lets a request at a tenant if the id is one, the token covers it with the right, and the tenant's limit allows it.
 * @returns the tenant id
 * @throws OnewriterError INVALID_TENANT, FORBIDDEN, RATE_LIMITED
 */
export async function authorizeTenant(
  c: Context<GatewayEnv>,
  limits: RateLimits,
  id: unknown,
  right: Right,
): Promise<string> {
  const tenant = assertTenantId(id);
  assertAccess(c.get('access'), right, tenant);
  await limits.countTenant(tenant);
  return tenant;
}

/** For what concerns all tenants. @throws OnewriterError FORBIDDEN */
export function assertAdminOfAll(c: Context<GatewayEnv>): void {
  const access = c.get('access');
  assertAccess(access, 'admin:fleet');
  if (access.tenants !== '*') {
    throw new OnewriterError('FORBIDDEN', 'This needs a token for all tenants ("tenants": "*").');
  }
}
