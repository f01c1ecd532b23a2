import { LIMITS, OnewriterError, toWireError } from '@onewriter/protocol';

/** How a read is answered for whose rows Redis has no room now; its client sends it again. */
const NO_ROOM = JSON.stringify({
  e: toWireError(
    new OnewriterError('RATE_LIMITED', 'Too many large answers of reads wait in Redis for their clients.', {
      retryAfterMs: 500,
    }),
  ),
});

/** Else the large answers of one tenant would keep those of all others out. */
const SHARE_OF_TENANT = 1 / 2;

/** Bounds the bytes that answers of reads have in Redis: whether a client fetched its answer early is not known here. */
export class AnswerRoom {
  readonly #maxBytes: number;
  readonly #ttlMs: number;
  readonly #answers: { readonly tenant: string; readonly bytes: number; readonly until: number }[] = [];
  readonly #bytesOf = new Map<string, number>();
  #bytes = 0;

  constructor(maxBytes: number = LIMITS.maxOwnerAnswerBytes, ttlMs: number = LIMITS.ownerAnswerTtlMs) {
    this.#maxBytes = maxBytes;
    this.#ttlMs = ttlMs;
  }

  /** @param now monotonic, ms @returns whether an answer of so many bytes may be stored; then it counts */
  take(tenant: string, bytes: number, now: number = performance.now()): boolean {
    while (this.#answers[0] !== undefined && this.#answers[0].until <= now) {
      const expired = this.#answers.shift()!;
      this.#count(expired.tenant, -expired.bytes);
    }
    const ofTenant = (this.#bytesOf.get(tenant) ?? 0) + bytes;
    if (ofTenant > this.#maxBytes * SHARE_OF_TENANT || this.#bytes + bytes > this.#maxBytes) return false;
    this.#count(tenant, bytes);
    this.#answers.push({ tenant, bytes, until: now + this.#ttlMs });
    return true;
  }

  #count(tenant: string, bytes: number): void {
    this.#bytes += bytes;
    const ofTenant = (this.#bytesOf.get(tenant) ?? 0) + bytes;
    if (ofTenant > 0) this.#bytesOf.set(tenant, ofTenant);
    else this.#bytesOf.delete(tenant);
  }
}

/** The results of so many reads that find no room. */
export function resultsWithoutRoom(reads: number): string {
  return `[${Array(reads).fill(NO_ROOM).join()}]`;
}
