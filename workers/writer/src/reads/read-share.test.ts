import { expect, it } from 'vitest';
import { ReadShare } from './read-share.ts';

it('leaves a thread that writes three quarters of its time', () => {
  const share = new ReadShare();
  let now = 1_000;
  let reads = 0;
  // Each task writes for 2 ms, and then reads as long as it may.
  for (; now < 11_000; ) {
    now += 2;
    share.wrote(now);
    const ms = Math.max(0, share.leftMs(now));
    share.used(ms);
    now += ms;
    reads += ms;
  }
  expect(reads / 10_000).toBeGreaterThan(0.2);
  expect(reads / 10_000).toBeLessThan(0.26);
});

it('lets reads have all of the time where nothing was written lately, a task at a time', () => {
  const share = new ReadShare();
  share.wrote(1_000);
  share.used(50);
  expect(share.leftMs(1_000)).toBe(0);
  expect(share.leftMs(1_040)).toBe(10);
  for (const now of [1_100, 1_150, 1_200]) {
    expect(share.leftMs(now)).toBe(50);
    share.used(50);
  }
});

it('makes up for a read that took longer than it might', () => {
  const share = new ReadShare();
  share.wrote(1_000);
  share.used(250);
  share.wrote(1_099);
  expect(share.leftMs(1_099)).toBeLessThan(0);
});
