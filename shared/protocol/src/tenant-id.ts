import { OnewriterError } from './onewriter-error.ts';

/** Tenant ids: 1 to 63 of a-z, 0-9 and inner hyphens; a DNS label, so it is safe as a folder and a host name. */
export const TENANT_ID_PATTERN = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Returns `id` if it is a tenant id. @throws OnewriterError INVALID_TENANT */
export function assertTenantId(id: unknown): string {
  if (typeof id === 'string' && TENANT_ID_PATTERN.test(id)) return id;
  throw new OnewriterError('INVALID_TENANT', `Tenant ids match ${TENANT_ID_PATTERN.source}.`);
}
