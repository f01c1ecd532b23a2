import { OnewriterError } from '@onewriter/protocol';
import {
  describeHolder,
  pauseTenant,
  readHolders,
  resumeTenant,
  type TenantHolder,
} from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';

/** How long an answer of Redis counts. */
const FRESH_MS = 250;
/** Tenants whose answer is remembered. */
const MAX_REMEMBERED = 10_000;
const RETRY_AFTER_MS = 1_000;

/** Who keeps tenants still: a person's pause, by any tool, and programs that work on their files. */
export interface PauseFlags {
  /**
   * Pauses a tenant: what is queued stays queued, and its file is closed.
   * @throws OnewriterError TENANT_UNAVAILABLE where the broker does not close it in time; it is paused then, too
   */
  pause(tenant: string, who: string, reason?: string): Promise<void>;
  /** Ends a pause, and notifies the broker, which continues at once if no other holder is left. */
  resume(tenant: string): Promise<void>;
  /**
   * Refuses new writes of a tenant that is held. Right after another process paused it a write may still pass and wait in
   * the queue: an answer counts for a quarter of a second.
   * @param timeoutMs without an answer for so long, the write passes. Default: as long as Redis takes, or fails
   * @throws OnewriterError TENANT_PAUSED, which says who holds the tenant, why and since when
   */
  assertNotPaused(tenant: string, timeoutMs?: number): Promise<void>;
}

/** {@link PauseFlags} in Redis. */
export function createPauseFlags(redis: Redis, group: string): PauseFlags {
  const known = new LRUCache<string, readonly TenantHolder[]>({
    max: MAX_REMEMBERED,
    ttl: FRESH_MS,
    ttlResolution: 0,
  });

  async function look(tenant: string): Promise<readonly TenantHolder[]> {
    const [holders = []] = await readHolders(redis, group, [tenant]);
    known.set(tenant, holders);
    return holders;
  }

  return {
    async pause(tenant, who, reason) {
      try {
        await pauseTenant(redis, group, tenant, who, reason);
      } finally {
        known.delete(tenant);
      }
    },
    async resume(tenant) {
      await resumeTenant(redis, group, tenant);
      known.delete(tenant);
    },
    async assertNotPaused(tenant, timeoutMs) {
      let holders = known.get(tenant);
      if (holders === undefined) {
        try {
          holders = await within(look(tenant), timeoutMs);
        } catch {
          return; // without Redis the write itself says so
        }
      }
      if (holders.length === 0) return;
      throw new OnewriterError(
        'TENANT_PAUSED',
        `Tenant ${tenant} is held: ${holders.map(describeHolder).join('; ')}.`,
        { tenant, holders, retryAfterMs: RETRY_AFTER_MS },
      );
    },
  };
}

/** Waits for `work` up to a time; the work continues, and its result serves the next caller. @throws Error */
async function within<T>(work: Promise<T>, timeoutMs: number | undefined): Promise<T> {
  if (timeoutMs === undefined) return work;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Redis has not answered for ${timeoutMs} ms.`)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
