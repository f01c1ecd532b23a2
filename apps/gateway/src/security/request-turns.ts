import { RecentUse } from './recent-use.ts';

/** Requests begin one after the other for so long in one turn of the loop; then others, and what has arrived meanwhile, have theirs. */
const SLICE_MS = 3;
/** Begun in one turn of the loop, of those that waited. */
const MAX_IN_TURN = 8;

/**
 * Whose request begins next while the event loop is busy: that of the owner with the fewest requests lately, so that one with very many
 * does not delay the others. While the loop has time a request begins at once. Those that wait are bounded by `Shares` of requests.
 *
 *   a a a a a b  ──▶  a a a │ b a a │ …     what has arrived together, b's before the rest of a's
 */
export class RequestTurns {
  readonly #recent = new RecentUse();
  /** Those that wait, by owner. */
  readonly #waiting = new Map<string, (() => void)[]>();
  /** When the first request of this turn of the loop began; undefined before. */
  #begunAt: number | undefined;
  /** The same of those that waited. */
  #resumedAt: number | undefined;
  #scheduled = 0;

  /** Requests that wait. */
  get size(): number {
    let size = 0;
    for (const { length } of this.#waiting.values()) size += length;
    return size;
  }

  /** Resolves when a request may begin; undefined: now. */
  next(owner: string): Promise<void> | undefined {
    const now = performance.now();
    if (this.#begunAt === undefined) {
      this.#begunAt = now;
      // Behind the I/O of this turn of the loop.
      setImmediate(() => this.#endTurn());
    }
    if (this.#waiting.size === 0 && now - this.#begunAt < SLICE_MS) {
      this.#recent.add(owner, 1, now);
      return undefined;
    }
    return new Promise(resolve => {
      const own = this.#waiting.get(owner);
      if (own === undefined) this.#waiting.set(owner, [resolve]);
      else own.push(resolve);
    });
  }

  #endTurn(): void {
    this.#begunAt = undefined;
    if (this.#scheduled === 0) this.#schedule();
  }

  /** Each begins in a callback of its own: what it does at once is then part of the time that has passed. */
  #schedule(): void {
    const most = Math.min(this.size, MAX_IN_TURN);
    for (; this.#scheduled < most; this.#scheduled++) setImmediate(() => this.#resume());
  }

  #resume(): void {
    this.#scheduled--;
    const now = performance.now();
    this.#resumedAt ??= now;
    // The first always begins.
    if (now - this.#resumedAt < SLICE_MS) this.#takeNext(now)?.();
    if (this.#scheduled > 0) return;
    this.#resumedAt = undefined;
    this.#schedule();
  }

  #takeNext(now: number): (() => void) | undefined {
    let best: { readonly owner: string; readonly used: number } | undefined;
    for (const owner of this.#waiting.keys()) {
      const used = this.#recent.sumMs(owner, now);
      if (best === undefined || used < best.used) best = { owner, used };
    }
    if (best === undefined) return undefined;
    const own = this.#waiting.get(best.owner)!;
    const begin = own.shift();
    if (own.length === 0) this.#waiting.delete(best.owner);
    this.#recent.add(best.owner, 1, now);
    return begin;
  }
}
