/** For how long a reading is extended; the monotonic clocks of two machines differ by some 0.1 ms in it. */
const READING_LASTS_MS = 10_000;

/**
 * Redis' clock as last read, extended by the monotonic clock of this process: jobs are stamped by it (ADR 0027), and to
 * have each script ask Redis would cost a quarter more. No wall clock of this machine has a part in it. It can only be slow, by
 * the time that an answer takes, or for as long as this machine stood still, and a job that seems some time older is never
 * applied twice.
 */
export class RedisClock {
  readonly #monotonicMs: () => number;
  #reading = { redisMs: 0, at: Number.NEGATIVE_INFINITY };

  constructor(monotonicMs: () => number = () => performance.now()) {
    this.#monotonicMs = monotonicMs;
  }

  /** Redis' time in ms; '' where it has to be asked. */
  now(): number | '' {
    const age = this.#monotonicMs() - this.#reading.at;
    return age < READING_LASTS_MS ? Math.floor(this.#reading.redisMs + age) : '';
  }

  /** Redis said that it was `redisMs`, a moment ago. */
  read(redisMs: number): void {
    this.#reading = { redisMs, at: this.#monotonicMs() };
  }

  /** Another Redis may answer from now on. */
  forget(): void {
    this.#reading = { redisMs: 0, at: Number.NEGATIVE_INFINITY };
  }
}
