import type { SegmentEntry } from '../format/entry.ts';
import type { SegmentCommit } from '../format/segment-body.ts';

/** A point in a tenant's life: a commit, a time, or the newest one. */
export type Point =
  | { readonly kind: 'newest' }
  | { readonly kind: 'commitSeq'; readonly commitSeq: number }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'pos'; readonly pos: number };

/** How a segment lies to a point: all of it is at or before it, or behind it, or the point is inside. */
export type Cover = 'within' | 'beyond' | 'partly';

export function coverOf(entry: SegmentEntry, point: Point): Cover {
  // The commit that a deletion names is the last before it, and can be gone back to.
  if (
    entry.kind === 'deleted' &&
    point.kind !== 'time' &&
    isAtOrBefore(entry.lastSeq, entry.max, 0, point) === 'at'
  )
    return 'beyond';
  if (isAtOrBefore(entry.lastSeq, entry.max, entry.lastMs, point) !== 'no') return 'within';
  return isAtOrBefore(entry.firstSeq, entry.min, entry.firstMs, point) === 'no' ? 'beyond' : 'partly';
}

/** Whether a commit is at or before a point. */
export function isWithin({ commitSeq, pos, atMs }: SegmentCommit, point: Point): boolean {
  return isAtOrBefore(commitSeq, pos, atMs, point) !== 'no';
}

/** Whether a commit is the very one that was asked for; each is where a time or the newest was. */
export function isExact(commit: { readonly pos: number; readonly commitSeq: number }, point: Point): boolean {
  switch (point.kind) {
    case 'pos':
      return commit.pos === point.pos;
    case 'commitSeq':
      return commit.commitSeq === point.commitSeq;
    case 'time':
    case 'newest':
      return true;
    default:
      return point satisfies never;
  }
}

function isAtOrBefore(commitSeq: number, pos: number, ms: number, point: Point): 'at' | 'before' | 'no' {
  switch (point.kind) {
    case 'newest':
      return 'before';
    case 'commitSeq':
      return compare(commitSeq, point.commitSeq);
    case 'pos':
      return compare(pos, point.pos);
    case 'time':
      return compare(ms, point.ms);
    default:
      return point satisfies never;
  }
}

function compare(value: number, bound: number): 'at' | 'before' | 'no' {
  return value === bound ? 'at' : value < bound ? 'before' : 'no';
}
