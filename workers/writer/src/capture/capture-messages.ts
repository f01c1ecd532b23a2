import type { WalFile } from '../thread/lane-task.ts';

/*
 * What a writer thread says to the replicator about its tenants' logs, on a MessagePort that the two have in common. The thread
 * does not know what is stored: whether a chunk goes on from what was there is decided by the replicator.
 */

/** A place in a write-ahead log, as SQLite itself would check it. */
export interface LogPosition {
  /** Both salts of the log's header, 16 hex digits; '' where there is no log. */
  readonly salts: string;
  /** Frames before it. */
  readonly frame: number;
  /** The running checksum of the frame before it, 16 hex digits; '' at frame 0. */
  readonly checksum: string;
}

/** The main file as `stat` shows it: whoever changes it changes this. */
export interface FileMark {
  readonly ino: string;
  readonly size: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

/** One commit in a chunk. A commit without a caller's write has the commitSeq of the one before. */
export interface CapturedCommit {
  /** Frames of the chunk up to its end. */
  readonly frames: number;
  readonly commitSeq: number;
  /** By the broker's clock, ms since the epoch. */
  readonly atMs: number;
  readonly epoch: number;
  /** Size of the database after it, in pages. */
  readonly pages: number;
}

/** A piece of a tenant's log: whole commits, without a hole between two pieces of one connection. */
export interface CapturedLog {
  readonly kind: 'log';
  readonly tenant: string;
  readonly incarnation: string;
  /** Bytes. */
  readonly pageSize: number;
  /** What was there before: the end of the piece before, or of the log as it was when the file was opened. */
  readonly before: LogPosition;
  /** The main file at the opening, where it had no log. Only with the first piece after an opening. */
  readonly mark?: FileMark | undefined;
  /** Begin and end in the log; another log than that of `before` where it was restarted. */
  readonly from: LogPosition;
  readonly to: LogPosition;
  readonly commits: readonly CapturedCommit[];
  /** Frames as they are in the log, each with its header of 24 bytes. Transferred. */
  readonly frames: ArrayBuffer;
  /** Set where the log may not be flushed: it is, before anything leaves the machine. */
  readonly unflushed?: WalFile | undefined;
  /** A caller waits until it is stored. */
  readonly urgent: boolean;
}

/** Why a tenant's log could not be captured whole: what follows needs a new beginning. */
export type LostReason = 'no room' | 'log changed' | 'unreadable log';

export type CaptureMessage =
  | CapturedLog
  | { readonly kind: 'lost'; readonly tenant: string; readonly reason: LostReason }
  /** The file was closed in order; all before `to` was sent. */
  | { readonly kind: 'closed'; readonly tenant: string; readonly to: LogPosition; readonly mark: FileMark };

/** What the replicator sends to a thread: send the new commits of all open tenants now. */
export interface CaptureRequest {
  readonly kind: 'capture';
}

/** How a thread reaches the replicator; given once, with its port transferred. */
export interface CaptureOptions {
  /**
   * Bytes of frames that were sent and are not stored yet: BigInt64 [0] of all threads, bound [1]. The thread adds, the replicator
   * subtracts. At the bound, pieces are given up as `lost`.
   */
  readonly room: SharedArrayBuffer;
}
