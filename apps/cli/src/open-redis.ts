import { findForeignDataDir, groupKeys, type OnewriterError } from '@onewriter/protocol';
import { askRedis, openRedis as open } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { dataDirTrouble, requireRedis, type Target } from './target.ts';

/**
 * A connection for one command.
 * @throws OnewriterError MISCONFIGURED (none is known, it runs in cluster mode, or the group belongs to another data
 * directory), QUEUE_UNAVAILABLE
 */
export async function openRedis(target: Target): Promise<Redis> {
  const redis = await open(requireRedis(target));
  try {
    const trouble = await findForeignGroup(target, redis);
    if (trouble !== undefined) throw trouble;
    return redis;
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/** As {@link openRedis}, to look at it: also a replica or a cluster, and whatever directory the group belongs to. */
export async function openAnyRedis(target: Target): Promise<Redis> {
  return open(requireRedis(target), { anyServer: true });
}

/** The error of a group that belongs to another data directory than the target's, where there is one here. */
export async function findForeignGroup(
  { group, dataDir }: Target,
  redis: Redis,
): Promise<OnewriterError | undefined> {
  if (dataDirTrouble(dataDir) !== undefined) return undefined;
  return findForeignDataDir(group, dataDir, await askRedis(() => redis.get(groupKeys(group).dataDir)));
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
