import {
  backOffMs,
  isOnewriterError,
  LIMITS,
  OnewriterError,
  parseReceiptId,
  type WireOperationResult,
} from '@onewriter/protocol';
import { assertNotAborted, dueAt, endOfWait, now, untilAborted, untilDue } from './deadline.ts';
import { commitSeqOf, decodeOutcome, errorOf, type RowShape } from './decode-result.ts';
import type { JobStates } from './job-states.ts';
import { Latch } from './latch.ts';
import type { Ledger } from './ledger.ts';
import { shapeOf } from './row-shape.ts';
import type { Settler } from './settler.ts';
import type { OutcomeOptions, Receipt, ReceiptStatus, RowMode, RowOf, WriteOutcome } from './types.ts';

/** What receipts ask. */
export interface ReceiptContext {
  readonly tenant: string;
  readonly states: JobStates;
  readonly ledger: Ledger;
  readonly settler: Settler;
  readonly writeTimeoutMs: number;
}

/** Between two looks at a write that is pending, unless its event comes first. */
const MIN_POLL_MS = 10;
const MAX_POLL_MS = 500;
/** Each wait looks so seldom that all waits of a client together look once in this time. Events are heard at once all the same. */
const MS_PER_LOOK = 1;
/** How the reason of a job begins that was set aside. */
const UNKNOWN = 'OUTCOME_UNKNOWN: ';

const LATE = 'The deadline passed while the write was on its way.';
const ABORTED = 'The caller aborted while the write was on its way.';

/** A {@link Receipt}: an id and whom to ask. */
export class TenantReceipt implements Receipt {
  readonly id: string;
  readonly tenant: string;
  readonly #context: ReceiptContext;
  readonly #jobId: string;
  readonly #index: number;

  /** @throws OnewriterError INVALID_ARGUMENT */
  constructor(context: ReceiptContext, id: string) {
    const { jobId, index } = parseReceiptId(id);
    this.id = id;
    this.tenant = context.tenant;
    this.#context = context;
    this.#jobId = jobId;
    this.#index = index;
  }

  async committed<Mode extends RowMode = 'object'>(
    options: OutcomeOptions<Mode> = {},
  ): Promise<WriteOutcome<RowOf<Mode>>> {
    const shape = shapeOf(options);
    const { signal } = options;
    const { settler, writeTimeoutMs } = this.#context;
    const due = dueAt(options, writeTimeoutMs);
    const end = endOfWait(due, signal);
    // Watched from before the first look, so that no event falls between a look and the wait after it.
    const event = new Latch();
    const unwatch = settler.watch(this.#jobId, () => event.open());
    let cause: unknown;
    try {
      for (let looks = 1; ; looks++) {
        let status: ReceiptStatus<RowOf<Mode>> | undefined;
        try {
          // Redis may not answer, and a disk may take its time: the deadline stands.
          status = await untilAborted(this.#look(end.signal, due, shape), end.signal);
        } catch (error) {
          if (signal?.aborted) throw this.#unknown(ABORTED, cause);
          if (end.isLate) throw this.#unknown(LATE, cause);
          // That the ledger cannot be read says nothing about the write: its error must not look like the write's.
          cause = error;
          if (!mayPass(error)) throw this.#unknown('The ledger cannot be read.', cause);
        }
        if (status?.state === 'committed') return status.result;
        if (status?.state === 'failed') throw status.error;
        if (status?.state === 'unknown') throw this.#notFound(status.reason);
        if (signal?.aborted) throw this.#unknown(ABORTED, cause);
        const leftMs = due - now();
        if (leftMs <= 0) throw this.#unknown(LATE, cause);
        const minMs = event.isOpen ? 0 : settler.watched * MS_PER_LOOK;
        const pauseMs = backOffMs(looks, { firstMs: MIN_POLL_MS, maxMs: MAX_POLL_MS });
        await event.wait(Math.min(Math.max(pauseMs, minMs), leftMs), signal);
      }
    } finally {
      end.clear();
      unwatch();
    }
  }

  async status<Mode extends RowMode = 'object'>(
    options: OutcomeOptions<Mode> = {},
  ): Promise<ReceiptStatus<RowOf<Mode>>> {
    const shape = shapeOf(options);
    const { signal } = options;
    assertNotAborted(signal);
    const due = dueAt(options, LIMITS.busyTimeoutMs);
    const end = endOfWait(due, signal);
    try {
      const status = await untilAborted(this.#look(end.signal, due, shape), end.signal);
      if (status !== undefined) return status;
    } catch (error) {
      assertNotAborted(signal);
      if (!end.isLate) throw error;
    } finally {
      end.clear();
    }
    throw new OnewriterError(
      'QUEUE_UNAVAILABLE',
      'Neither Redis nor the ledger said in time where the write is.',
      { tenant: this.tenant, receiptId: this.id, retryAfterMs: 1_000 },
    );
  }

  /**
   * What is in the ledger needs no state. Where it is not there, the state is read, and then the ledger once more: see
   * settler.ts.
   * @param ended fires at `due`, or earlier
   * @returns undefined where it is not known now
   */
  async #look<Mode extends RowMode>(
    ended: AbortSignal,
    due: number,
    shape: RowShape<Mode>,
  ): Promise<ReceiptStatus<RowOf<Mode>> | undefined> {
    const found = await this.#lookInLedger(ended, shape);
    if (found !== undefined) return found;
    const states = this.#context.states.look([{ tenant: this.tenant, id: this.#jobId }], false);
    const [state] = (await untilDue(states, due)) ?? [];
    if (state === undefined) return undefined;
    if (state === 'queued') return { state: 'pending' };
    const committed = await this.#lookInLedger(ended, shape);
    return committed ?? { state: 'unknown', ...(await untilDue(this.#whySetAside(), due)) };
  }

  /** @returns undefined where the ledger does not have the write: not yet, or its job has fewer */
  async #lookInLedger<Mode extends RowMode>(
    ended: AbortSignal,
    shape: RowShape<Mode>,
  ): Promise<ReceiptStatus<RowOf<Mode>> | undefined> {
    const { ledger } = this.#context;
    const answer = await ledger.look(this.tenant, this.#jobId, [this.#index], ended);
    const result = answer.kind === 'found' ? answer.results[this.#index] : undefined;
    if (answer.kind === 'absent' || result === undefined) return undefined;
    return toStatus(result, answer.commitSeq, shape);
  }

  #unknown(message: string, cause: unknown): OnewriterError {
    const details = { tenant: this.tenant, receiptId: this.id };
    return new OnewriterError('OUTCOME_UNKNOWN', message, details, cause);
  }

  /** A job that was set aside, because it may have been applied before, says why. */
  async #whySetAside(): Promise<{ readonly reason?: string }> {
    const failure = await this.#context.states.failure?.({ tenant: this.tenant, id: this.#jobId });
    return failure?.startsWith(UNKNOWN) ? { reason: failure.slice(UNKNOWN.length) } : {};
  }

  #notFound(reason: string | undefined): OnewriterError {
    if (reason !== undefined) {
      const details = { tenant: this.tenant, receiptId: this.id, reason: 'set aside' };
      return new OnewriterError('OUTCOME_UNKNOWN', reason, details);
    }
    return new OnewriterError('RECEIPT_NOT_FOUND', 'Neither the queue nor the ledger know this receipt.', {
      tenant: this.tenant,
      receiptId: this.id,
    });
  }
}

/** Whether a read that failed may succeed later: the file is busy, damaged or away, or whoever reads it is. */
function mayPass(error: unknown): boolean {
  return isOnewriterError(error) && (error.retryable || error.code === 'DATABASE_CORRUPT');
}

function toStatus<Mode extends RowMode>(
  result: WireOperationResult,
  commitSeq: number,
  shape: RowShape<Mode>,
): ReceiptStatus<RowOf<Mode>> {
  const error = errorOf(result);
  return error
    ? { state: 'failed', error }
    : { state: 'committed', result: decodeOutcome(result, commitSeqOf(result, commitSeq), shape) };
}
