import type { WriteSummary } from '@onewriter/protocol';
import type { CapturedLog, FileMark, LogPosition, WalFile } from '@onewriter/writer';
import type { PackedSegment } from '../format/pack.ts';
import type { SegmentCommit } from '../format/segment-body.ts';

/** Without its place in a pack. */
export type UnplacedEntry = PackedSegment['entry'];

/** What a tenant has to store next, in the order of its commits. */
export type PackItem = PagesItem | FirstItem | EntryItem;

/** What a piece takes until it is stored. */
export interface RoomShare {
  /** The number of its message. */
  readonly order: bigint;
  /** 0 where another item has it. */
  readonly roomBytes: number;
}

/** Of a log. */
export interface CapturedItem extends RoomShare {
  /** Its oldest commit that is not stored, dropped ones too: ms since the epoch. */
  readonly sinceMs: number;
  readonly incarnation: string;
  readonly pageSize: number;
  /** As captured, each frame with its header. */
  readonly frames: ArrayBuffer;
  /** The log with it. */
  readonly end: LogPosition;
  /** Its log is flushed before it leaves the machine; false: it was, or needs not be. */
  unflushed: WalFile | undefined;
  readonly writes: WriteSummary | undefined;
}

/** Commits on top of the one before. */
export interface PagesItem extends CapturedItem {
  readonly kind: 'pages';
  /** Frames of `frames` that come before. */
  readonly skip: number;
  /** Their `frames` count from `skip`. */
  readonly commits: readonly SegmentCommit[];
}

/** Commits that together have all pages: a full segment as of the last of them. */
export interface FirstItem extends CapturedItem {
  readonly kind: 'first';
  /** Frames that belong to it. */
  readonly count: number;
  readonly commit: SegmentCommit;
  readonly commits: number;
  readonly firstSeq: number;
  readonly firstMs: number;
}

/** An entry that is made already: of a snapshot, a deletion, a branch. */
export interface EntryItem {
  readonly kind: 'entry';
  readonly sinceMs: number;
  readonly entry: UnplacedEntry;
  /** Already encrypted, where it lies in the pack. */
  readonly body?: Buffer | undefined;
}

/** What a process found that read a whole file. */
export interface FullSegment {
  /** `min` and `max` are those that were given to it. */
  readonly entry: UnplacedEntry;
  /** Set where it is small; otherwise its parts are stored already. */
  readonly body?: Buffer | undefined;
  /** The file, where it had no log and did not change meanwhile. */
  readonly mark?: FileMark | undefined;
}

/** Of a whole piece. */
export function shareOf({ order, frames }: CapturedLog): RoomShare {
  return { order, roomBytes: frames.byteLength };
}

/** Numbers of an item, for what is behind and what is stored. */
export interface ItemNumbers {
  readonly pos: number;
  readonly commitSeq: number;
  readonly epoch: number;
  readonly commits: number;
  readonly bytes: number;
  readonly lastMs: number;
}

export function numbersOf(item: PackItem): ItemNumbers {
  switch (item.kind) {
    case 'pages': {
      const { commits, pageSize } = item;
      const last = commits.at(-1)!;
      return {
        pos: last.pos,
        commitSeq: last.commitSeq,
        epoch: last.epoch,
        commits: commits.length,
        bytes: last.frames * pageSize,
        lastMs: last.atMs,
      };
    }
    case 'first': {
      const { pos, commitSeq, epoch, atMs, pages } = item.commit;
      const { commits, pageSize } = item;
      return { pos, commitSeq, epoch, commits, bytes: pages * pageSize, lastMs: atMs };
    }
    case 'entry': {
      const { max, lastSeq, epoch, commits, plainBytes, lastMs } = item.entry;
      return { pos: max, commitSeq: lastSeq, epoch, commits, bytes: plainBytes, lastMs };
    }
    default:
      return item satisfies never;
  }
}
