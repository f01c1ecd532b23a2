/** How long a pack waits for the pieces of other threads, which are asked at the same moment. */
const GATHER_MS = 50;

/** When the next pack is made: soon after the first piece, but twice in an interval at most; at once where a caller waits. */
export class PackTimer {
  readonly #intervalMs: number;
  readonly #nowMs: () => number;
  readonly #onDue: () => void;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #takenMs = Number.NEGATIVE_INFINITY;
  #isDue = false;
  #isClosed = false;

  constructor(intervalMs: number, nowMs: () => number, onDue: () => void) {
    this.#intervalMs = intervalMs;
    this.#nowMs = nowMs;
    this.#onDue = onDue;
  }

  /** A pack is to be made, if it can be. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** There is something for a pack. */
  set(isUrgent: boolean): void {
    if (this.#isClosed || this.#isDue) return;
    if (isUrgent) {
      // After what came at the same moment.
      this.#immediate ??= setImmediate(() => this.#fire());
      return;
    }
    const gatherMs = Math.min(GATHER_MS, this.#intervalMs / 4);
    const waitMs = Math.max(gatherMs, this.#takenMs + this.#intervalMs / 2 - this.#nowMs());
    this.#timer ??= setTimeout(() => this.#fire(), waitMs);
  }

  /** Its content was taken. @param isAll false: the next pack is due now */
  taken(isAll: boolean): void {
    this.#takenMs = this.#nowMs();
    this.#isDue = !isAll;
    this.#clear();
  }

  close(): void {
    this.#isClosed = true;
    this.#clear();
  }

  #fire(): void {
    this.#clear();
    this.#isDue = true;
    this.#onDue();
  }

  #clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
  }
}
