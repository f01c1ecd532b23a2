import { LIMITS, OnewriterError, toWireError } from '@onewriter/protocol';

/** How a read is answered for whose rows Redis has no room now; its client sends it again. */
const NO_ROOM = JSON.stringify({
  e: toWireError(
    new OnewriterError('RATE_LIMITED', 'Too many large answers of reads wait in Redis for their clients.', {
      retryAfterMs: 500,
    }),
  ),
});

/** Bounds the bytes that answers of reads have in Redis: whether a client fetched its answer early is not known here. */
export class AnswerRoom {
  readonly #maxBytes: number;
  readonly #ttlMs: number;
  readonly #answers: { readonly bytes: number; readonly until: number }[] = [];
  #bytes = 0;

  constructor(maxBytes: number = LIMITS.maxOwnerAnswerBytes, ttlMs: number = LIMITS.ownerAnswerTtlMs) {
    this.#maxBytes = maxBytes;
    this.#ttlMs = ttlMs;
  }

  /** @param now monotonic, ms @returns whether an answer of so many bytes may be stored; then it counts */
  take(bytes: number, now: number = performance.now()): boolean {
    while (this.#answers[0] !== undefined && this.#answers[0].until <= now) {
      this.#bytes -= this.#answers.shift()!.bytes;
    }
    if (this.#bytes + bytes > this.#maxBytes) return false;
    this.#bytes += bytes;
    this.#answers.push({ bytes, until: now + this.#ttlMs });
    return true;
  }
}

/** The results of so many reads that find no room. */
export function resultsWithoutRoom(reads: number): string {
  return `[${Array(reads).fill(NO_ROOM).join()}]`;
}
