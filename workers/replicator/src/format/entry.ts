import type { WriteSummary } from '@onewriter/protocol';
import type { LogPosition } from '@onewriter/writer';

/** A segment: some commits of one tenant, or all of its pages. Listed in the index of the pack that has it. */
export interface SegmentEntry {
  readonly tenant: string;
  /**
   * - `pages`: the newest pages of the commits `min` to `max`; valid only on top of `min - 1`
   * - `full`: all pages at `max`; `min` is `max`
   * - `base`: the tenant begins as another one was: see {@link base}
   * - `deleted`: the tenant was deleted after `max`; `min` is `max`
   */
  readonly kind: 'pages' | 'full' | 'base' | 'deleted';
  /** Numbers of commits (`pos`), counted over the whole life of the tenant. */
  readonly min: number;
  readonly max: number;
  /** Where its body lies in the pack, in bytes; 0 and 0 where it lies in {@link parts} or has none. */
  readonly offset: number;
  readonly length: number;
  /** A full segment that is too large for a pack: objects `<prefix>/<0000…>.snap`, one body each, pages in order. */
  readonly parts?: SegmentParts | undefined;
  /** Id of the key it is encrypted with; '' for none. */
  readonly key: string;
  /** SHA-256 of the stored body, 64 hex digits; '' where it lies in parts. */
  readonly sha256: string;
  /** Of the first and the last commit in it. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** The file after its last commit. */
  readonly epoch: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly incarnation: string;
  /** Where the log ends with it. */
  readonly end: LogPosition;
  /** Number of commits, and bytes of their pages before compression. */
  readonly commits: number;
  readonly plainBytes: number;
  /** Of the commits that the writer made and that were merged into it; undefined where none is known. Not encrypted. */
  readonly writes?: WriteSummary | undefined;
  /** For `base`: what it begins as. */
  readonly base?: BranchBase | undefined;
}

/** What a tenant begins as; the numbers of its entry are those of that state. */
export interface BranchBase {
  /** Whose state it is. */
  readonly tenant: string;
  readonly pos: number;
  /** When that was committed, ms since the epoch. */
  readonly atMs?: number | undefined;
  /** Size of the file. */
  readonly bytes?: number | undefined;
  /** Id of the request for it. */
  readonly request?: string | undefined;
}

export interface SegmentParts {
  readonly prefix: string;
  readonly count: number;
  /** Of all parts, as they are stored. */
  readonly bytes: number;
  /** SHA-256 of the hashes (hex) of the stored parts, one after the other. */
  readonly sha256: string;
}

/** Which pack: level 0 by its number, others by the number of their block. */
export interface PackId {
  readonly level: 0 | 1 | 2 | 3;
  readonly number: number;
}

/** What stands at the end of a pack. */
export interface PackIndex {
  readonly v: 1;
  readonly level: 0 | 1 | 2 | 3;
  readonly number: number;
  /** Of the start of the replicator that wrote it; a compacted pack has the highest of its packs. */
  readonly term: number;
  readonly writtenAtMs: number;
  readonly entries: readonly SegmentEntry[];
  /** Parts that segments of its packs had and no segment of this pack has: they go with its packs of level 2. */
  readonly superseded?: readonly Pick<SegmentParts, 'prefix' | 'count'>[] | undefined;
  /** Never stored: the store has a pack here that cannot be read, and it counts as empty. */
  readonly damaged?: true | undefined;
}

/** A segment and where it is: its pack, or the newest catalogue's copy of that. */
export interface SegmentPlace {
  readonly pack: PackId;
  readonly entry: SegmentEntry;
}

/** Level 0 packs in one pack of each level. */
export const PACKS_OF_LEVEL = Object.freeze([1, 32, 512, 4_096] as const);

export function packKey({ level, number }: PackId): string {
  return `packs/${level}/${String(number).padStart(12, '0')}.pack`;
}
