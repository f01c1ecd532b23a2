import { backOffMs, isReadJobId } from '@onewriter/protocol';
import type { RefusedOutcome } from '@onewriter/writer';
import { type HeldJob, hasUnawaitedWrite } from './held-job.ts';

/*
 * A tenant whose file refuses batches:
 *
 *   a batch is refused ──▶ pause ──▶ tried again … the 4th time in a row ──▶ parked: callers are answered,
 *                                                                            tried again with growing pauses
 *   a batch is applied ──▶ as usual
 */

/** How often a refused batch is tried before its callers are answered. */
const TRIES_BEFORE_ANSWER = 4;
const MAX_RETRY_PAUSE_MS = 5_000;
/** While the file refuses writes, a new job causes a new try, but not more often than this. */
const MIN_RETRY_PAUSE_MS = 100;

/** Codes that another try cannot change. */
const FINAL: ReadonlySet<string> = new Set(['TENANT_NOT_FOUND', 'INVALID_TENANT', 'DATABASE_CORRUPT']);

/** Codes of errors of the file, whatever the write. */
const OF_THE_FILE: ReadonlySet<string> = new Set([
  ...['DATABASE_CORRUPT', 'DATABASE_READONLY', 'DATABASE_IO_ERROR', 'TENANT_UNAVAILABLE'],
]);

/** How often the file refused, and the pause before the next try. */
export class Refusals {
  readonly #isDraining: () => boolean;
  readonly #onPauseOver: () => void;
  /** Times in a row that the tenant's file refused a batch. */
  #count = 0;
  /** On the monotonic clock, ms. */
  #refusedAt = 0;
  #pause: NodeJS.Timeout | undefined;
  /** The file cannot be opened, and callers were answered: it is tried also without jobs. */
  triesWithoutJobs = false;

  constructor(isDraining: () => boolean, onPauseOver: () => void) {
    this.#isDraining = isDraining;
    this.#onPauseOver = onPauseOver;
  }

  /** Whether it refused so often that callers were answered. */
  get isParked(): boolean {
    return this.#count >= TRIES_BEFORE_ANSWER;
  }

  /** Whether nothing is tried before a pause is over. */
  get isPausing(): boolean {
    return this.#pause !== undefined;
  }

  /** A batch was refused. @returns how many in a row */
  note(): number {
    this.#refusedAt = performance.now();
    return ++this.#count;
  }

  /** Callers are answered without further tries. */
  park(): void {
    this.#count = Math.max(this.#count, TRIES_BEFORE_ANSWER);
  }

  /** A batch was applied. */
  clear(): void {
    this.#count = 0;
    this.triesWithoutJobs = false;
  }

  /** Waits before the next try, longer after each refusal. */
  pause(): void {
    if (this.#isDraining()) return;
    this.pauseFor(backOffMs(Math.max(1, this.#count), { firstMs: 50, maxMs: MAX_RETRY_PAUSE_MS }));
  }

  pauseFor(pauseMs: number): void {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#onPauseOver();
    }, pauseMs);
  }

  /** Shortens a pause of a parked tenant: the caller of a new job is not to wait for its end. */
  hurry(): void {
    if (!this.isPausing || !this.isParked || this.#isDraining()) return;
    this.pauseFor(Math.max(0, this.#refusedAt + MIN_RETRY_PAUSE_MS - performance.now()));
  }

  /** The pause does not end: the session drains. */
  stop(): void {
    clearTimeout(this.#pause);
  }
}

/** Whether another try may succeed. */
export function mayRecover({ error }: RefusedOutcome): boolean {
  return !FINAL.has(error.code);
}

/**
 * The ready jobs that were certainly not applied and that callers wait for; the others stay until the file can be written. If the
 * file as a whole refuses, untried jobs would fail, too, so they are included.
 * @param batch the jobs that were tried
 */
export function chooseRefused(
  ready: readonly HeldJob[],
  batch: readonly HeldJob[],
  { error, uncertain, begun }: RefusedOutcome,
): readonly HeldJob[] {
  const tried = new Set(batch.map(({ id }) => id));
  // A read makes no file, and a write behind it may.
  const isOnlyForReads = error.code === 'TENANT_NOT_FOUND' && batch.every(({ id }) => isReadJobId(id));
  const concernsAll = (!begun || OF_THE_FILE.has(error.code)) && !isOnlyForReads;
  return ready.filter(job => {
    const isCertain = (tried.has(job.id) && !uncertain) || !job.doubtful;
    // This broker cannot read a job of an unknown version, so it cannot know whether its caller waits.
    if (job.unknownVersion !== undefined) return false;
    return isCertain && (concernsAll || tried.has(job.id)) && !hasUnawaitedWrite(job);
  });
}
