import type { WriteSummary } from '@onewriter/protocol';
import type { WalFile } from '../thread/lane-task.ts';

/*
 * What a writer thread says to the replicator about its tenants' logs, on a MessagePort that the two have in common. The thread
 * does not know what is stored: whether a chunk continues what was there is decided by the replicator.
 *
 * A tenant moves between threads, and ports are not read in the order in which they were written. So each message has a number
 * of one count (`order`):
 *
 * - A message with a lower number than one that was taken of the same tenant is late: what it has was in that one, too. Drop it.
 * - Where a message does not continue what is known, read what the other ports have (`receiveMessageOnPort`) before it counts as
 *   a gap: the former thread's messages were written before this thread opened the file.
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
  /** 0 where another connection made it, before a crash or in another thread: no less than that of the one before. */
  readonly commitSeq: number;
  /** By the broker's clock, ms since the epoch; where commitSeq is 0, when the log was last written. */
  readonly atMs: number;
  /** 0 as commitSeq. */
  readonly epoch: number;
  /** Size of the database after it, in pages. */
  readonly pages: number;
  /** Undefined where another connection made it, or it has no caller's write. */
  readonly writes?: WriteSummary | undefined;
}

/** A piece of a tenant's log: whole commits, without a hole between two pieces of one connection. */
export interface CapturedLog {
  readonly kind: 'log';
  readonly order: bigint;
  readonly tenant: string;
  readonly incarnation: string;
  /** Bytes. */
  readonly pageSize: number;
  /** What was there before: the end of the piece before, or of the log as it was when the file was opened. */
  readonly before: LogPosition;
  /** The main file at the opening. Only with the first piece after it, which begins at frame 0. */
  readonly mark?: FileMark | undefined;
  /**
   * Begin and end in the log; another log than that of `before` where it was restarted. The first piece after an opening begins at
   * frame 0 where the log is still the one of `before`: what is known lies inside it.
   */
  readonly from: LogPosition;
  readonly to: LogPosition;
  /** Set where further pieces bring what the log had at the opening: up to this frame. What is known may lie inside one of them. */
  readonly moreTo?: number | undefined;
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
  | {
      readonly kind: 'lost';
      readonly order: bigint;
      readonly tenant: string;
      readonly reason: LostReason;
    }
  /** The file was closed in order and has no log any more; all before `to` was sent. */
  | {
      readonly kind: 'closed';
      readonly order: bigint;
      readonly tenant: string;
      readonly to: LogPosition;
      readonly mark: FileMark;
    };

/** A thread cannot keep what it captured: a killed process loses what is not stored, and its tenants may have a gap then. */
export interface SpoolFailure {
  readonly kind: 'spool-failed';
  readonly message: string;
}

/** What the replicator sends to a thread: send the new commits of all open tenants now. */
export interface CaptureRequest {
  readonly kind: 'capture';
  /** Messages of this thread up to this number are stored, or of no use. */
  readonly done: bigint;
}

/** How a thread reaches the replicator; given once, with its port transferred. */
export interface CaptureOptions {
  /** What all threads share: see {@link CaptureRoom}. Another one for each start of the replicator. */
  readonly room: SharedArrayBuffer;
}
