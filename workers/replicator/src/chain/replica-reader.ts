import type { SegmentPlace } from '../format/entry.ts';
import type { ObjectStore } from '../store/object-store.ts';

/** A point in a tenant's life: a commit, a time, or the newest one. */
export type Point =
  | { readonly kind: 'newest' }
  | { readonly kind: 'commitSeq'; readonly commitSeq: number }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'pos'; readonly pos: number };

/** The segments that make a tenant's file at a point: one `full` first, then `pages` without a hole; the last may be cut. */
export interface RestorePlan {
  readonly tenant: string;
  /** What was found for the point. */
  readonly pos: number;
  readonly commitSeq: number;
  readonly atMs: number;
  readonly segments: readonly SegmentPlace[];
  /** Sum of stored bytes, and requests to read them. */
  readonly bytes: number;
  readonly requests: number;
}

/** Commits that can be gone back to, from one point to the next of a tenant's history. */
export interface HistoryPoint {
  readonly fromPos: number;
  readonly toPos: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly bytes: number;
  /** Each commit in it is addressable; otherwise only its end. */
  readonly each: boolean;
  readonly kind: SegmentPlace['entry']['kind'];
}

/** Reads what a store has of a group. It only reads, so it may run anywhere, beside a broker or without one. */
export interface ReplicaReader {
  readonly store: ObjectStore;
  /** All tenants with their newest state, deleted ones too. */
  tenants(): Promise<readonly SegmentPlace[]>;
  /** @throws OnewriterError POSITION_UNKNOWN with the points that there are. */
  plan(tenant: string, point: Point): Promise<RestorePlan>;
  history(tenant: string, limit: number): Promise<readonly HistoryPoint[]>;
}
