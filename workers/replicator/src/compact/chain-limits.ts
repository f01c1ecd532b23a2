import type { ChainState } from '../format/chain-state.ts';
import type { SegmentPlace } from '../format/entry.ts';

const MAX_SEGMENTS = 64;
const MIN_BYTES = 1024 * 1024;
/** A branch that is used, or deleted, by then need not be copied out of what its parent was. */
const BRANCH_MS = 12 * 3_600_000;

/**
 * Whether a tenant should have a new full segment: its chain is long, or half as large as its full segment; or it has stood for long on
 * what another tenant was (a branch), which must not have to be kept for it.
 */
export function needsFull({ places, isAlive }: ChainState, nowMs: number): boolean {
  const [first, ...rest] = places;
  if (!isAlive || first === undefined) return false;
  if (first.entry.kind === 'base') return nowMs - first.entry.firstMs > BRANCH_MS;
  if (rest.length > MAX_SEGMENTS) return true;
  const bytes = rest.reduce((sum, place) => sum + storedBytes(place), 0);
  return bytes > Math.max(MIN_BYTES, storedBytes(first) / 2);
}

export function storedBytes({ entry }: SegmentPlace): number {
  return entry.parts?.bytes ?? entry.length;
}
