import {
  isOnewriterError,
  LIMITS,
  OnewriterError,
  parseReceiptId,
  type WireOperationResult,
} from '@onewriter/protocol';
import { assertNotAborted, dueAt, now, pause, untilAborted } from './deadline.ts';
import { commitSeqOf, decodeOutcome, errorOf, type RowShape } from './decode-result.ts';
import type { JobStates } from './job-states.ts';
import type { Ledger, LedgerAnswer } from './ledger.ts';
import { shapeOf } from './row-shape.ts';
import type { Settler } from './settler.ts';
import type {
  OutcomeOptions,
  Receipt,
  ReceiptStatus,
  RowMode,
  RowOf,
  WaitOptions,
  WriteOutcome,
} from './types.ts';

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
/** How the reason of a job begins that was set aside. */
const UNKNOWN = 'OUTCOME_UNKNOWN: ';

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
    const due = dueAt(options, this.#context.writeTimeoutMs);
    // Watched from before the first look, so that no event falls between a look and the wait after it.
    const wake = new AbortController();
    const late = AbortSignal.timeout(Math.max(1, Math.ceil(due - now())));
    const unwatch = this.#context.settler.watch(this.#jobId, () => wake.abort());
    let cause: unknown;
    try {
      for (let pauseMs = MIN_POLL_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_POLL_MS)) {
        let status: ReceiptStatus<RowOf<Mode>> | undefined;
        try {
          // Redis may not answer, and a disk may take its time: the deadline stands.
          status = await untilAborted(this.#look(options, due, shape), late);
        } catch (error) {
          if (late.aborted) throw this.#unknown('The deadline passed while the write was on its way.', cause);
          // That the ledger cannot be read says nothing about the write: its error must not look like the write's.
          cause = error;
          if (!mayPass(error)) throw this.#unknown('The ledger cannot be read.', cause);
        }
        if (status?.state === 'committed') return status.result;
        if (status?.state === 'failed') throw status.error;
        if (status?.state === 'unknown') throw this.#notFound(status.reason);
        if (options.signal?.aborted)
          throw this.#unknown('The caller aborted while the write was on its way.', cause);
        const left = due - now();
        if (left <= 0) throw this.#unknown('The deadline passed while the write was on its way.', cause);
        await this.#wait(Math.min(pauseMs, left), wake.signal, options.signal);
      }
    } finally {
      unwatch();
    }
  }

  async status<Mode extends RowMode = 'object'>(
    options: OutcomeOptions<Mode> = {},
  ): Promise<ReceiptStatus<RowOf<Mode>>> {
    const shape = shapeOf(options);
    assertNotAborted(options.signal);
    const status = await this.#look(options, dueAt(options, LIMITS.busyTimeoutMs), shape);
    if (status !== undefined) return status;
    throw new OnewriterError(
      'QUEUE_UNAVAILABLE',
      'Redis does not answer, and the ledger does not have the write.',
      {
        tenant: this.tenant,
        receiptId: this.id,
        retryAfterMs: 1_000,
      },
    );
  }

  /** The state is read before the ledger: see settler.ts. @returns undefined where nothing can be told now */
  async #look<Mode extends RowMode>(
    options: WaitOptions,
    due: number,
    shape: RowShape<Mode>,
  ): Promise<ReceiptStatus<RowOf<Mode>> | undefined> {
    const [state] = await this.#context.states.look([{ tenant: this.tenant, id: this.#jobId }], false);
    const late = AbortSignal.timeout(Math.max(1, Math.ceil(due - now())));
    const signal = options.signal ? AbortSignal.any([late, options.signal]) : late;
    let answer: LedgerAnswer;
    try {
      answer = await this.#context.ledger.look(this.tenant, this.#jobId, [this.#index], signal);
    } catch (error) {
      if (signal.aborted) return { state: 'pending' };
      throw error;
    }
    if (answer.kind === 'found') {
      const result = answer.results[this.#index];
      if (result !== undefined) return toStatus(result, answer.commitSeq, shape);
      // The job is still being applied, or it has fewer writes.
      return state === 'queued' ? { state: 'pending' } : { state: 'unknown' };
    }
    if (state === undefined) return undefined;
    return state === 'queued' ? { state: 'pending' } : { state: 'unknown', ...(await this.#whySetAside()) };
  }

  async #wait(ms: number, event: AbortSignal, signal: AbortSignal | undefined): Promise<void> {
    // After its event the ledger has the write, or no event will come: then only time helps.
    if (event.aborted) return pause(ms, signal);
    return pause(ms, signal ? AbortSignal.any([event, signal]) : event);
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
