import { isOnewriterError, OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import type { EndState } from './operation.ts';
import { MAX_LOG_LINES, type NewOperation, newOperationId, type OperationStore } from './operation-store.ts';

/** What work has of the operation that it is. */
export interface OperationContext {
  readonly id: string;
  /** Fires where it is to stop: a person cancelled it, or its process ends. */
  readonly signal: AbortSignal;
  /** A queued operation begins. */
  begin(): void;
  /** @param total where it is known */
  progress(done: number, total?: number | undefined): void;
  /** Adds a line, for people. */
  log(line: string): void;
}

/** How work ended that did not throw. */
export interface Summary {
  /** Of a bounded size, see `firstFitting`. */
  readonly result: unknown;
  /** Set where a part of it failed. */
  readonly error?: WireError | undefined;
}

/** Settings of {@link runOperation}. */
export interface OperationOptions<T> {
  /** The store; called again after an error. @throws where there is none now */
  readonly open: () => Promise<OperationStore>;
  readonly id?: string | undefined;
  /** Whether it waits for its turn, until `begin` is called. Default: false. */
  readonly queued?: boolean | undefined;
  /** Shorter work is not recorded. Default: 0. */
  readonly listAfterMs?: number | undefined;
  /** Stops it, because its process ends. */
  readonly signal?: AbortSignal | undefined;
  readonly summarize: (value: T) => Summary;
  /** Called once where it is not listed, or its end is not. The work is not concerned. */
  readonly onUnlisted?: ((error: Error) => void) | undefined;
}

/** How often a record is renewed. */
const RENEW_EVERY_MS = 1_000;
/** How long the end of work may wait for Redis. */
const END_WAIT_MS = 1_000;

/**
 * Does work, and keeps a record of it in Redis while it lasts. Without Redis the work is done all the same, and not delayed.
 * @throws whatever `work` throws
 */
export async function runOperation<T>(
  operation: NewOperation,
  options: OperationOptions<T>,
  work: (context: OperationContext) => Promise<T>,
): Promise<T> {
  const record = new OperationRecord(operation, options);
  try {
    const value = await work(record);
    const { result, error } = options.summarize(value);
    await record.end(error === undefined ? 'done' : 'failed', result, error);
    return value;
  } catch (error) {
    await record.end(record.endAfter(error), undefined, toWireError(error));
    throw error;
  }
}

/** The record of one operation, renewed by a timer. */
class OperationRecord implements OperationContext {
  readonly id: string;
  readonly #operation: NewOperation;
  readonly #open: () => Promise<OperationStore>;
  readonly #onUnlisted: (error: Error) => void;
  readonly #own: AbortSignal | undefined;
  readonly #cancelled = new AbortController();
  readonly signal: AbortSignal;
  readonly #timer: NodeJS.Timeout;
  /** On the monotonic clock. */
  readonly #listedFrom: number;
  #state: 'queued' | 'running';
  #done = 0;
  #total: number | null = null;
  #lines: string[] = [];
  /** Lines that were too many until the next renewal. */
  #skipped = 0;
  #store: OperationStore | undefined;
  #isAdded = false;
  /** The renewal that is under way. */
  #renewing: Promise<void> | undefined;
  #trouble: Error | undefined;

  constructor(operation: NewOperation, options: OperationOptions<never>) {
    const { open, id, queued, listAfterMs = 0, signal, onUnlisted } = options;
    this.id = id ?? newOperationId();
    this.#operation = operation;
    this.#open = open;
    this.#onUnlisted = onUnlisted ?? (() => {});
    this.#own = signal;
    this.#state = queued ? 'queued' : 'running';
    this.signal =
      signal === undefined ? this.#cancelled.signal : AbortSignal.any([signal, this.#cancelled.signal]);
    this.#listedFrom = performance.now() + listAfterMs;
    this.#timer = setInterval(() => this.#renewSoon(), RENEW_EVERY_MS);
    this.#timer.unref();
    this.#renewSoon();
  }

  begin(): void {
    this.#state = 'running';
    this.#renewSoon();
  }

  progress(done: number, total?: number | undefined): void {
    this.#done = done;
    if (total !== undefined) this.#total = total;
  }

  log(line: string): void {
    this.#lines.push(line);
    this.#boundLines();
  }

  #boundLines(): void {
    const over = this.#lines.splice(0, Math.max(0, this.#lines.length - MAX_LOG_LINES));
    this.#skipped += over.length;
  }

  /** How it ended, where its work threw `error`. */
  endAfter(error: unknown): EndState {
    if (!isOnewriterError(error, 'ABORTED') || !this.signal.aborted) return 'failed';
    return this.#own?.aborted ? 'interrupted' : 'cancelled';
  }

  /** Writes the end, where Redis answers soon enough. Never throws. */
  async end(state: EndState, result: unknown, error: WireError | undefined): Promise<void> {
    clearInterval(this.#timer);
    if (this.#isShort()) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>(resolve => {
      timer = setTimeout(() => {
        this.#trouble ??= new OnewriterError('QUEUE_UNAVAILABLE', 'Redis did not answer in time.');
        resolve();
      }, END_WAIT_MS);
    });
    await Promise.race([this.#writeEnd(state, result, error), late]);
    clearTimeout(timer);
    if (this.#trouble !== undefined) this.#onUnlisted(this.#trouble);
  }

  async #writeEnd(state: EndState, result: unknown, error: WireError | undefined): Promise<void> {
    await this.#renewing;
    await this.#renew();
    try {
      await this.#store?.end(this.id, state, result, error);
    } catch (failure) {
      this.#trouble = failure as Error;
    }
  }

  #isShort(): boolean {
    return performance.now() < this.#listedFrom;
  }

  #renewSoon(): void {
    if (this.#isShort()) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
  }

  /** Never throws: the next renewal tries again, and the end reports what did not work at last. */
  async #renew(): Promise<void> {
    const lines = this.#lines;
    const skipped = this.#skipped;
    this.#lines = [];
    this.#skipped = 0;
    try {
      this.#store ??= await this.#open();
      if (!this.#isAdded) await this.#add(this.#store);
      const renewal = { state: this.#state, done: this.#done, total: this.#total, lines, skipped };
      const by = await this.#store.renew(this.id, renewal);
      this.#trouble = undefined;
      if (by === undefined) this.#isAdded = false;
      else if (by !== '') this.#stop(by);
    } catch (error) {
      this.#lines = [...lines, ...this.#lines];
      this.#skipped += skipped;
      this.#boundLines();
      this.#store = undefined;
      this.#trouble = error as Error;
    }
  }

  async #add(store: OperationStore): Promise<void> {
    await store.add(this.id, this.#operation, this.#state);
    this.#isAdded = true;
  }

  #stop(by: string): void {
    this.#cancelled.abort(new OnewriterError('ABORTED', `${by} cancelled it.`));
  }
}
