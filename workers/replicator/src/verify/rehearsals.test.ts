import { setImmediate as turn } from 'node:timers/promises';
import { beforeEach, expect, it } from 'vitest';
import { type Rehearsable, Rehearsals } from './rehearsals.ts';

const HOUR_MS = 3_600_000;
let nowMs: number;
let done: string[];
let failing: Set<string>;
let tenants: Rehearsable[];
const { signal } = new AbortController();

function createRehearsals(tookMs = 0) {
  const rehearsals = new Rehearsals({
    tenants: () => tenants,
    rehearse: async tenant => {
      done.push(tenant);
      nowMs += tookMs;
      if (failing.has(tenant)) throw new Error('failed');
      tenants = tenants.map(each => (each.tenant === tenant ? { tenant, verifiedMs: nowMs } : each));
    },
    onError: (tenant, error) => done.push(`${tenant}: ${(error as Error).message}`),
    signal,
    nowMs: () => nowMs,
  });
  return async (afterMs: number) => {
    nowMs += afterMs;
    rehearsals.advance();
    await turn();
  };
}

beforeEach(() => {
  [nowMs, done, failing, tenants] = [1e12, [], new Set(), []];
});

it('rehearses the tenant whose last time is the longest ago, with a pause between, and none twice a day', async () => {
  const advance = createRehearsals();
  tenants = ['a', 'b', 'c'].map(tenant => ({ tenant, verifiedMs: undefined }));
  await advance(20_000);
  await advance(1_000);
  expect(done).toEqual(['a']);
  for (let hour = 0; hour < 20; hour++) await advance(HOUR_MS);
  expect(done).toEqual(['a', 'b', 'c']);
  await advance(5 * HOUR_MS);
  expect(done).toEqual(['a', 'b', 'c', 'a']);
});

it('leaves most of a core to others, however long one takes', async () => {
  const tookMs = 60_000;
  const advance = createRehearsals(tookMs);
  tenants = Array.from({ length: 10_000 }, (_, index) => ({ tenant: `t${index}`, verifiedMs: undefined }));
  const beganMs = nowMs;
  while (nowMs < beganMs + 10 * HOUR_MS) await advance(5_000);
  expect((done.length * tookMs) / (nowMs - beganMs)).toBeLessThan(0.05);
  expect(done.length).toBeGreaterThan(20);
});

it('goes to the next tenant after one that fails', async () => {
  const advance = createRehearsals();
  tenants = [
    { tenant: 'a', verifiedMs: undefined },
    { tenant: 'b', verifiedMs: 1 },
  ];
  failing.add('a');
  await advance(20_000);
  await advance(HOUR_MS / 2);
  expect(done).toEqual(['a', 'a: failed', 'b']);
});

it('repeats an hour later what was not sound, or of which nothing became known', async () => {
  const advance = createRehearsals();
  const hourAgo = nowMs - HOUR_MS;
  tenants = [
    { tenant: 'a', verifiedMs: hourAgo, failed: true },
    { tenant: 'b', verifiedMs: hourAgo },
  ];
  await advance(20_000);
  expect(done).toEqual(['a']);
  tenants = [{ tenant: 'c', verifiedMs: undefined }];
  failing.add('c');
  await advance(HOUR_MS / 2);
  await advance(HOUR_MS - 20_000);
  expect(done).toEqual(['a', 'c', 'c: failed']);
  await advance(20_000);
  expect(done.slice(3)).toEqual(['c', 'c: failed']);
});

it('ends what runs where something else is urgent, which is no failure', async () => {
  const signals: AbortSignal[] = [];
  const errors: unknown[] = [];
  const rehearsals = new Rehearsals({
    tenants: () => [{ tenant: 'a', verifiedMs: undefined }],
    rehearse: (_, given) => {
      signals.push(given);
      return new Promise((_, reject) => given.addEventListener('abort', () => reject(given.reason)));
    },
    onError: (_, error) => errors.push(error),
    signal,
    nowMs: () => nowMs,
  });
  nowMs += 20_000;
  rehearsals.advance();
  rehearsals.interrupt('b');
  expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
  rehearsals.interrupt('a');
  await rehearsals.idle();
  nowMs += HOUR_MS / 2;
  rehearsals.advance();
  expect(signals).toHaveLength(1);
  nowMs += HOUR_MS / 2;
  rehearsals.advance();
  rehearsals.interrupt();
  await rehearsals.idle();
  expect([signals.map(({ aborted }) => aborted), errors]).toEqual([[true, true], []]);
});
