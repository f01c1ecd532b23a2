import { openRedis as open } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { requireRedis, type Target } from './target.ts';

/** A connection for one command. @throws OnewriterError MISCONFIGURED (none is known), QUEUE_UNAVAILABLE */
export async function openRedis(target: Target): Promise<Redis> {
  return open(requireRedis(target));
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
