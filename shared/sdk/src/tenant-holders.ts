import { tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/** Who keeps a tenant still: a person's pause, or a program that works on its file. The shape of TENANT_PAUSED's details. */
export interface TenantHolder {
  readonly name: string;
  readonly reason: string;
  /** A person or a process; '' where it is not known. */
  readonly who: string;
  /** ISO time; null where it is not known. */
  readonly since: string | null;
}

/**
 * Who keeps each of the tenants still, in one round trip. Source of the keys and what is in them: ADR 0025.
 * @throws Error of Redis
 */
export async function readHolders(
  redis: Redis,
  group: string,
  tenants: readonly string[],
): Promise<ReadonlyMap<string, readonly TenantHolder[]>> {
  const pipeline = redis.pipeline().time();
  for (const tenant of tenants) {
    const { prefix, name } = tenantQueue(group, tenant);
    pipeline.hmget(`${prefix}:${name}:meta`, 'paused', 'onewriter.pause').hgetall(`${prefix}:${name}:holds`);
  }
  const replies = ((await pipeline.exec()) ?? []).map(([error, value]) => {
    if (error) throw error;
    return value;
  });
  const [seconds, micros] = replies[0] as [string, string];
  const nowMs = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  return new Map(
    tenants.map((tenant, index) => {
      const [pause, holds] = replies.slice(1 + 2 * index) as [(string | null)[], Record<string, string>];
      return [tenant, toHolders(pause, Object.values(holds), nowMs)];
    }),
  );
}

function toHolders(
  [paused, note]: readonly (string | null | undefined)[],
  holds: readonly string[],
  nowMs: number,
): TenantHolder[] {
  const records = holds
    .map(json => JSON.parse(json) as Omit<TenantHolder, 'since'> & { since: number; expiresAt: number })
    .filter(({ expiresAt }) => expiresAt > nowMs)
    .sort((a, b) => a.since - b.since);
  const holders = records.map(({ name, reason, who, since }) => ({ name, reason, who, since: toIso(since) }));
  return paused === null || paused === undefined ? holders : [toPause(note), ...holders];
}

/** Another tool's pause has no note. */
function toPause(note: string | null | undefined): TenantHolder {
  if (note === null || note === undefined) return { name: 'pause', reason: '', who: '', since: null };
  const { who, reason, since } = JSON.parse(note) as { who: string; reason: string; since: number };
  return { name: 'pause', reason, who, since: toIso(since) };
}

function toIso(ms: number): string {
  return new Date(ms).toISOString();
}

/** For people: `pause by alice@host since 2026-11-29T14:00:00.000Z (disk is replaced)`. */
export function describeHolder({ name, reason, who, since }: TenantHolder): string {
  return [
    name,
    who === '' ? '' : ` by ${who}`,
    since === null ? '' : ` since ${since}`,
    reason === '' ? '' : ` (${reason})`,
  ].join('');
}
