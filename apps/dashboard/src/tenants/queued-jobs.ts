import { tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** A job that waits, or is with the broker. */
export interface QueuedJob {
  readonly id: string;
  readonly name: string;
  /** When it was put there, ms since the epoch. */
  readonly at: number;
  readonly active: boolean;
}

/** The jobs whose turn comes first: those with the broker, then those that wait longest. @throws Error of Redis */
export async function readQueuedJobs(
  redis: Redis,
  group: string,
  tenant: string,
  limit: number,
): Promise<readonly QueuedJob[]> {
  const { prefix, name } = tenantQueue(group, tenant);
  const key = (part: string) => `${prefix}:${name}:${part}`;
  const [active, waiting] = await Promise.all([
    redis.lrange(key('active'), -limit, -1),
    redis.lrange(key('wait'), -limit, -1),
  ]);
  const ids = [
    ...active.reverse().map(id => ({ id, active: true })),
    ...waiting.reverse().map(id => ({ id, active: false })),
  ].slice(0, limit);
  const pipeline = redis.pipeline();
  for (const { id } of ids) pipeline.hmget(key(id), 'name', 'timestamp');
  const replies = (await pipeline.exec()) ?? [];
  return ids.flatMap((job, index) => {
    const [title, at] = (replies[index]?.[1] ?? []) as (string | null)[];
    // Gone in between: it is applied.
    return typeof title === 'string' ? [{ ...job, name: title, at: Number(at) }] : [];
  });
}
