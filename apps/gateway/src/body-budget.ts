import { OnewriterError } from '@onewriter/protocol';

/** When to try again, at the bound; requests are short. */
const RETRY_AFTER_MS = 1_000;

/** Bounds the memory of the request bodies that the gateway holds at the same time. */
export class BodyBudget {
  readonly #maxBytes: number;
  #heldBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Reserves `bytes` until the returned function is called (again calls do nothing).
   * @throws OnewriterError RATE_LIMITED with `retryAfterMs` where the budget is used up
   */
  reserve(bytes: number): () => void {
    if (this.#heldBytes + bytes > this.#maxBytes) {
      throw new OnewriterError('RATE_LIMITED', 'The gateway holds too many request bodies now; try again.', {
        retryAfterMs: RETRY_AFTER_MS,
      });
    }
    this.#heldBytes += bytes;
    let held = bytes;
    return () => {
      this.#heldBytes -= held;
      held = 0;
    };
  }
}
