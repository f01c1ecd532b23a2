import { MAX_WORST_TENANTS, type StatusReplicaTenant } from '@onewriter/protocol';
import type { SegmentEntry } from '../format/entry.ts';
import type { Verified } from '../verify/verified-tenants.ts';
import type { FileChanges } from './file-changes.ts';
import type { ReplicaStatus, StoredUpTo } from './messages.ts';
import { numbersOf, type PackItem } from './pack-item.ts';
import type { TenantLine } from './tenant-line.ts';

/** What a pack has of a tenant. */
export interface PackedTenant {
  readonly line: TenantLine;
  readonly items: readonly PackItem[];
  /** Of the newest full segment among them: the key it was sealed with. */
  readonly fullKey?: string | undefined;
}

/** A pack that is being made or stored. */
export interface PackUnderWay {
  readonly contents: readonly PackedTenant[];
  readonly sinceMs: number;
}

/** Up to where a tenant is stored. */
export interface StoredTenant extends StoredUpTo {
  readonly commitMs: number;
  readonly storedMs: number;
}

const DELETED = Object.freeze({ commitSeq: 0, epoch: 0 });

export function storedOf(tenant: string, entry: SegmentEntry, storedMs: number): StoredTenant {
  const { kind, max, lastSeq, epoch, lastMs, incarnation } = entry;
  const numbers = kind === 'deleted' ? DELETED : { commitSeq: lastSeq, epoch };
  return { tenant, pos: max, ...numbers, incarnation, commitMs: lastMs, storedMs };
}

export function storedWith(
  { line: { tenant }, items }: PackedTenant,
  storedMs: number,
  changes: FileChanges,
): StoredTenant {
  const last = items.at(-1)!;
  const { incarnation } = last.kind === 'entry' ? last.entry : last;
  const { pos, commitSeq, epoch, lastMs } = numbersOf(last);
  const isEnd = last.kind === 'entry' && last.entry.kind === 'deleted';
  const numbers = isEnd ? DELETED : { commitSeq, epoch };
  const change = changes.before(tenant, pos, isEnd);
  return { tenant, pos, ...numbers, incarnation, change, commitMs: lastMs, storedMs };
}

/** What a tenant has that is not stored. */
interface Lag {
  sinceMs: number;
  commits: number;
  bytes: number;
}

/** Adds up what is captured and not stored. */
function lags(lines: Iterable<TenantLine>, packs: Iterable<PackUnderWay>): Map<TenantLine, Lag> {
  const found = new Map<TenantLine, Lag>();
  const add = (line: TenantLine, sinceMs: number, commits: number, bytes: number) => {
    const lag = found.get(line);
    if (lag === undefined) {
      found.set(line, { sinceMs, commits, bytes });
      return;
    }
    lag.sinceMs = Math.min(lag.sinceMs, sinceMs);
    lag.commits += commits;
    lag.bytes += bytes;
  };
  const addItem = (line: TenantLine, item: PackItem) => {
    const { commits, bytes } = numbersOf(item);
    add(line, item.sinceMs, commits, bytes);
  };
  for (const { contents } of packs)
    for (const { line, items } of contents) for (const item of items) addItem(line, item);
  for (const line of lines) {
    for (const item of line.items) addItem(line, item);
    const { apart } = line;
    if (apart !== undefined) add(line, apart.sinceMs, apart.commits, apart.bytes);
  }
  return found;
}

/** What a status is made of. */
export interface ShipState {
  readonly lines: ReadonlyMap<string, TenantLine>;
  readonly stored: ReadonlyMap<string, StoredTenant>;
  readonly packs: readonly PackUnderWay[];
  /** What the last rehearsal of a tenant found. */
  readonly verified: (tenant: string) => Verified | undefined;
  readonly nowMs: number;
}

export function statusOf({
  lines,
  stored,
  packs,
  verified,
  nowMs,
}: ShipState): Pick<ReplicaStatus, 'tenants' | 'lagMs' | 'lagBytes' | 'worst'> {
  const behind = lags(lines.values(), packs);
  let [sinceMs, lagBytes] = [nowMs, 0];
  for (const lag of behind.values()) {
    sinceMs = Math.min(sinceMs, lag.sinceMs);
    lagBytes += lag.bytes;
  }
  const worst = worstOf(lines, behind, { stored, verified, nowMs });
  return { tenants: stored.size, lagMs: nowMs - sinceMs, lagBytes, worst };
}

/** Those that are furthest behind, then those whose chain broke. */
function worstOf(
  lines: ReadonlyMap<string, TenantLine>,
  behind: ReadonlyMap<TenantLine, Lag>,
  { stored, verified, nowMs }: Pick<ShipState, 'stored' | 'verified' | 'nowMs'>,
): readonly StatusReplicaTenant[] {
  const byLag = [...behind].sort(([, one], [, other]) => one.sinceMs - other.sinceMs);
  const chosen = new Map<TenantLine, Lag | undefined>(byLag.slice(0, MAX_WORST_TENANTS));
  for (const line of lines.values()) {
    if (chosen.size >= MAX_WORST_TENANTS) break;
    if (line.gaps > 0 && !chosen.has(line)) chosen.set(line, behind.get(line));
  }
  return [...chosen].map(([{ tenant, gaps }, lag]) => {
    const { commitSeq = 0, commitMs = 0 } = stored.get(tenant) ?? {};
    const last = verified(tenant);
    return {
      ...{ tenant, commitSeq, commitAt: commitMs, gaps },
      lagCommits: lag?.commits ?? 0,
      lagBytes: lag?.bytes ?? 0,
      lagMs: lag === undefined ? 0 : Math.max(0, nowMs - lag.sinceMs),
      verifiedMs: last?.ok ? last.atMs : undefined,
    };
  });
}
