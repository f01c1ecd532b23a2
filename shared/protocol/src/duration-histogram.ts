import type { MetricSample } from './metric-source.ts';

/** Upper bound of the first bucket. */
const MIN_MS = 0.1;
const BUCKETS_PER_OCTAVE = 8;
/** To 26 s. */
const OCTAVES = 18;
/** The last one has no upper bound. */
const BUCKETS = OCTAVES * BUCKETS_PER_OCTAVE + 2;

/**
 * Durations in buckets whose bounds grow by 9 % (eight to the doubling), from 0.1 ms to 26 s. To observe one costs a
 * logarithm and two additions, and nothing is allocated, so that it can be done on the hot path. Prometheus is shown
 * every eighth bound; quantiles are read off all of them.
 */
export class DurationHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #sumMs = 0;

  /** @param ms less than 0, of a clock that jumped, counts as 0. */
  observe(ms: number): void {
    this.#counts[ms > MIN_MS ? bucketOf(ms) : 0]!++;
    if (ms > 0) this.#sumMs += ms;
  }

  /** How many were observed. */
  get count(): number {
    return sum(this.#counts);
  }

  /** A copy of the buckets, for {@link durationQuantile}. */
  snapshot(): Float64Array {
    return this.#counts.slice();
  }

  /** In Prometheus' form: cumulative buckets in seconds, sum and count. */
  samples(name: string, labels: Readonly<Record<string, string>> = {}): MetricSample[] {
    const samples: MetricSample[] = [];
    let count = 0;
    for (let bucket = 0; bucket < BUCKETS - 1; bucket++) {
      count += this.#counts[bucket]!;
      if (bucket % BUCKETS_PER_OCTAVE !== 0) continue;
      const le = 2 ** (bucket / BUCKETS_PER_OCTAVE) / 10_000;
      samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: count });
    }
    count += this.#counts[BUCKETS - 1]!;
    samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: count });
    samples.push({ metricName: `${name}_sum`, labels, value: this.#sumMs / 1_000 });
    samples.push({ metricName: `${name}_count`, labels, value: count });
    return samples;
  }
}

/**
 * A quantile of what was observed between two snapshots, in ms; null where nothing was.
 * @param share for example 0.99
 */
export function durationQuantile(before: Float64Array, after: Float64Array, share: number): number | null {
  const total = sum(after) - sum(before);
  if (total <= 0) return null;
  let left = share * total;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const count = after[bucket]! - before[bucket]!;
    if (count > 0 && left <= count) {
      const from = bucket === 0 ? 0 : boundMs(bucket - 1);
      const to = bucket === BUCKETS - 1 ? from : boundMs(bucket);
      return from + (to - from) * Math.max(left / count, 0);
    }
    left -= count;
  }
  return boundMs(BUCKETS - 2);
}

function bucketOf(ms: number): number {
  const bucket = Math.ceil(Math.log2(ms / MIN_MS) * BUCKETS_PER_OCTAVE);
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

function boundMs(bucket: number): number {
  return MIN_MS * 2 ** (bucket / BUCKETS_PER_OCTAVE);
}

function sum(counts: Float64Array): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}
