import { findForeignDataDir, groupKeys, isOnewriterError, readDataDirIdentity } from '@onewriter/protocol';
import type { MiddlewareHandler } from 'hono';
import type { Redis } from 'ioredis';
import type { DashboardEnv } from '../dashboard-env.ts';

/** What {@link assertOwnGroup} needs. */
export interface GroupOwnerOptions {
  readonly redis: Redis;
  readonly group: string;
  readonly dataDir: string;
}

/**
 * A dashboard reads no files, and may run where the data directory is not. One that has another directory than its group, as
 * where staging's Redis URL is production's, must show and change nothing.
 * @throws OnewriterError MISCONFIGURED; Error of Redis
 */
export async function assertOwnGroup({ redis, group, dataDir }: GroupOwnerOptions): Promise<void> {
  if (readDataDirIdentity(dataDir) === undefined) return;
  const trouble = findForeignDataDir(group, dataDir, await redis.get(groupKeys(group).dataDir));
  if (trouble !== undefined) throw trouble;
}

/** For probes: what {@link assertOwnGroup} says; undefined also where Redis does not answer, which another check says. */
export async function checkOwnGroup(options: GroupOwnerOptions): Promise<string | undefined> {
  try {
    await assertOwnGroup(options);
    return undefined;
  } catch (error) {
    return isOnewriterError(error) ? error.message : undefined;
  }
}

/** Refuses requests of a dashboard whose group belongs to another data directory. Without Redis its pages say what they can. */
export function requireOwnGroup(options: GroupOwnerOptions): MiddlewareHandler<DashboardEnv> {
  return async (_, next) => {
    await assertOwnGroup(options).catch(error => {
      if (isOnewriterError(error)) throw error;
    });
    await next();
  };
}
