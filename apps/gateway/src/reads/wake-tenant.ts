import { HIBERNATED, OnewriterError } from '@onewriter/protocol';
import type { GatewayOptions } from '../gateway-options.ts';

/**
 * Brings a hibernated tenant's file back, for work that opens files without a wait. Where it is here this costs a look.
 * @throws OnewriterError TENANT_WAKING, REPLICA_UNAVAILABLE, and as a read through the owner
 */
export async function wakeTenant(
  { onewriter, tenants }: Pick<GatewayOptions, 'onewriter'> & { readonly tenants: WakingTenants },
  tenant: string,
  wait: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  if (!tenants.files.isHibernated(tenant)) return;
  // Any read of a client does.
  await onewriter.tenant(tenant).prepare('SELECT 1', wait).get();
  if (!tenants.files.isHibernated(tenant)) return;
  const message = `Tenant ${tenant} was hibernated again.`;
  throw new OnewriterError('TENANT_WAKING', message, { tenant, reason: HIBERNATED });
}

interface WakingTenants {
  readonly files: { isHibernated(tenant: string): boolean };
}
