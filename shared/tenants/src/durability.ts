import {
  type Durability,
  durabilityNotification,
  groupKeys,
  isDurability,
  SYNC_FIELD,
  tenantQueue,
} from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** The durability that a person chose for a tenant; undefined: it has the one of the settings. */
export async function readDurability(
  redis: Redis,
  group: string,
  tenant: string,
): Promise<Durability | undefined> {
  const text = await redis.hget(groupKeys(group).durabilities, tenant);
  return isDurability(text) ? text : undefined;
}

/**
 * Chooses it. The leader hears of it at once; batches that it has begun are answered as before.
 * @param durability undefined: that of the settings
 */
export async function setDurability(
  redis: Redis,
  group: string,
  tenant: string,
  durability: Durability | undefined,
): Promise<void> {
  const keys = groupKeys(group);
  const { prefix, name } = tenantQueue(group, tenant);
  const meta = `${prefix}:${name}:meta`;
  // Clients first: one that believes that none waits would take the ledger for the replica. The leader writes it again.
  if (durability === 'sync') await redis.hset(meta, SYNC_FIELD, 1);
  else await redis.hdel(meta, SYNC_FIELD);
  if (durability === undefined) await redis.hdel(keys.durabilities, tenant);
  else await redis.hset(keys.durabilities, tenant, durability);
  await redis.zadd(keys.notifications, 'NX', Date.now(), durabilityNotification(tenant));
}
