import type { AppliedOutcome } from '@onewriter/writer';
import { expect, it } from 'vitest';
import { ReadShare } from './read-share.ts';

const task = (stats: object, jobs: readonly object[] = []) =>
  ({ stats: { applyMs: 0, commitMs: 0, commits: 0, ...stats }, jobs }) as unknown as AppliedOutcome;
const reads = (readMs: number) => task({ applyMs: readMs, readMs });

/**
 * Begins tasks of these tenants for ten seconds, each as soon as it may, while writes take `writeMs` of each ms.
 * @returns ms of reads, by tenant
 */
function run(costs: Readonly<Record<string, number>>, writeMs: number): Record<string, number> {
  const share = new ReadShare();
  const spent: Record<string, number> = {};
  const freeAt = new Map<string, number>();
  for (let now = 1_000; now < 11_000; now++) {
    share.wrote(now);
    share.note('w', task({ applyMs: writeMs - 0.25, commits: 1 }), now);
    for (const [tenant, ms] of Object.entries(costs)) {
      if ((freeAt.get(tenant) ?? 0) > now) continue;
      const waitMs = share.waitMs(tenant, now);
      freeAt.set(tenant, now + Math.max(1, waitMs));
      if (waitMs > 0) continue;
      expect(share.taskMs(tenant, now)).toBeGreaterThan(0);
      share.note(tenant, reads(ms), now);
      spent[tenant] = (spent[tenant] ?? 0) + ms;
    }
  }
  return spent;
}

it.each([
  [0.01, 0.18, 0.25],
  [0.15, 0.06, 0.14],
  [0.9, 0.035, 0.055],
])('where writes take %d of the time, reads get between %d and %d', (writeMs, least, most) => {
  const { a } = run({ a: 2 }, writeMs);
  expect(a! / 10_000).toBeGreaterThan(least);
  expect(a! / 10_000).toBeLessThan(most);
});

it('gives each tenant that reads an equal part, also beside one whose reads take long', () => {
  const { slow, quick } = run({ slow: 250, quick: 1 }, 0.9);
  expect(slow).toBeLessThanOrEqual(500);
  expect(quick).toBeGreaterThan(150);
  expect(quick).toBeLessThan(300);
});

it('counts what a read costs beside its thread, and the length of its answer', () => {
  const wait = (results: string) => {
    const share = new ReadShare();
    share.wrote(1_000);
    share.note('a', task({ readMs: 40 }, [{ reads: 500, results }]), 1_000);
    return share.waitMs('a', 1_000);
  };
  expect(wait('')).toBeGreaterThan(1);
  expect(wait('x'.repeat(1_000_000))).toBeGreaterThan(wait('') + 1);
});

it('lets a task of reads overdraw, so that many go together, and none begin in debt', () => {
  const share = new ReadShare();
  share.wrote(1_000);
  expect(share.taskMs('a', 1_000)).toBeGreaterThanOrEqual(5);
  share.note('a', reads(24.5), 1_000);
  expect(share.taskMs('a', 1_000)).toBe(5);
  share.note('a', reads(100), 1_000);
  expect(share.taskMs('a', 1_000)).toBeLessThan(0);
});

it('lets reads have all of the time where nothing was written lately, a task at a time', () => {
  const share = new ReadShare();
  share.wrote(1_000);
  share.note('a', reads(150), 1_000);
  expect(share.waitMs('a', 1_099)).toBeGreaterThan(0);
  expect(share.taskMs('a', 1_099)).toBeLessThan(0);
  for (const now of [1_100, 1_150, 1_200]) {
    expect([share.waitMs('a', now), share.taskMs('a', now)]).toEqual([0, 50]);
    share.note('a', reads(250), now);
  }
});

it('has a tenant that waits ask again, and forgets a debt in the end', () => {
  const share = new ReadShare();
  share.wrote(1_000);
  share.note('a', reads(100_000), 1_000);
  expect(share.waitMs('a', 1_001)).toBe(250);
  share.wrote(20_000);
  expect(share.waitMs('b', 20_000)).toBe(0);
  expect(share.waitMs('a', 20_000)).toBe(0);
});
