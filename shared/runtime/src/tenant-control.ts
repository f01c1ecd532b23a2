import { groupKeys, isOnewriterError, tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { withReleasedTenant } from './release-tenant.ts';

/** Redis key of the hash with the flag that BullMQ and the broker look at. Source: BullMQ's QueueKeys. */
function metaKey(group: string, tenant: string): string {
  const { prefix, name } = tenantQueue(group, tenant);
  return `${prefix}:${name}:meta`;
}

/** Whether a tenant is paused: BullMQ's own flag, so that a pause by any tool counts. */
export async function isTenantPaused(redis: Redis, group: string, tenant: string): Promise<boolean> {
  return (await redis.hexists(metaKey(group, tenant), 'paused')) === 1;
}

/**
 * Pauses a tenant; when this resolves nothing is being applied any more and the broker has closed its file, which stays
 * closed until {@link resumeTenant}.
 * @throws OnewriterError TENANT_UNAVAILABLE where the broker does not let go of the file in time; it is paused then, too
 */
export async function pauseTenant(redis: Redis, group: string, tenant: string): Promise<void> {
  await redis.hset(metaKey(group, tenant), 'paused', 1);
  try {
    await withReleasedTenant(redis, group, tenant, async () => {});
  } catch (error) {
    // Where nobody leads, nobody has the file open.
    if (!isOnewriterError(error, 'BROKER_UNAVAILABLE')) throw error;
  }
}

/** Resumes a tenant, and rings: the broker goes on at once. A note why it was set aside goes with it. */
export async function resumeTenant(redis: Redis, group: string, tenant: string): Promise<void> {
  const keys = groupKeys(group);
  await redis.hdel(metaKey(group, tenant), 'paused');
  await redis.hdel(keys.aside, tenant);
  await redis.zadd(keys.bell, 'NX', Date.now(), tenant);
}
