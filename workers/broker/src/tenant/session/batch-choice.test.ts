import { expect, it } from 'vitest';
import { createRandom } from '../../../test-support/random.ts';
import { type BatchCandidate, chooseBatch } from './batch-choice.ts';

const ANY = Number.POSITIVE_INFINITY;

const choose = (togethers: readonly number[], maxJobs = 32) =>
  chooseBatch(
    togethers.map(maxTogether => ({ bytes: 10, maxTogether })),
    { maxJobs, maxBytes: 1_000 },
  );

it('chooses the jobs that fit, the first whatever its size', () => {
  const jobs = [600, 300, 200].map(bytes => ({ bytes, maxTogether: ANY }));
  expect(chooseBatch(jobs, { maxJobs: 32, maxBytes: 1_000 })).toBe(2);
  expect(chooseBatch(jobs, { maxJobs: 32, maxBytes: 100 })).toBe(1);
  expect(chooseBatch(jobs, { maxJobs: 1, maxBytes: 5_000 })).toBe(1);
  expect(chooseBatch([], { maxJobs: 32, maxBytes: 1_000 })).toBe(0);
});

it('keeps suspects apart from others, and few together', () => {
  expect(choose([ANY, ANY, 6, 6])).toBe(2);
  expect(choose([6, 6, ANY])).toBe(2);
  expect(choose([6, 6, 6, 6, 6, 6, 6])).toBe(6);
  expect(choose([6, 6, 1])).toBe(2);
  expect(choose([1, 1])).toBe(1);
});

it('chooses the longest beginning that keeps all bounds, of any jobs', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = createRandom(seed);
    const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)]!;
    const suspects = random();
    const jobs = Array.from({ length: Math.floor(random() * 50) }, (): BatchCandidate => {
      const maxTogether = random() < suspects ? pick([1, 2, 6, 6, 6]) : ANY;
      return { bytes: Math.floor(random() * 400), maxTogether };
    });
    const bounds = { maxJobs: pick([1, 8, 32]), maxBytes: pick([100, 1_000, 10_000]) };
    const isAllowed = (batch: readonly BatchCandidate[]) =>
      batch.length === 1 ||
      (batch.length <= bounds.maxJobs &&
        batch.reduce((sum, { bytes }) => sum + bytes, 0) <= bounds.maxBytes &&
        batch.every(({ maxTogether }) => batch.length <= maxTogether) &&
        new Set(batch.map(({ maxTogether }) => maxTogether === ANY)).size === 1);
    const count = chooseBatch(jobs, bounds);
    if (jobs.length > 0) expect(isAllowed(jobs.slice(0, count)), `seed ${seed}`).toBe(true);
    if (count < jobs.length) expect(isAllowed(jobs.slice(0, count + 1)), `seed ${seed}`).toBe(false);
  }
});
