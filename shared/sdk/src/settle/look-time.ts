import { now } from '../waits.ts';

/*
 * A look at once reads the ledger synchronously, so such looks may use only a small share of the time: otherwise thousands of late
 * jobs would make every answer late. Once that time is used up, a check waits for its round, and a deadline is answered without
 * the last look; the check before it has looked.
 */

/** Total time of synchronous looks in a row. */
export const MAX_LOOKS_MS = 10;
/** Those at a client's close may take longer, but not so long that answers are late. */
export const MAX_CLOSING_LOOKS_MS = 40;
/** Share of the time for synchronous looks: an overloaded process has thousands of late jobs all the time. */
const LOOKS_SHARE = 0.1;

/** What is left of the time for synchronous looks: it grows by a share of the time that passes. */
export class LookTime {
  readonly #maxMs: number;
  #leftMs: number;
  #countedAt = now();

  constructor(maxMs: number) {
    this.#maxMs = maxMs;
    this.#leftMs = maxMs;
  }

  /** Runs `look` where there is time left. */
  spend<T>(look: () => T): T | undefined {
    const startedAt = now();
    const grownMs = (startedAt - this.#countedAt) * LOOKS_SHARE;
    this.#leftMs = Math.min(this.#leftMs + grownMs, this.#maxMs);
    this.#countedAt = startedAt;
    if (this.#leftMs <= 0) return undefined;
    try {
      return look();
    } finally {
      this.#leftMs -= now() - startedAt;
    }
  }
}
