/** Bucket of a latency: each is 2 % wider than the one before, from 1 µs to 100 s. */
const GROWTH = Math.log(1.02);
const BUCKETS = Math.ceil(Math.log(100_000_000) / GROWTH) + 1;

/** Latencies of a run as counts per bucket: constant memory, percentiles within 2 %. */
export class Latencies {
  readonly #counts = new Uint32Array(BUCKETS);

  add(ms: number): void {
    const bucket = ms <= 0.001 ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log(ms * 1_000) / GROWTH));
    this.#counts[bucket]!++;
  }

  /** `[bucket, count, …]` of the buckets in use, for a message between processes. */
  toPairs(): number[] {
    const pairs: number[] = [];
    this.#counts.forEach((count, bucket) => {
      if (count > 0) pairs.push(bucket, count);
    });
    return pairs;
  }
}

/** Adds up what {@link Latencies.toPairs} gave for several runs. */
export function mergeLatencies(runs: readonly (readonly number[])[]): number[] {
  const counts = new Map<number, number>();
  for (const pairs of runs) {
    for (let index = 0; index < pairs.length; index += 2) {
      counts.set(pairs[index]!, (counts.get(pairs[index]!) ?? 0) + pairs[index + 1]!);
    }
  }
  return [...counts].sort(([a], [b]) => a - b).flat();
}

/** The latency in ms that `share` (0 to 1) of the operations did not exceed; NaN where there were none. */
export function percentile(pairs: readonly number[], share: number): number {
  let total = 0;
  for (let index = 1; index < pairs.length; index += 2) total += pairs[index]!;
  let seen = 0;
  for (let index = 0; index < pairs.length; index += 2) {
    seen += pairs[index + 1]!;
    if (seen >= share * total) return Math.exp((pairs[index]! + 0.5) * GROWTH) / 1_000;
  }
  return Number.NaN;
}

/** The distribution as points: latency in ms, share of operations at or below it. */
export function toDistribution(pairs: readonly number[]): { ms: number; share: number }[] {
  let total = 0;
  for (let index = 1; index < pairs.length; index += 2) total += pairs[index]!;
  let seen = 0;
  const points: { ms: number; share: number }[] = [];
  for (let index = 0; index < pairs.length; index += 2) {
    seen += pairs[index + 1]!;
    points.push({ ms: Math.exp((pairs[index]! + 1) * GROWTH) / 1_000, share: seen / total });
  }
  return points;
}
