import { groupKeys, OnewriterError, tenantQueue } from '@onewriter/protocol';
import { readHolders, type TenantHolder } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { type AsideNote, readAsideNote } from '../live/paused-walk.ts';

/** What Redis knows of a tenant. */
export interface QueueFacts {
  readonly tenant: string;
  readonly waitingJobs: number;
  readonly activeJobs: number;
  /** Whether it has a holder. */
  readonly paused: boolean;
  /** Who keeps it still. */
  readonly holders: readonly TenantHolder[];
  readonly aside: AsideNote | undefined;
  /** Why its file refuses writes, as the broker noted it. */
  readonly parked: { readonly code: string; readonly message: string; readonly since: string } | undefined;
  /** Ms since the epoch; undefined for one that was never written to. */
  readonly lastActivity: number | undefined;
}

/** A job that waits, or is with the broker. */
export interface QueuedJob {
  readonly id: string;
  readonly name: string;
  /** When it was put there, ms since the epoch. */
  readonly at: number;
  readonly active: boolean;
}

const REPLIES_PER_TENANT = 5;

/** Reads what Redis knows of tenants, in one round trip. @throws Error of Redis */
export async function readQueueFacts(
  redis: Redis,
  group: string,
  tenants: readonly string[],
): Promise<QueueFacts[]> {
  if (tenants.length === 0) return [];
  const keys = groupKeys(group);
  const pipeline = redis.pipeline();
  for (const tenant of tenants) {
    const { prefix, name } = tenantQueue(group, tenant);
    const key = (part: string) => `${prefix}:${name}:${part}`;
    pipeline.llen(key('wait')).llen(key('active'));
    pipeline.hget(keys.aside, tenant).hget(keys.parked, tenant).zscore(keys.tenants, tenant);
  }
  const [executed, allHolders] = await Promise.all([pipeline.exec(), readHolders(redis, group, tenants)]);
  const replies = executed ?? [];
  return tenants.map((tenant, index) => {
    const values = replies
      .slice(index * REPLIES_PER_TENANT, (index + 1) * REPLIES_PER_TENANT)
      .map(([error, value]) => {
        if (error) throw error;
        return value;
      });
    const [waiting, active, aside, parked, activity] = values;
    const holders = allHolders[index]!;
    const isPaused = holders.some(({ expiresAt }) => expiresAt === null);
    return {
      tenant,
      waitingJobs: Number(waiting),
      activeJobs: Number(active),
      paused: holders.length > 0,
      holders,
      aside: isPaused ? readAsideNote(aside as string | null) : undefined,
      parked: readParked(parked),
      lastActivity: typeof activity === 'string' ? Number(activity) : undefined,
    };
  });
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

/** Notes why a tenant is parked by hand. @throws Error of Redis */
export async function writeAsideNote(
  redis: Redis,
  group: string,
  tenant: string,
  note: AsideNote,
): Promise<void> {
  await redis.hset(groupKeys(group).aside, tenant, JSON.stringify(note));
}

const MAX_REASON_LENGTH = 300;

/** A reason as somebody typed it. @throws OnewriterError INVALID_ARGUMENT */
export function readReason(text: string): string {
  const reason = text.replace(/\s+/g, ' ').trim();
  if (reason === '' || reason.length > MAX_REASON_LENGTH) {
    const message = `Say why the tenant is parked, in up to ${MAX_REASON_LENGTH} characters: whoever is on call next reads it.`;
    throw new OnewriterError('INVALID_ARGUMENT', message);
  }
  return reason;
}

function readParked(json: unknown): QueueFacts['parked'] {
  if (typeof json !== 'string') return undefined;
  try {
    const { code, message, since } = JSON.parse(json) as NonNullable<QueueFacts['parked']>;
    return { code: String(code), message: String(message), since: String(since) };
  } catch {
    return { code: 'INTERNAL', message: 'The broker’s note cannot be read.', since: '' };
  }
}
