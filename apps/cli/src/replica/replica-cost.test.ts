import { expect, it } from 'vitest';
import { type ReplicaLoad, replicaCost } from './replica-cost.ts';

const LOAD: ReplicaLoad = {
  ...{ tenants: 1_000, commitsPerSecond: 0.1, bytesPerCommit: 0, fileBytes: 0, intervalMs: 1_000 },
  retentionDays: 30,
  rehearsals: false,
};

it('counts a pack a second for all tenants, however many they are', () => {
  const thousand = replicaCost(LOAD);
  const more = replicaCost({ ...LOAD, tenants: 10_000 });
  expect([more.puts, more.gets]).toEqual([thousand.puts, thousand.gets]);
  // 2,592,000 seconds; 81,000 packs of level 1, 5,062.5 of level 2, 632.8 of level 3.
  expect(thousand.puts).toBe(Math.round(2_592_000 + 2 * (81_000 + 5_062.5 + 632.8125) + 632.8125));
  expect(thousand.requestsDollars).toBeCloseTo(13.83 + 1.11, 1);
});

it('counts a restore of each tenant a day, as far as there is time for them', () => {
  const more = (tenants: number, fileBytes = 0) => {
    const load = { ...LOAD, tenants, fileBytes, commitsPerSecond: 0 };
    return replicaCost({ ...load, rehearsals: true }).gets - replicaCost(load).gets;
  };
  expect(more(1_000)).toBe(1_000 * 30 * 100);
  expect(more(100_000)).toBe(8_640 * 30 * 100);
  expect(more(10, 100 * 1024 * 1024)).toBe(10 * 30 * 103);
});

it('counts no pack where nothing is committed, and fewer with a longer interval', () => {
  expect(replicaCost({ ...LOAD, commitsPerSecond: 0 })).toMatchObject({ puts: 0, gets: 0, dollars: 0 });
  expect(replicaCost({ ...LOAD, intervalMs: 10_000 }).puts).toBeCloseTo(replicaCost(LOAD).puts / 10, -1);
  const rare = replicaCost({ ...LOAD, tenants: 1, commitsPerSecond: 0.001 });
  expect(rare.puts).toBeLessThan(2_592 * 1.1);
});

it('counts bytes of each level for as long as it is kept, and each file twice', () => {
  const load = { ...LOAD, tenants: 10, commitsPerSecond: 1, bytesPerCommit: 1_000 };
  expect(replicaCost(load).storedBytes).toBe(10 * 1_000 * 86_400 * (1 + 3 + 7 + 30));
  expect(replicaCost({ ...load, retentionDays: 2 }).storedBytes).toBe(10 * 1_000 * 86_400 * (1 + 2 + 2 + 2));
  const large = replicaCost({ ...LOAD, tenants: 10, commitsPerSecond: 0, fileBytes: 1e9 });
  expect([large.storedBytes, large.storageDollars]).toEqual([20e9, 20 * 0.023]);
});

it('counts the new beginnings of chains', () => {
  const load = { ...LOAD, tenants: 1, commitsPerSecond: 1, bytesPerCommit: 10_000 };
  const small = replicaCost(load).puts;
  // 25.92 GB a month against chains of half of 100 MiB: 494.4 times 4 parts.
  const large = replicaCost({ ...load, fileBytes: 100 * 1024 * 1024 }).puts;
  expect(large - small).toBe(Math.round(494.384765625 * 4));
});
