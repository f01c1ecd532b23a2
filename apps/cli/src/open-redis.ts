import { OnewriterError } from '@onewriter/protocol';
import { Redis } from 'ioredis';
import { requireRedis, type Target } from './target.ts';

/**
 * A connection for one command: nothing is tried again, so that an outage is told at once.
 * @throws OnewriterError MISCONFIGURED (none is known), QUEUE_UNAVAILABLE
 */
export async function openRedis(target: Target): Promise<Redis> {
  const redis = new Redis(requireRedis(target), {
    lazyConnect: true,
    retryStrategy: null,
    connectTimeout: 3_000,
    commandTimeout: 10_000,
  });
  let reason = '';
  redis.on('error', error => {
    reason = error.message;
  });
  try {
    await redis.connect();
    return redis;
  } catch (cause) {
    redis.disconnect();
    const message = reason || (cause instanceof Error ? cause.message : String(cause));
    throw new OnewriterError('QUEUE_UNAVAILABLE', `Redis does not answer: ${message}.`, {}, cause);
  }
}

/** Runs `work` on a connection of its own. @throws as {@link openRedis}, and whatever `work` throws */
export async function withRedis<T>(target: Target, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = await openRedis(target);
  try {
    return await work(redis);
  } finally {
    redis.disconnect();
  }
}
