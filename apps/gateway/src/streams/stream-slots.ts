import { OnewriterError } from '@onewriter/protocol';

const RETRY_AFTER_MS = 1_000;

/** Bounds how many long-lived streams of one kind the gateway serves at the same time. */
export class StreamSlots {
  readonly #max: number;
  readonly #what: string;
  #taken = 0;

  /** @param what for the message: "imports" */
  constructor(max: number, what: string) {
    this.#max = max;
    this.#what = what;
  }

  /**
   * Takes a slot until the returned function is called (again calls do nothing).
   * @throws OnewriterError RATE_LIMITED
   */
  take(): () => void {
    if (this.#taken >= this.#max) {
      const message = `${this.#max} ${this.#what} are under way; try again later.`;
      throw new OnewriterError('RATE_LIMITED', message, { retryAfterMs: RETRY_AFTER_MS });
    }
    this.#taken++;
    let held = 1;
    return () => {
      this.#taken -= held;
      held = 0;
    };
  }
}
