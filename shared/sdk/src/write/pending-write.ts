import { OnewriterError, onAbort, receiptId, type WireOperationResult } from '@onewriter/protocol';
import type { TenantHolder } from '@onewriter/tenants';
import { commitSeqOf, errorOf } from '../settle/decode-result.ts';
import { aborted } from '../waits.ts';
import type { EncodedWrite } from './encoded-write.ts';
import type { WriteCaller, WriteSpans } from './write-caller.ts';

/** What the caller of a write waits for. */
export type WaitsFor =
  /** Its result. */
  | 'commit'
  /** The queue has accepted it. */
  | 'acceptance';

/** Notified when a write no longer needs its room. */
export interface WriteHolder {
  /** The encoded write was dropped: the queue has it, or it will not be sent. */
  onPayloadDropped(write: PendingWrite): void;
  /** The caller has its answer. @param error undefined where it is none. */
  onSettled(write: PendingWrite, error?: unknown): void;
}

/** The job that a write is in. */
export interface JobOfWrite {
  readonly id: string;
  readonly tenant: string;
  /** When its oldest write was issued, on the clock of now(). */
  readonly issuedAt: number;
  /** When the queue is known to have it, on the clock of now(). */
  readonly acceptedAt: number | undefined;
  /** Writes whose callers still wait. */
  readonly open: number;
  readonly isRead: boolean;
  /** Its callers are answered when the replica has it. */
  readonly waitsForReplica?: boolean | undefined;
  onWriteSettled(): void;
}

/** What else is said where the outcome of a write is not known. */
export interface GiveUpFacts {
  readonly cause?: unknown;
  /** Who keeps the tenant still. */
  readonly holders?: readonly TenantHolder[];
}

const NOT_REPLICATED =
  'The write is committed, and not known to be in the replica: its store did not take it in time.';

/*
 *   buffered ──assembled into a job──▶ sent ──▶ settled (committed, failed, or OUTCOME_UNKNOWN)
 *      │  ▲                              │
 *      │  └── the job certainly did not go
 *      └─ deadline, abort, refusal ─▶ settled (nothing was applied)
 */

/** A write and its caller, from being issued to being settled. */
export class PendingWrite {
  readonly waitsFor: WaitsFor;
  /** The caller's deadline, on the clock of now(). */
  readonly dueAt: number;
  readonly bytes: number;
  readonly isRead: boolean;
  /** The job it is in, while that may have been sent. */
  job: JobOfWrite | undefined;
  index = -1;
  settled = false;
  /** Set where its trace is recorded; not even a field else. */
  declare trace?: WriteSpans;
  /** When the replica had it; set where that was waited for, and not even a field else. */
  declare replicatedAt?: number;
  readonly #caller: WriteCaller;
  readonly #holder: WriteHolder;
  readonly #signal: AbortSignal | undefined;
  readonly #endWatch: (() => void) | undefined;
  #payload: EncodedWrite | undefined;

  constructor(
    payload: EncodedWrite,
    waitsFor: WaitsFor,
    dueAt: number,
    signal: AbortSignal | undefined,
    caller: WriteCaller,
    holder: WriteHolder,
  ) {
    this.#payload = payload;
    this.bytes = payload.operationBytes + payload.sqlBytes;
    this.isRead = payload.isRead === true;
    this.waitsFor = waitsFor;
    this.dueAt = dueAt;
    this.#caller = caller;
    this.#holder = holder;
    if (signal !== undefined) {
      this.#signal = signal;
      this.#endWatch = onAbort(signal, () => this.#abort());
    }
  }

  /** The encoded write, until the queue has it. */
  get payload(): EncodedWrite | undefined {
    return this.#payload;
  }

  /** Frees the encoded write. */
  dropPayload(): void {
    if (this.#payload === undefined) return;
    this.#payload = undefined;
    this.#holder.onPayloadDropped(this);
  }

  /** `<job id>.<index>`; only while it is in a job. */
  get receipt(): string {
    return receiptId(this.job!.id, this.index);
  }

  get waitsForReplica(): boolean {
    return this.job?.waitsForReplica === true;
  }

  /** The queue has the write. */
  accept(): void {
    this.dropPayload();
    if (this.waitsFor !== 'acceptance' || this.settled) return;
    this.#settle();
    this.#caller.resolve(undefined, 0, this);
  }

  /**
   * The write's own result is known: it committed, or it failed and nothing of it was applied.
   * @param replicatedAt when the replica had it; 0: that was waited for in vain
   */
  finish(result: WireOperationResult, commitSeq: number, replicatedAt?: number | undefined): void {
    this.accept(); // what has a result was in the queue
    if (this.settled) return;
    const error = errorOf(result);
    if (error === undefined && replicatedAt === 0) {
      this.giveUp(NOT_REPLICATED, 'not replicated');
      return;
    }
    if (replicatedAt !== undefined) this.replicatedAt = replicatedAt;
    this.#settle(error);
    if (error) this.#caller.reject(error);
    else this.#caller.resolve(result, commitSeqOf(result, commitSeq), this);
  }

  /** It was certainly not applied. */
  refuse(error: OnewriterError): void {
    if (this.settled) return;
    this.#settle(error);
    this.#caller.reject(error);
  }

  /** It may have been applied, and its outcome is not known. @param more of its details */
  giveUp(message: string, reason?: string | undefined, more: GiveUpFacts = {}): void {
    if (this.settled) return;
    const { tenant } = this.job!;
    const { cause, holders } = more;
    const details = {
      ...{ tenant, receiptId: this.receipt },
      ...(reason === undefined ? {} : { reason }),
      ...(holders === undefined ? {} : { holders }),
    };
    const error = new OnewriterError('OUTCOME_UNKNOWN', message, details, cause);
    this.#settle(error);
    this.#caller.reject(error);
  }

  #abort(): void {
    if (this.job === undefined) this.refuse(aborted(this.#signal));
    else {
      const cause: unknown = this.#signal?.reason;
      this.giveUp('The caller aborted while the write was on its way.', 'aborted', { cause });
    }
  }

  #settle(error?: unknown): void {
    this.settled = true;
    this.#endWatch?.();
    if (this.job === undefined) this.dropPayload();
    else this.job.onWriteSettled();
    this.#holder.onSettled(this, error);
  }
}
