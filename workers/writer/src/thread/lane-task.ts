import type { MessagePort } from 'node:worker_threads';
import type { WireError } from '@onewriter/protocol';
import type { RetentionClock } from '../ledger/retention-marks.ts';

/*
 * Messages between the broker's main thread and a writer thread: one task in, one outcome out. The thread never throws for a
 * tenant's fault; a rejected task is a fault of the thread.
 */

/** Settings of a writer thread, given once. */
export interface WriterOptions {
  readonly dataDir: string;
  /** File name inside a tenant's folder. */
  readonly dbFile: string;
  /** Whether a tenant without a file gets one. */
  readonly createTenants: boolean;
  readonly busyTimeoutMs: number;
  /** Connections this thread keeps open; the least recently used is closed. */
  readonly maxOpenTenants: number;
  /** The identity of the data directory; jobs for another are refused. '' refuses none. */
  readonly dataDirId?: string | undefined;
  /** The identity of the directory that its tenants were restored from: what was queued for that one is for this one. */
  readonly formerDataDirId?: string | undefined;
  /** The clock by which rows age. */
  readonly retentionClock: RetentionClock;
  /** `locking_mode=EXCLUSIVE`, for file systems without shared memory. */
  readonly exclusive: boolean;
  /**
   * The thread's position, for the watchdog: Int32 [0] 1 while a task runs, [1] index of the job in the task, [2] index of the
   * write in the job, [3] tasks begun of a group (see {@link GroupTask}); and [4] 1 while it opens, commits, writes back or
   * closes files, 0 while it runs a write. Of PROGRESS_BYTES.
   */
  readonly progress: SharedArrayBuffer;
  /** Path of the file in which the thread notes its jobs (`RunningNote`); without it there is no file. */
  readonly runningNote?: string | undefined;
  /** Whether tenants are replicated; the connection comes with a {@link ConnectTask}. Default: false. */
  readonly replicated?: boolean | undefined;
}

export type LaneTask = ApplyTask | GroupTask | CloseTask | DistrustTask | RollbackTask | ConnectTask;

/** Apply these jobs, in this order, in one transaction. */
export interface ApplyTask {
  readonly kind: 'apply';
  readonly tenant: string;
  /** The leader's epoch; a file that has seen a newer one refuses the task. */
  readonly epoch: number;
  /** Up to LIMITS.maxBatchJobs. None: the file is only opened, if there is one. */
  readonly jobs: readonly QueuedJob[];
  /**
   * `commit`, the default: COMMIT returns when it is flushed. `later`: the outcome names the WAL, and the receiver flushes it
   * before it answers a caller, together with the WALs of other tenants.
   */
  readonly flush?: 'commit' | 'later' | undefined;
  /**
   * The task is one job of steps that run alone, or continue the open transaction; a transaction they leave open gets this name.
   * Any other task rolls the open transaction back.
   */
  readonly transaction?: TransactionGrant | undefined;
  /** How long its reads may take together; default: 50 ms. */
  readonly reads?: ReadAllowance | undefined;
  /**
   * The tenant's file or log failed, perhaps under another thread, and nothing was applied since: the file is opened again, and
   * everything in its log first written to the file and flushed.
   */
  readonly afterIoError?: boolean | undefined;
  /** A caller waits for the replica: the commit is captured at once. */
  readonly capture?: boolean | undefined;
}

/** The thread's connection to the replicator; its port is transferred. A later one takes its place. */
export interface ConnectTask {
  readonly kind: 'connect';
  /** Carries CaptureMessages to the replicator, and its requests. */
  readonly port: MessagePort;
  /** Of a CaptureRoom. */
  readonly room: SharedArrayBuffer;
  /** Folder for what is captured and not stored; undefined: a killed process loses it. */
  readonly spool?: string | undefined;
}

/** The time that reads of a task have. */
export interface ReadAllowance {
  /** None begins after it. */
  readonly ms: number;
  /** Then its client asks again after this. */
  readonly retryAfterMs: number;
}

/** A name for a transaction that a job may leave open. */
export interface TransactionGrant {
  readonly id: string;
  /** When its client may lose it, as reported to the client: ms since the epoch. */
  readonly expiresAt: number;
}

/**
 * Several tenants' batches, one after the other. Each outcome is posted separately as soon as it is known, as a
 * {@link GroupItemOutcome}: a tenant's answer does not wait for the next tenant. Before each task the thread moves
 * cell [3] of the progress from its index to the next; writing another number there revokes the tasks not begun.
 */
export interface GroupTask {
  readonly kind: 'group';
  readonly id: number;
  readonly tasks: readonly ApplyTask[];
}

/** Drop the tenant's connection: its WAL could not be flushed. The next batch opens the file as after an I/O error. */
export interface DistrustTask {
  readonly kind: 'distrust';
  readonly tenant: string;
}

/** Roll back this transaction, if it is open. */
export interface RollbackTask {
  readonly kind: 'rollback';
  readonly tenant: string;
  readonly transaction: string;
}

export interface QueuedJob {
  readonly id: string;
  /** JSON of a WriteJobMessage, as stored in Redis. */
  readonly data: string;
  /** When Redis received it, ms by its clock; undefined where that is unknown. */
  readonly addedAt?: number | undefined;
  /** Poisoned writes that must not run (by index), and the error their callers get; `-1` is the whole job. */
  readonly poisoned?: Readonly<Record<number, WireError>> | undefined;
}

/** Checkpoint and close one tenant, or all. */
export interface CloseTask {
  readonly kind: 'close';
  readonly tenant: string | null;
  /**
   * For all tenants: after so many ms no further one is closed. The others stay as after a crash: all their commits are in their
   * logs, flushed, and the next open writes them back. Default: all are closed, however long it takes.
   */
  readonly withinMs?: number | undefined;
}

export type LaneOutcome = ApplyOutcome | GroupOutcome | CloseOutcome;

/** The group is done, or its rest was revoked. */
export interface GroupOutcome {
  readonly kind: 'group';
  /** Tasks that were begun, each of which has an outcome. */
  readonly started: number;
}

/** Posted by the thread for each task of a group. */
export interface GroupItemOutcome {
  readonly group: number;
  /** Index of the task in its group. */
  readonly item: number;
  readonly outcome: ApplyOutcome;
}

export interface CloseOutcome {
  readonly kind: 'closed';
  readonly tenants: readonly string[];
  /** Tenants still open when time was up; undefined: none. */
  readonly left?: number | undefined;
  /** Findings about files that changed under the connection; they stay closed until {@link releaseWithheld}. */
  readonly changed?: readonly { readonly tenant: string; readonly error: WireError }[] | undefined;
}

export type ApplyOutcome = AppliedOutcome | RefusedOutcome;

/** The transaction committed (or every job was a duplicate, malformed, or of reads, and no commit was needed). */
export interface AppliedOutcome {
  readonly kind: 'applied';
  /** One per job of the task, same order. */
  readonly jobs: readonly JobOutcome[];
  readonly stats: ApplyStats;
  /** Which file of the tenant it was, as of DatabaseFile: another one may have the same numbers of commits. */
  readonly incarnation: string;
  /** Set if no caller may be answered before this WAL was flushed. */
  readonly unflushed?: WalFile | undefined;
  /** The transaction that is open now. */
  readonly open?: string | undefined;
  /** Tenants this thread closed to stay within maxOpenTenants. */
  readonly evicted: readonly string[];
}

/** A write-ahead log to flush. */
export interface WalFile {
  readonly path: string;
  /** `device:inode`: the path may lead to another file by now. */
  readonly identity: string;
}

/** The task could not be done. */
export interface RefusedOutcome {
  readonly kind: 'refused';
  /** FENCED, TENANT_NOT_FOUND, DATABASE_*, TENANT_UNAVAILABLE … */
  readonly error: WireError;
  /**
   * False: no write of the task's jobs was ever committed. True: some may be in the ledger, by this task or an earlier delivery;
   * no caller may be answered that a write failed before the task was delivered again and the ledger was asked.
   */
  readonly uncertain: boolean;
  /** Whether the task was begun. False: the file could not be opened, and only an earlier delivery can have committed. */
  readonly begun: boolean;
  readonly evicted: readonly string[];
}

export interface JobOutcome {
  readonly id: string;
  /** The client to answer; '' where the message was unreadable. */
  readonly client: string;
  /** Writes in the job. */
  readonly writes: number;
  /** Set for a job of reads, which has no writes. */
  readonly reads?: number | undefined;
  /** Writes that failed. */
  readonly failures: number;
  /** The ledger already had it: nothing was applied, the results are the stored ones. */
  readonly duplicate: boolean;
  /** 0 where none of its writes was committed. */
  readonly commitSeq: number;
  /** JSON of WireOperationResult[]; '' with `error`, and where it is over LIMITS.maxEventBytes: the ledger has it. */
  readonly results: string;
  /** JSON of WireOperationResult[], where no ledger has them and no event carries them: the broker keeps them for the client. */
  readonly answer?: string | undefined;
  /** The whole job was refused (unreadable, unsupported version). */
  readonly error?: WireError | undefined;
  /** Error codes of the failed writes; a code appears as often as it occurred. */
  readonly failureCodes?: readonly string[] | undefined;
  /** Failed writes that no caller waits for. */
  readonly deadLetters?: readonly DeadLetter[] | undefined;
}

/** A failed write, as the dead-letter queue keeps it. */
export interface DeadLetter {
  readonly receiptId: string;
  readonly sql: string;
  readonly error: WireError;
}

/** Durations in milliseconds, sizes in bytes. */
export interface ApplyStats {
  readonly openMs: number;
  readonly applyMs: number;
  readonly commitMs: number;
  /** What reads took, in `applyMs` too; undefined where there were none. */
  readonly readMs?: number | undefined;
  /** Duration of a flush after the commit; undefined where there was none, or it is not over. */
  readonly flushMs?: number | undefined;
  readonly checkpointMs: number;
  readonly walBytes: number;
  readonly commits: number;
}
