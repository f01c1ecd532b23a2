import { groupKeys, OnewriterError, tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** How long an answer of Redis counts. */
const FRESH_MS = 250;
/** Tenants whose answer is remembered. */
const MAX_REMEMBERED = 10_000;
const RETRY_AFTER_MS = 1_000;

/**
 * Whether tenants are paused: BullMQ's own flag in the meta hash of their queue, which the broker respects, so that a
 * pause by any tool counts.
 */
export interface PauseFlags {
  /** Sets the flag: what is queued stays queued. */
  pause(tenant: string): Promise<void>;
  /** Clears it, and rings: the broker goes on at once. */
  resume(tenant: string): Promise<void>;
  isPaused(tenant: string): Promise<boolean>;
  /**
   * Refuses new writes of a paused tenant. Right after a pause by somebody else a write may still pass and wait in the
   * queue: an answer counts for a quarter of a second.
   * @throws OnewriterError TENANT_PAUSED
   */
  assertNotPaused(tenant: string): Promise<void>;
}

/** {@link PauseFlags} in Redis. */
export function createPauseFlags(redis: Redis, group: string): PauseFlags {
  const keys = groupKeys(group);
  const known = new Map<string, { readonly paused: boolean; readonly until: number }>();

  function queueKey(tenant: string, part: string): string {
    const { prefix, name } = tenantQueue(group, tenant);
    return `${prefix}:${name}:${part}`;
  }

  function remember(tenant: string, paused: boolean): void {
    if (known.size >= MAX_REMEMBERED) known.clear();
    known.set(tenant, { paused, until: performance.now() + FRESH_MS });
  }

  async function isPaused(tenant: string): Promise<boolean> {
    const paused = (await redis.hexists(queueKey(tenant, 'meta'), 'paused')) === 1;
    remember(tenant, paused);
    return paused;
  }

  return {
    async pause(tenant) {
      await redis.hset(queueKey(tenant, 'meta'), 'paused', 1);
      remember(tenant, true);
    },
    async resume(tenant) {
      await redis.hdel(queueKey(tenant, 'meta'), 'paused');
      await redis.hdel(keys.aside, tenant);
      remember(tenant, false);
      await redis.zadd(keys.bell, 'NX', Date.now(), tenant);
    },
    isPaused,
    async assertNotPaused(tenant) {
      const answer = known.get(tenant);
      let paused = answer?.paused === true;
      if (answer === undefined || answer.until < performance.now()) {
        try {
          paused = await isPaused(tenant);
        } catch {
          return; // without Redis the write itself says so
        }
      }
      if (!paused) return;
      throw new OnewriterError('TENANT_PAUSED', `Tenant ${tenant} is paused.`, {
        tenant,
        retryAfterMs: RETRY_AFTER_MS,
      });
    },
  };
}
