import { expect, it } from 'vitest';
import { DurationHistogram, durationQuantile } from './duration-histogram.ts';

it('estimates quantiles to within 9 % of the durations observed between two looks', () => {
  const histogram = new DurationHistogram();
  for (let count = 0; count < 1_000; count++) histogram.observe(700);
  const before = histogram.snapshot();
  for (let ms = 1; ms <= 1_000; ms++) histogram.observe(ms / 10);
  const after = histogram.snapshot();
  for (const share of [0.1, 0.5, 0.9, 0.99]) {
    const quantile = durationQuantile(before, after, share)!;
    expect(Math.abs(quantile / (share * 100) - 1)).toBeLessThan(0.09);
  }
  expect(durationQuantile(after, after, 0.5)).toBeNull();
});

it('puts durations at the ends of its range, and beyond, into buckets', () => {
  const histogram = new DurationHistogram();
  for (const ms of [-5, 0, 0.1, 26_214.4, 100_000]) histogram.observe(ms);
  const samples = histogram.samples('x_seconds', { stage: 'apply' });
  const at = (le: string | number) =>
    samples.find(({ labels }) => labels['le'] === le && labels['stage'] === 'apply')?.value;
  expect([at(0.0001), at(0.0002), at(26.2144), at('+Inf')]).toEqual([3, 3, 4, 5]);
  expect(samples.at(-1)).toEqual({ metricName: 'x_seconds_count', labels: { stage: 'apply' }, value: 5 });
  expect(samples.at(-2)?.value).toBeCloseTo(126.2145, 6);
  const values = samples.slice(0, -2).map(({ value }) => value);
  expect(values).toEqual(values.toSorted((a, b) => a - b));
});
