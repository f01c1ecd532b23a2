import { type Durability, groupKeys, isDurability, tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { readHolds, type TenantHolder } from '../holders/index.ts';
import { type ParkedTenant, readParked } from './parked-tenant.ts';

/** What Redis knows of a tenant. */
export interface QueueFacts {
  readonly tenant: string;
  readonly waitingJobs: number;
  /** Being applied. */
  readonly activeJobs: number;
  /** Ms since the epoch; null where Redis knows none. */
  readonly lastActivity: number | null;
  readonly parked: ParkedTenant | null;
  /** Who keeps it still; it is active again when the last lets go. */
  readonly holders: readonly TenantHolder[];
  /** Chosen by a person; null: that of the settings. */
  readonly durability: Durability | null;
  /** Whether the broker has closed its file for them. */
  readonly isReleased: boolean;
}

/** Tenants of one round trip: tens of thousands neither block Redis nor fill memory. */
const CHUNK = 1_000;
const REPLIES_PER_TENANT = 5;

/** What Redis knows of each of the tenants, in their order. @throws Error of Redis */
export async function readQueueFacts(
  redis: Redis,
  group: string,
  tenants: readonly string[],
): Promise<QueueFacts[]> {
  const facts: QueueFacts[] = [];
  for (let from = 0; from < tenants.length; from += CHUNK) {
    facts.push(...(await readChunk(redis, group, tenants.slice(from, from + CHUNK))));
  }
  return facts;
}

async function readChunk(redis: Redis, group: string, tenants: readonly string[]): Promise<QueueFacts[]> {
  const keys = groupKeys(group);
  const pipeline = redis.pipeline();
  for (const tenant of tenants) {
    // Source: BullMQ's QueueKeys, `<prefix>:<queue>:<key>`.
    const { prefix, name } = tenantQueue(group, tenant);
    pipeline.llen(`${prefix}:${name}:wait`).llen(`${prefix}:${name}:active`);
    pipeline.zscore(keys.tenants, tenant).hget(keys.parked, tenant).hget(keys.durabilities, tenant);
  }
  const [executed, holds] = await Promise.all([pipeline.exec(), readHolds(redis, group, tenants)]);
  const replies = (executed ?? []).map(([error, value]) => {
    if (error) throw error;
    return value;
  });
  return tenants.map((tenant, index) => {
    const [waiting, active, activity, parked, durability] = replies.slice(index * REPLIES_PER_TENANT);
    const { holders, isReleased } = holds[index]!;
    return {
      tenant,
      waitingJobs: Number(waiting),
      activeJobs: Number(active),
      lastActivity: typeof activity === 'string' ? Number(activity) : null,
      parked: readParked(parked),
      durability: isDurability(durability) ? durability : null,
      holders,
      isReleased,
    };
  });
}

/** Names of all tenants that Redis has heard of. @throws Error of Redis */
export async function readKnownTenants(redis: Redis, group: string): Promise<string[]> {
  const names: string[] = [];
  // A scan, not ranges by rank: ranks move while tenants are active.
  let cursor = '0';
  do {
    const [next, part] = await redis.zscan(groupKeys(group).tenants, cursor, 'COUNT', CHUNK);
    for (let index = 0; index < part.length; index += 2) names.push(part[index]!);
    cursor = next;
  } while (cursor !== '0');
  return names;
}
