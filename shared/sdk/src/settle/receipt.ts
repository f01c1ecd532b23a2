import {
  backOffMs,
  isDurableJobId,
  isOnewriterError,
  LIMITS,
  OnewriterError,
  parseReceiptId,
  type WireOperationResult,
} from '@onewriter/protocol';
import { describeHolder, type TenantHolder } from '@onewriter/tenants';
import { shapeOf } from '../read/row-shape.ts';
import type { OutcomeOptions, Receipt, ReceiptStatus, RowMode, RowOf, WriteOutcome } from '../types.ts';
import { assertNotAborted, dueAt, endOfWait, now, untilAborted, untilDue } from '../waits.ts';
import { Latch } from '../write/latch.ts';
import { commitSeqOf, decodeOutcome, errorOf, type RowShape } from './decode-result.ts';
import type { JobStates } from './job-states.ts';
import type { LedgerReader } from './ledger.ts';
import type { Settler } from './settler.ts';

/** What receipts ask. */
export interface ReceiptContext {
  readonly tenant: string;
  readonly states: JobStates;
  readonly ledger: LedgerReader;
  readonly settler: Settler;
  readonly writeTimeoutMs: number;
}

/** Between two looks at a write that is pending, unless its event comes first. */
const MIN_POLL_MS = 10;
const MAX_POLL_MS = 500;
/** Each wait looks so seldom that all waits of a client together look once in this time. Events are heard at once all the same. */
const MS_PER_LOOK = 1;
/** So long before its deadline a wait asks who keeps the tenant still, or a quarter of the time that it has. */
const MAX_HOLDERS_MARGIN_MS = 500;
/** The state of a write is known before, and is not held up for longer. */
const HOLDERS_WITHIN_MS = 1_000;
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
  /** Undefined: not known yet. */
  #waitsForReplica: boolean | undefined;

  /** @param waitsForReplica where its id does not say so; undefined: not known @throws OnewriterError INVALID_ARGUMENT */
  constructor(context: ReceiptContext, id: string, waitsForReplica?: boolean) {
    const { jobId, index } = parseReceiptId(id);
    this.#waitsForReplica = isDurableJobId(jobId) || waitsForReplica;
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
    let isPending = false;
    let held: readonly TenantHolder[] = [];
    // Once, and not with each look.
    const marginMs = Math.min((due - now()) / 4, MAX_HOLDERS_MARGIN_MS);
    const timer = setTimeout(
      async () => {
        if (isPending) held = await this.#askHolders(due);
      },
      due - now() - marginMs,
    );
    const unknown = (message: string) => this.#unknown(message, cause, isPending ? held : []);
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
          status = await untilAborted(this.#look(end.signal, due, shape, false), end.signal);
          if (status !== undefined) isPending = status.state === 'pending';
        } catch (error) {
          if (signal?.aborted) throw unknown(ABORTED);
          if (end.isLate) throw unknown(LATE);
          // That the ledger cannot be read says nothing about the write: its error must not look like the write's.
          cause = error;
          if (!mayPass(error)) throw unknown('The ledger cannot be read.');
        }
        if (status?.state === 'committed') return status.result;
        if (status?.state === 'failed') throw status.error;
        if (status?.state === 'unknown') throw this.#notFound(status.reason);
        if (signal?.aborted) throw unknown(ABORTED);
        const leftMs = due - now();
        if (leftMs <= 0) throw unknown(LATE);
        const minMs = event.isOpen ? 0 : settler.watched * MS_PER_LOOK;
        const pauseMs = backOffMs(looks, { firstMs: MIN_POLL_MS, maxMs: MAX_POLL_MS });
        await event.wait(Math.min(Math.max(pauseMs, minMs), leftMs), signal);
      }
    } finally {
      clearTimeout(timer);
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
      const status = await untilAborted(this.#look(end.signal, due, shape, true), end.signal);
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
   * settler.ts. Of a write that waits for the replica the state comes first: its job is finished when the replica has it.
   * @param ended fires at `due`, or earlier
   * @param asksHolders who keeps the tenant still, where the write is pending
   * @returns undefined where it is not known now
   */
  async #look<Mode extends RowMode>(
    ended: AbortSignal,
    due: number,
    shape: RowShape<Mode>,
    asksHolders: boolean,
  ): Promise<ReceiptStatus<RowOf<Mode>> | undefined> {
    if (!this.#waitsForReplica) {
      const found = await this.#lookInLedger(ended, shape);
      if (found !== undefined && (found.state !== 'committed' || !(await this.#waits(due)))) return found;
    }
    const states = this.#context.states.look([{ tenant: this.tenant, id: this.#jobId }], false);
    const [state] = (await untilDue(states, due)) ?? [];
    if (state === undefined) return undefined;
    if (state === 'queued') {
      const holders = asksHolders ? await this.#askHolders(due) : [];
      return { state: 'pending', ...(holders.length === 0 ? {} : { holders }) };
    }
    const committed = await this.#lookInLedger(ended, shape);
    // Of one that is gone nothing more is known.
    if (committed?.state === 'committed' && state === 'finished' && (await this.#waits(due)))
      return this.#askReplica(committed.result, due);
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

  /** Its job is finished, which says when the replica had it. */
  async #askReplica<Row>(result: WriteOutcome<Row>, due: number): Promise<ReceiptStatus<Row> | undefined> {
    const asked = this.#context.states.replicatedAt?.({ tenant: this.tenant, id: this.#jobId });
    const replicatedAt = await untilDue(Promise.resolve(asked), due);
    if (replicatedAt === undefined) return undefined;
    // Its tenant does not wait for it any more.
    if (replicatedAt === null && !isDurableJobId(this.#jobId)) return { state: 'committed', result };
    const replica = replicatedAt ? { replicatedAt } : { replicated: false as const };
    return { state: 'committed', result: { ...result, ...replica } };
  }

  /** Whether it waits for the replica. Where Redis does not say so in time, the ledger is all there is. */
  async #waits(due: number): Promise<boolean> {
    if (this.#waitsForReplica === undefined) {
      const time = now();
      const asked = Promise.resolve(this.#context.states.isSync?.(this.tenant));
      this.#waitsForReplica = await untilDue(asked, time + Math.min((due - time) / 2, HOLDERS_WITHIN_MS));
    }
    return this.#waitsForReplica === true;
  }

  async #askHolders(due: number): Promise<readonly TenantHolder[]> {
    const asked = Promise.resolve(this.#context.states.holders?.([this.tenant]));
    // Without an answer in time nothing is said of them.
    const all = await untilDue(asked, Math.min(due, now() + HOLDERS_WITHIN_MS));
    return all?.get(this.tenant) ?? [];
  }

  #unknown(message: string, cause: unknown, holders: readonly TenantHolder[] = []): OnewriterError {
    const details = { tenant: this.tenant, receiptId: this.id };
    if (holders.length === 0) return new OnewriterError('OUTCOME_UNKNOWN', message, details, cause);
    const whole = `${message} Tenant ${this.tenant} is held: ${holders.map(describeHolder).join('; ')}.`;
    return new OnewriterError('OUTCOME_UNKNOWN', whole, { ...details, holders }, cause);
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

/** Whether a read that failed may succeed later: the file, or the process that reads it, is busy, damaged or away. */
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
