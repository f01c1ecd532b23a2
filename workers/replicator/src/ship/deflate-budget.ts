/**
 * How much is deflated: more than this in a second would make the thread late, and bodies are stored as they are. It is a fourteenth
 * to a quarter of what one core deflates (ADR 0071).
 */
export const DEFLATE_BYTES_PER_SECOND = 48 * 1024 * 1024;

export class DeflateBudget {
  readonly #perMs: number;
  readonly #max: number;
  #left: number;
  #atMs: number;

  constructor(nowMs: number, bytesPerSecond = DEFLATE_BYTES_PER_SECOND) {
    this.#perMs = bytesPerSecond / 1_000;
    this.#max = bytesPerSecond;
    this.#left = bytesPerSecond;
    this.#atMs = nowMs;
  }

  /** @returns whether so many bytes may be deflated now; they are spent then. */
  take(bytes: number, nowMs: number): boolean {
    this.#left = Math.min(this.#max, this.#left + Math.max(0, nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    // One body that is larger than a second's budget may use up a full one.
    if (this.#left < Math.min(bytes, this.#max)) return false;
    this.#left -= Math.min(bytes, this.#max);
    return true;
  }
}
