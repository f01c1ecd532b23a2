/*
 * How much of a thread's time reads may have. Where it writes, reads get a share of the time that passes, saved up for one task at
 * most; where it has not written lately, there is none that they could hold up.
 */

/** Share of the time while there are writes. */
const SHARE = 0.25;
/** Longest time of the reads in one task. */
const TASK_MS = 50;
/** A thread that has not written for so long is free for reads. */
const QUIET_MS = 100;

/** The time that reads may take in one thread. Times on the monotonic clock, in ms. */
export class ReadShare {
  #leftMs = TASK_MS;
  #countedAt = 0;
  #wroteAt = Number.NEGATIVE_INFINITY;

  /** A task wrote. */
  wrote(now: number): void {
    if (now - this.#wroteAt >= QUIET_MS) this.#leftMs = TASK_MS;
    else this.#refill(now);
    this.#countedAt = now;
    this.#wroteAt = now;
  }

  /** How long the reads of a task may take from now on; 0 or less: none begins. */
  leftMs(now: number): number {
    if (now - this.#wroteAt >= QUIET_MS) return TASK_MS;
    this.#refill(now);
    return this.#leftMs;
  }

  /** Reads took so long. */
  used(ms: number): void {
    this.#leftMs -= ms;
  }

  #refill(now: number): void {
    this.#leftMs = Math.min(TASK_MS, this.#leftMs + (now - this.#countedAt) * SHARE);
    this.#countedAt = now;
  }
}
