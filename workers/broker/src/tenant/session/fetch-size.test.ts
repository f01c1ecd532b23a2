import { expect, it } from 'vitest';
import { createRandom } from '../../../test-support/random.ts';
import { maxCostOfJobs, SHARE_BYTES } from '../../lanes/job-memory.ts';
import { FOLLOW_UPS_AMONG } from '../../queue/queue-scripts.ts';
import { countThatFits, FetchSize } from './fetch-size.ts';

it('asks for a share at least, and for twice the last fetch at most', () => {
  const size = new FetchSize();
  const room = { maxJobs: 32, maxBytes: 2_000_000 };
  expect(size.wish(room)).toEqual([SHARE_BYTES, maxCostOfJobs(32, 128 * 1024)]);
  size.noteFetched(500_000);
  expect(size.wish(room)[1]).toBe(maxCostOfJobs(32, 1_000_000));
  size.noteFetched(1_500_000);
  expect(size.wish(room)[1]).toBe(maxCostOfJobs(32, 2_000_000));
});

it('fetches a job that was too large alone, with memory for all of it, until it was fetched', () => {
  const size = new FetchSize();
  const room = { maxJobs: 32, maxBytes: 1_000 };
  size.noteTooLarge(9_000_000);
  const cost = maxCostOfJobs(1, 9_000_000);
  expect(size.wish(room)).toEqual([cost, cost]);
  expect(size.bounds(room, cost)).toEqual({ maxJobs: 1, maxBytes: 9_000_000 });
  size.noteTooLarge(undefined);
  expect(size.bounds(room, SHARE_BYTES).maxBytes).toBe(1_000);
});

it('never fetches more than the memory holds, of any room', () => {
  const random = createRandom(1);
  for (let round = 0; round < 1_000; round++) {
    const size = new FetchSize();
    size.noteFetched(Math.floor(random() * 3_000_000));
    const room = { maxJobs: 1 + Math.floor(random() * 32), maxBytes: Math.floor(random() * 3_000_000) };
    const [minimum, desired] = size.wish(room);
    const granted = Math.floor(minimum + random() * Math.max(0, desired - minimum));
    const { maxJobs, maxBytes } = size.bounds(room, granted);
    expect(maxCostOfJobs(maxJobs, maxBytes)).toBeLessThanOrEqual(
      Math.max(granted, maxCostOfJobs(maxJobs, 0)),
    );
    expect(maxBytes).toBeLessThanOrEqual(room.maxBytes);
  }
});

it('asks for all jobs that continue a transaction, where they were too large together', () => {
  const size = new FetchSize();
  expect(size.wishForFollowUps()[0]).toBe(SHARE_BYTES);
  size.noteFollowUpsTooLarge(700_000);
  const [minimum, desired] = size.wishForFollowUps();
  expect(minimum).toBe(maxCostOfJobs(FOLLOW_UPS_AMONG, 700_000));
  expect(desired).toBeGreaterThanOrEqual(minimum);
  expect(size.boundOfFollowUps(minimum)).toBeGreaterThanOrEqual(700_000);
});

it('loads as many jobs as certainly fit', () => {
  const jobs = [{ bytes: 100 }, { bytes: 200 }, { bytes: 300 }];
  expect(countThatFits(jobs, maxCostOfJobs(3, 600))).toBe(3);
  expect(countThatFits(jobs, maxCostOfJobs(3, 600) - 1)).toBe(2);
  expect(countThatFits(jobs, maxCostOfJobs(1, 100) - 1)).toBe(0);
});
