const LOOK_EVERY_MS = 250;
/** A busy machine is late by less. */
const MIN_STANDSTILL_MS = 2_000;

/** Detects that this process stood still: it was stopped (SIGSTOP, a suspended machine), or its event loop was blocked. */
export class Standstill {
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;
  #lookedAt: number;
  #last = { ms: 0, endedAt: Number.NEGATIVE_INFINITY };

  /** @param now a monotonic clock, ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#lookedAt = now();
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  /** How long it stood still, where that ended within the last `withinMs`; else 0. */
  recentMs(withinMs: number): number {
    // After a standstill a socket may answer before the timer runs.
    this.#look();
    return this.#now() - this.#last.endedAt <= withinMs ? this.#last.ms : 0;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = this.#now();
    const ms = now - this.#lookedAt;
    this.#lookedAt = now;
    if (ms >= MIN_STANDSTILL_MS) this.#last = { ms, endedAt: now };
  }
}
