/** Half of what is known of an owner is forgotten after this. */
const HALF_LIFE_MS = 5_000;
const MAX_OWNERS = 1_000;

interface Use {
  readonly sumMs: number;
  readonly longestMs: number;
  readonly at: number;
}

const NONE: Use = Object.freeze({ sumMs: 0, longestMs: 0, at: 0 });

/**
 * How long owners used something lately that all share. Those that used it for the least time can go first, and those that use it for
 * long at a time can be kept from taking all of it. Times are monotonic, in ms.
 */
export class RecentUse {
  /** Those that used it last are at the end. */
  readonly #owners = new Map<string, Use>();

  sumMs(owner: string, now: number): number {
    return this.#at(owner, now).sumMs;
  }

  /** Of single uses. */
  longestMs(owner: string, now: number): number {
    return this.#at(owner, now).longestMs;
  }

  add(owner: string, ms: number, now: number): void {
    const { sumMs, longestMs } = this.#at(owner, now);
    this.#owners.delete(owner);
    this.#owners.set(owner, { sumMs: sumMs + ms, longestMs: Math.max(longestMs, ms), at: now });
    if (this.#owners.size <= MAX_OWNERS) return;
    const [oldest] = this.#owners.keys();
    this.#owners.delete(oldest!);
  }

  #at(owner: string, now: number): Use {
    const { sumMs, longestMs, at } = this.#owners.get(owner) ?? NONE;
    const left = 0.5 ** ((now - at) / HALF_LIFE_MS);
    return { sumMs: sumMs * left, longestMs: longestMs * left, at };
  }
}
