/**
 * How old what a copy lacks is at most. Instead of the time of each pack it keeps that of one: when that is copied, everything that was
 * stored before it is, and the newest one is next.
 */
export class CopyLag {
  /** All that was stored before is copied. */
  #coveredMs: number;
  #target: { readonly number: number; readonly atMs: number };

  /** @param newest that the first store has */
  constructor(newest: number, nowMs: number) {
    this.#coveredMs = nowMs;
    this.#target = { number: newest, atMs: nowMs };
  }

  /** @param newest that the first store has @param next the first one that the copy lacks */
  note(newest: number, next: number, nowMs: number): void {
    if (next <= this.#target.number) return;
    // What came since the target is either copied, too, or was stored after it.
    this.#coveredMs = next > newest ? nowMs : this.#target.atMs;
    this.#target = { number: newest, atMs: nowMs };
  }

  behindMs(nowMs: number): number {
    return nowMs - this.#coveredMs;
  }
}
