import type { CatalogRef, Head } from '../chain/head.ts';
import type { CompactHead, Dropping } from './compact-head.ts';

/*
 * What is kept, in blocks of level 3, each of which ends with a catalogue:
 *
 *   level 0        24 h    each commit can be gone back to
 *   level 1         3 d    every 32 packs
 *   level 2         7 d    every 512
 *   level 3         ONEWRITER_REPLICA_RETENTION, and what the chains of the oldest catalogue need
 *   catalogues      the same, and the newest of the older ones: the first chains begin there
 *
 * Two steps: the head no longer names it; an hour later it is deleted. So a restore that read the head before can end.
 */

const HOUR_MS = 3_600_000;
/** At its first run a leader takes a clock to be right that is so far ahead. */
const MAX_AHEAD_MS = 5 * 60_000;
/** A real absence is made up for in four times as long. */
const CATCH_UP = 1.25;
export const GRACE_MS = HOUR_MS;
const KEEP_MS = Object.freeze({ 0: 24 * HOUR_MS, 1: 3 * 24 * HOUR_MS, 2: 7 * 24 * HOUR_MS });

/** How long each commit can be gone back to. */
export function keepsCommitsMs(retentionMs: number): number {
  return Math.min(KEEP_MS[0], retentionMs);
}

/** The head that no longer names what is too old; undefined: it names nothing of that. */
export function dropExpired(head: CompactHead, retentionMs: number, nowMs: number): CompactHead | undefined {
  if (head.dropping !== undefined) return undefined;
  const times = timesOf(head.catalogs, nowMs);
  const newestBefore = (ms: number) => head.catalogs[times.findLastIndex(time => time <= ms)];
  const keptFor = (ageMs: number) => (newestBefore(nowMs - ageMs)?.to ?? 0) + 1;
  const from = head.kept;
  const kept: Head['kept'] = {
    0: Math.max(from[0], keptFor(keepsCommitsMs(retentionMs))),
    1: Math.max(from[1], keptFor(Math.min(KEEP_MS[1], retentionMs))),
    2: Math.max(from[2], keptFor(Math.min(KEEP_MS[2], retentionMs))),
    3: Math.max(from[3], keptFor(retentionMs)),
  };
  const oldest = newestBefore(nowMs - retentionMs);
  const catalogs = head.catalogs.filter(({ to }) => oldest === undefined || to >= oldest.to);
  const dropped = head.catalogs.filter(ref => !catalogs.includes(ref));
  const isSame = ([0, 1, 2, 3] as const).every(level => kept[level] === from[level]) && dropped.length === 0;
  if (isSame) return undefined;
  const dropping: Dropping = { leftMs: GRACE_MS, from, catalogs: dropped };
  return { ...head, kept, catalogs, dropping };
}

/**
 * The time by which things are too old. The machine's clock may be set far ahead for a while, and must not end all history: since the last
 * run hardly more time has passed than the leader has counted, however often it runs.
 * @param elapsedMs since then, by a clock that nothing sets; 0: it is the first of its leader, which has counted nothing
 */
export function steadyNow({ seenMs }: CompactHead, nowMs: number, elapsedMs: number): number {
  if (seenMs === undefined) return nowMs;
  const aheadMs = elapsedMs === 0 ? MAX_AHEAD_MS : elapsedMs * CATCH_UP;
  return Math.min(nowMs, seenMs + aheadMs);
}

/** What is left of the grace after some time. It is counted, not read from a clock: a restore needs the time itself. */
export function passGrace({ dropping }: CompactHead, elapsedMs: number): Dropping | undefined {
  if (dropping === undefined) return undefined;
  // A head of a build that noted when it began has none.
  const { leftMs = GRACE_MS } = dropping;
  return { ...dropping, leftMs: Math.max(0, leftMs - elapsedMs) };
}

/**
 * When catalogues were made, at the latest. A time to come, or before that of an older catalogue, is from a clock that was wrong: such a
 * one is as new as the next. A clock that was in 1970 for an hour would have ended all history.
 */
function timesOf(catalogs: readonly CatalogRef[], nowMs: number): readonly number[] {
  let latest = 0;
  const known = catalogs.map(({ atMs }) => {
    if (atMs < latest || atMs > nowMs) return undefined;
    latest = atMs;
    return atMs;
  });
  return known.map((_, index) => known.slice(index).find(ms => ms !== undefined) ?? nowMs);
}
