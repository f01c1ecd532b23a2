import { beforeEach, expect, it } from 'vitest';
import { type Rehearsable, Upkeep } from './upkeep.ts';

const HOUR_MS = 3_600_000;
let nowMs: number;
let newestPack: number;
let done: string[];
let failing: Set<string>;
let tenants: Rehearsable[];
const stop = new AbortController();

const work = async (name: string) => {
  done.push(name);
  if (failing.has(name)) throw new Error(`${name} failed`);
};

const createUpkeep = (tookMs = 0) =>
  new Upkeep({
    newestPack: () => newestPack,
    compact: () => work('compact'),
    tenants: () => tenants,
    rehearse: async tenant => {
      nowMs += tookMs;
      await work(tenant);
      tenants = tenants.map(each => (each.tenant === tenant ? { tenant, verifiedMs: nowMs } : each));
    },
    onError: (what, error) => done.push(`${what}: ${(error as Error).message}`),
    signal: stop.signal,
    nowMs: () => nowMs,
  });

beforeEach(() => {
  [nowMs, newestPack, done, failing, tenants] = [1e12, 0, [], new Set(), []];
});

it('compacts where a block is full, and now and then for what expires', async () => {
  const upkeep = createUpkeep();
  await upkeep.step();
  newestPack = 31;
  await upkeep.step();
  expect(done).toEqual(['compact']);
  newestPack = 32;
  await upkeep.step();
  await upkeep.step();
  expect(done).toEqual(['compact', 'compact']);
  nowMs += HOUR_MS;
  await upkeep.step();
  expect(done).toHaveLength(3);
});

it('compacts again soon after a failure, and more seldom after more of them', async () => {
  const upkeep = createUpkeep();
  failing.add('compact');
  newestPack = 40;
  const triesWithin = async (ms: number) => {
    const before = done.filter(name => name === 'compact').length;
    for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 5_000) await upkeep.step();
    return done.filter(name => name === 'compact').length - before;
  };
  expect(await triesWithin(15_000)).toBeGreaterThan(1);
  await triesWithin(HOUR_MS);
  expect(await triesWithin(HOUR_MS)).toBeLessThan(25);
  failing.clear();
  expect(await triesWithin(6 * 60_000)).toBe(1);
});

it('rehearses the tenant whose last time is the longest ago, with a pause between, and none twice a day', async () => {
  const upkeep = createUpkeep();
  tenants = ['a', 'b', 'c'].map(tenant => ({ tenant, verifiedMs: undefined }));
  const rehearsed = () => done.filter(name => !name.startsWith('compact'));
  await upkeep.step();
  await upkeep.step();
  expect(rehearsed()).toEqual(['a']);
  for (let hour = 0; hour < 20; hour++) {
    nowMs += HOUR_MS;
    await upkeep.step();
  }
  expect(rehearsed()).toEqual(['a', 'b', 'c']);
  nowMs += 5 * HOUR_MS;
  await upkeep.step();
  expect(rehearsed()).toEqual(['a', 'b', 'c', 'a']);
});

it('leaves most of a core to others, however long a rehearsal takes', async () => {
  const tookMs = 60_000;
  const upkeep = createUpkeep(tookMs);
  tenants = Array.from({ length: 10_000 }, (_, index) => ({ tenant: `t${index}`, verifiedMs: undefined }));
  const beganMs = nowMs;
  while (nowMs < beganMs + 10 * HOUR_MS) {
    await upkeep.step();
    nowMs += 5_000;
  }
  const count = done.filter(name => name.startsWith('t')).length;
  expect((count * tookMs) / (nowMs - beganMs)).toBeLessThan(0.05);
  expect(count).toBeGreaterThan(20);
});

it('goes to the next tenant after one that fails', async () => {
  const upkeep = createUpkeep();
  tenants = [
    { tenant: 'a', verifiedMs: undefined },
    { tenant: 'b', verifiedMs: 1 },
  ];
  failing.add('a');
  await upkeep.step();
  nowMs += HOUR_MS;
  await upkeep.step();
  expect(done.filter(name => !name.startsWith('compact'))).toEqual(['a', 'rehearse: a failed', 'b']);
});
