import type { VerifiedToken } from '@onewriter/runtime';

/**
 * Who sends a write, for the broker: writes of one sender to several tenants count together. Undefined for a token of one tenant, which
 * the broker knows by its tenant, and for one of all tenants, which is trusted and in which all callers of an application may meet.
 */
export function senderOf({ id, tenants }: Pick<VerifiedToken, 'id' | 'tenants'>): string | undefined {
  return tenants !== '*' && tenants.length > 1 ? id : undefined;
}
