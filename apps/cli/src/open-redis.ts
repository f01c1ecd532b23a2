import { type OpenRedisOptions, openRedis as open } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { requireRedis, type Target } from './target.ts';

/**
 * A connection for one command.
 * @param options `anyServer`: also a replica or a cluster, to look at it
 * @throws OnewriterError MISCONFIGURED (none is known, or it runs in cluster mode), QUEUE_UNAVAILABLE
 */
export async function openRedis(
  target: Target,
  options: Pick<OpenRedisOptions, 'anyServer'> = {},
): Promise<Redis> {
  return open(requireRedis(target), options);
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
