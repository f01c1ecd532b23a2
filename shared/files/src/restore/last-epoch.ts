import { groupKeys } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import type { DataPlace } from '../data-place.ts';

/** The newest epoch that Redis knows: an older leader that wakes up must not be able to write the new file. */
export async function lastEpoch({ group }: DataPlace, redis: Redis | undefined): Promise<number> {
  if (redis === undefined) return 0;
  return Number((await redis.get(groupKeys(group).epoch)) ?? 0);
}
