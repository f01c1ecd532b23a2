import {
  askRedis,
  type DataDirIdentity,
  findForeignDataDir,
  groupKeys,
  isOnewriterError,
  OnewriterError,
  readDataDirIdentity,
} from '@onewriter/protocol';
import { type OpenRedisOptions, openRedis as open } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { requireRedis, type Target } from './target.ts';

/**
 * A connection for one command.
 * @throws OnewriterError MISCONFIGURED (none is known, it runs in cluster mode, or the group belongs to another data
 * directory), QUEUE_UNAVAILABLE
 */
export async function openRedis(target: Target, options: OpenRedisOptions = {}): Promise<Redis> {
  const redis = await open(requireRedis(target), options);
  try {
    await assertOwnGroup(target, redis);
    return redis;
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/**
 * {@link openRedis} of a command that also works offline.
 * @param what cannot be known without Redis: a sentence behind "whether"
 * @throws OnewriterError as there, with what to do where there is no Redis
 */
export async function openRedisToKnow(target: Target, what: string): Promise<Redis> {
  try {
    return await openRedis(target);
  } catch (error) {
    if (!isOnewriterError(error) || error.details.reason === 'another data directory') throw error;
    throw new OnewriterError(
      error.code,
      `${error.message} Without Redis it cannot be known whether ${what}: start Redis, or, where no broker runs, use --offline.`,
      error.details,
      error,
    );
  }
}

/** As {@link openRedis}, to look at it: also a replica or a cluster, and whatever directory the group belongs to. */
export async function openAnyRedis(target: Target): Promise<Redis> {
  return open(requireRedis(target), { anyServer: true });
}

/**
 * A wrong path, or a disk that is not mounted, must not have a command act on another installation.
 * @throws OnewriterError MISCONFIGURED where the group belongs to another data directory
 */
export async function assertOwnGroup(target: Target, redis: Redis): Promise<void> {
  if (target.withoutFiles === true && readIdentityIfAny(target.dataDir) === undefined) return;
  const trouble = await findForeignGroup(target, redis);
  if (trouble === undefined) return;
  if (target.withoutFiles !== false || readIdentityIfAny(target.dataDir) !== undefined) throw trouble;
  throw new OnewriterError(
    'MISCONFIGURED',
    `${trouble.message} On a machine that does not have the data directory: --without-files.`,
    trouble.details,
  );
}

/** The error of a group that belongs to another data directory than the target's; one without an identity is another. */
export async function findForeignGroup(
  { group, dataDir }: Target,
  redis: Redis,
): Promise<OnewriterError | undefined> {
  return findForeignDataDir(group, dataDir, await askRedis(() => redis.get(groupKeys(group).dataDir)));
}

/** Undefined also where this user may not look. */
function readIdentityIfAny(dataDir: string): DataDirIdentity | undefined {
  try {
    return readDataDirIdentity(dataDir);
  } catch {
    return undefined; // what is wrong with it is said where it is needed
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
