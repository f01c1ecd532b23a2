import { type DurationHistogram, durationQuantile } from '@onewriter/protocol';

/** Counters since the process leads. */
export interface Totals {
  readonly writes: number;
  readonly failed: number;
  readonly batches: number;
  /** Tenants closed so that others could be opened. */
  readonly evicted: number;
}

interface Look extends Totals {
  readonly at: number;
  readonly commit: Float64Array;
  readonly delay: Float64Array;
}

/** Rates between two looks. Durations in ms, null where there were none. */
export interface WindowRates {
  readonly windowMs: number;
  readonly perSecond: number;
  readonly failedPerSecond: number;
  readonly batchesPerSecond: number;
  readonly evictedPerSecond: number;
  readonly commitP50Ms: number | null;
  readonly commitP99Ms: number | null;
  readonly delayP50Ms: number | null;
  readonly delayP99Ms: number | null;
}

/**
 * Rates and quantiles of the last looks at counters that only grow: the work itself is counted once, for any number of readers
 * and reads.
 */
export class RateWindow {
  readonly #looks: Look[] = [];
  readonly #length: number;
  readonly #commit: DurationHistogram;
  readonly #delay: DurationHistogram;

  /** @param length number of looks in the window. */
  constructor(length: number, commit: DurationHistogram, delay: DurationHistogram) {
    this.#length = length;
    this.#commit = commit;
    this.#delay = delay;
  }

  /** @param at on the monotonic clock, ms. */
  look(at: number, totals: Totals): WindowRates {
    const now: Look = { ...totals, at, commit: this.#commit.snapshot(), delay: this.#delay.snapshot() };
    const then = this.#looks[0] ?? now;
    this.#looks.push(now);
    if (this.#looks.length > this.#length) this.#looks.shift();
    const windowMs = now.at - then.at;
    const perSecond = (count: number) =>
      windowMs > 0 ? Number(((count * 1_000) / windowMs).toPrecision(4)) : 0;
    return {
      windowMs: Math.round(windowMs),
      perSecond: perSecond(now.writes - then.writes),
      failedPerSecond: perSecond(now.failed - then.failed),
      batchesPerSecond: perSecond(now.batches - then.batches),
      evictedPerSecond: perSecond(now.evicted - then.evicted),
      commitP50Ms: round(durationQuantile(then.commit, now.commit, 0.5)),
      commitP99Ms: round(durationQuantile(then.commit, now.commit, 0.99)),
      delayP50Ms: round(durationQuantile(then.delay, now.delay, 0.5)),
      delayP99Ms: round(durationQuantile(then.delay, now.delay, 0.99)),
    };
  }
}

function round(ms: number | null): number | null {
  return ms === null ? null : Number(ms.toPrecision(3));
}
