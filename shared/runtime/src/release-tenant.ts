import { setTimeout as pause } from 'node:timers/promises';
import { groupKeys, OnewriterError, releaseBell, tenantQueue, uuidv7 } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { askRedis } from './ask-redis.ts';

/*
 * The leading broker has tenants' files open. Before a file can be moved it must let go of it:
 *
 *   gateway, command line                       broker
 *   HSETNX releasing <tenant> <id>
 *   set the queue's paused flag, ring   ──────▶ finishes what was begun, closes the file,
 *                                               HSET released <tenant> <id>
 *   … works on the file …               ◀──────
 *   HDEL releasing, released; clear the flag, ring
 */

const TIMEOUT_MS = 15_000;
const POLL_MS = 50;
const RING_EVERY_MS = 1_000;
/** Longer than a request waits and works. */
const ABANDONED_AFTER_MS = 120_000;
const RETRY_AFTER_MS = 1_000;

/**
 * Has the leader close a tenant's file and runs `work` on it meanwhile.
 *
 * A tenant that was paused before stays so, and its file stays closed.
 * @param work is told how many jobs wait in the queue, which is paused
 * @throws OnewriterError BROKER_UNAVAILABLE (nobody leads), QUEUE_UNAVAILABLE (nothing was begun), TENANT_UNAVAILABLE
 * (another request, or not in time), and whatever `work` throws
 */
export async function withReleasedTenant<T>(
  redis: Redis,
  group: string,
  tenant: string,
  work: (queuedJobs: number) => Promise<T>,
  timeoutMs: number = TIMEOUT_MS,
): Promise<T> {
  const keys = groupKeys(group);
  const { prefix, name } = tenantQueue(group, tenant);
  const key = (part: string) => `${prefix}:${name}:${part}`;
  if ((await askRedis(() => redis.exists(keys.lease))) === 0) {
    throw new OnewriterError(
      'BROKER_UNAVAILABLE',
      'No broker leads; without one nobody can close the file.',
      {
        tenant,
        retryAfterMs: RETRY_AFTER_MS,
      },
    );
  }
  const id = uuidv7();
  await takeRelease(redis, keys, tenant, id);
  const wasPaused = (await redis.hexists(key('meta'), 'paused')) === 1;
  try {
    await redis.hset(key('meta'), 'paused', 1);
    await waitForRelease(redis, keys, tenant, id, timeoutMs);
    return await work(await redis.llen(key('wait')));
  } finally {
    await redis.hdel(keys.released, tenant);
    await redis.hdel(keys.releasing, tenant);
    if (!wasPaused) {
      await redis.hdel(key('meta'), 'paused');
      // Only for work: a ring makes a deleted tenant known again.
      if ((await redis.llen(key('wait'))) > 0) await redis.zadd(keys.bell, 'NX', Date.now(), tenant);
    }
  }
}

/** One request at a time: the end of one would open the file under another's hands. */
async function takeRelease(
  redis: Redis,
  { releasing }: ReturnType<typeof groupKeys>,
  tenant: string,
  id: string,
): Promise<void> {
  if ((await redis.hsetnx(releasing, tenant, id)) === 1) return;
  const other = await redis.hget(releasing, tenant);
  // One that a process left behind when it died is taken over.
  if (other === null || Date.now() - timeOf(other) > ABANDONED_AFTER_MS) {
    await redis.hset(releasing, tenant, id);
    if ((await redis.hget(releasing, tenant)) === id) return;
  }
  throw new OnewriterError(
    'TENANT_UNAVAILABLE',
    'Another request works on the file, or one that was cut off less than two minutes ago; try again.',
    {
      tenant,
      reason: 'the file is released already',
      retryAfterMs: RETRY_AFTER_MS,
    },
  );
}

/** When an id was made: the first 48 bits of a UUIDv7, ms since the epoch. Source: RFC 9562, section 5.7. */
function timeOf(id: string): number {
  return Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16);
}

async function waitForRelease(
  redis: Redis,
  keys: ReturnType<typeof groupKeys>,
  tenant: string,
  id: string,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let rungAt = Number.NEGATIVE_INFINITY;
  while (performance.now() < deadline) {
    if (performance.now() - rungAt >= RING_EVERY_MS) {
      await redis.zadd(keys.bell, 'NX', Date.now(), releaseBell(tenant));
      rungAt = performance.now();
    }
    if ((await redis.hget(keys.released, tenant)) === id) return;
    await pause(POLL_MS);
  }
  throw new OnewriterError(
    'TENANT_UNAVAILABLE',
    'The broker did not let go of the file in time; try again.',
    {
      tenant,
      reason: 'the file is in use',
      retryAfterMs: RETRY_AFTER_MS,
    },
  );
}
