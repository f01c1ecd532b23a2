import { tenantQueue } from '@onewriter/protocol';
import type { Redis } from 'ioredis';

/**
 * What keeps a tenant still. A pause is by a person; a repeat offender is paused by the broker, and resumed by a person; the
 * others are by a program that works on the file.
 */
export type HolderName =
  | 'pause'
  | 'create'
  | 'delete'
  | 'restore'
  | 'adopt'
  | 'release'
  | 'hibernate'
  | typeof REPEAT_OFFENDER;

/** Name and id of the hold on a tenant whose writes caused the broker to be replaced too often (ADR 0043). */
export const REPEAT_OFFENDER = 'repeat-offender';

/** Life of a hold that no process renews: 100 years. A person ends it. */
export const LASTING_HOLD_MS = 100 * 365 * 24 * 60 * 60_000;

/** Whether the holder has begun to change files, or may have. */
export type HoldPhase = 'preparing' | 'changing';

/** Who keeps a tenant still, why and since when. */
export interface TenantHolder {
  readonly name: string;
  readonly reason: string;
  /** A person or a process; '' where it is not known. */
  readonly who: string;
  /** ISO time; null where it is not known. */
  readonly since: string | null;
  /** ISO time at which it ends unless its process renews it; null for what a person ends: a pause, a repeat offender's. */
  readonly expiresAt: string | null;
}

/** A hold as it lies in Redis; times in ms since the epoch. */
export interface HoldRecord {
  readonly name: string;
  readonly reason: string;
  readonly who: string;
  readonly exclusive: boolean;
  readonly pauseIfLost: boolean;
  /** Undefined in a hold of an older version. */
  readonly phase?: HoldPhase | undefined;
  readonly since: number;
  readonly expiresAt: number;
}

/** A person's pause as it lies in Redis. */
export interface PauseNote {
  readonly who: string;
  readonly reason: string;
  /** Ms since the epoch. */
  readonly since: number;
}

/** Keys of a tenant that its holds concern, in the slot of its queue. */
export function holdKeys(group: string, tenant: string) {
  const { prefix, name } = tenantQueue(group, tenant);
  // Source: BullMQ's QueueKeys, `<prefix>:<queue>:<key>`.
  const base = `${prefix}:${name}:`;
  return {
    prefix: base,
    wait: `${base}wait`,
    active: `${base}active`,
    meta: `${base}meta`,
    holds: `${base}holds`,
  };
}

const REPLIES_PER_TENANT = 2;

/** Who keeps a tenant still. */
export interface TenantHolds {
  /** A pause by any tool, and all holds that have not run out. */
  readonly holders: readonly TenantHolder[];
  /** Whether the broker has closed the file for them. */
  readonly isReleased: boolean;
}

/** The holders of each of the tenants, as {@link readHolds} finds them. @throws Error of Redis */
export async function readHolders(
  redis: Redis,
  group: string,
  tenants: readonly string[],
): Promise<(readonly TenantHolder[])[]> {
  return (await readHolds(redis, group, tenants)).map(({ holders }) => holders);
}

/** Who keeps each of the tenants still, in one round trip. @throws Error of Redis */
export async function readHolds(
  redis: Redis,
  group: string,
  tenants: readonly string[],
): Promise<TenantHolds[]> {
  if (tenants.length === 0) return [];
  const pipeline = redis.pipeline().time();
  for (const tenant of tenants) {
    const { meta, holds } = holdKeys(group, tenant);
    pipeline.hmget(meta, 'paused', 'onewriter.pause', 'onewriter.released').hgetall(holds);
  }
  const replies = ((await pipeline.exec()) ?? []).map(([error, value]) => {
    if (error) throw error;
    return value;
  });
  const [seconds, micros] = replies[0] as [string, string];
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  return tenants.map((_, index) => {
    const [pause, holds] = replies.slice(1 + index * REPLIES_PER_TENANT) as [
      (string | null)[],
      Record<string, string>,
    ];
    return {
      holders: toHolders(pause, Object.values(holds), now),
      isReleased: typeof pause[2] === 'string',
    };
  });
}

function toHolders(
  [paused, note]: readonly (string | null | undefined)[],
  holds: readonly string[],
  now: number,
): TenantHolder[] {
  const holders: TenantHolder[] = [];
  if (paused !== null && paused !== undefined) holders.push(toPause(note));
  const records = holds.map(json => JSON.parse(json) as HoldRecord).filter(hold => hold.expiresAt > now);
  for (const record of records.toSorted((a, b) => a.since - b.since)) holders.push(toHolder(record));
  return holders;
}

/** Another tool's pause has no note. */
function toPause(note: string | null | undefined): TenantHolder {
  if (note === null || note === undefined) {
    return { name: 'pause', reason: '', who: '', since: null, expiresAt: null };
  }
  const { who, reason, since } = JSON.parse(note) as PauseNote;
  return { name: 'pause', reason, who, since: new Date(since).toISOString(), expiresAt: null };
}

/** Whether the tenant is paused where this hold runs out; see release-file.lua. */
export function pausesWhenLost({ pauseIfLost, phase }: HoldRecord): boolean {
  return pauseIfLost && phase !== 'preparing';
}

/** A hold as people see it. */
export function toHolder({ name, reason, who, since, expiresAt }: HoldRecord): TenantHolder {
  return {
    name,
    reason,
    who,
    since: new Date(since).toISOString(),
    expiresAt: expiresAt - since >= LASTING_HOLD_MS ? null : new Date(expiresAt).toISOString(),
  };
}

/** For people: `restore by alice@host since 2026-11-29T14:00:00.000Z (from /backups/a.db)`. */
export function describeHolder({ name, reason, who, since }: TenantHolder): string {
  return [
    name,
    who === '' ? '' : ` by ${who}`,
    since === null ? '' : ` since ${since}`,
    reason === '' ? '' : ` (${reason})`,
  ].join('');
}
