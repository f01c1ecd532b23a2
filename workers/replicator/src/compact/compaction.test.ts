import { expect, onTestFinished, test, vi } from 'vitest';
import type { Compacted } from './compact-once.ts';
import { Compaction } from './compaction.ts';

/** A compaction whose runs end when the test says so. */
function setUp() {
  const runs: {
    resolve: (result: Compacted) => void;
    reject: (error: Error) => void;
    signal: AbortSignal;
  }[] = [];
  const needed: string[] = [];
  const elapsed: number[] = [];
  const errors: unknown[] = [];
  const clock = { nowMs: 1_000_000 };
  const compaction = new Compaction({
    compact: (signal, elapsedMs) =>
      new Promise((resolve, reject) => {
        elapsed.push(elapsedMs);
        runs.push({ resolve, reject, signal });
        signal.addEventListener('abort', () => reject(new Error('aborted')));
      }),
    onFound: async ({ needsFull }) => void needed.push(...needsFull),
    onError: error => errors.push(error),
    nowMs: () => clock.nowMs,
  });
  const end = async (result: Partial<Compacted> | Error = {}) => {
    const run = runs.at(-1)!;
    if (result instanceof Error) run.reject(result);
    else
      run.resolve({
        packs: [],
        needsFull: [],
        isExpiryHeld: false,
        damaged: { tenants: [], packs: [] },
        ...result,
      });
    await new Promise(setImmediate);
  };
  return { compaction, runs, elapsed, needed, errors, clock, end };
}

test('runs at the start, after each 32 packs, and never twice at a time', async () => {
  const { compaction, runs, end } = setUp();
  compaction.look(0);
  compaction.look(40);
  expect(runs).toHaveLength(1);
  await end();
  compaction.look(40);
  expect(runs).toHaveLength(2);
  await end({ packs: [{ level: 1, number: 1 }] });
  compaction.look(63);
  expect(runs).toHaveLength(2);
  compaction.look(64);
  expect(runs).toHaveLength(3);
});

test('runs again at once where it was behind, and after half an hour where nothing happens', async () => {
  const { compaction, runs, clock, end } = setUp();
  compaction.look(5_000);
  await end({
    packs: [
      { level: 1, number: 1 },
      { level: 1, number: 2 },
    ],
  });
  compaction.look(5_000);
  expect(runs).toHaveLength(2);
  await end();
  clock.nowMs += 29 * 60_000;
  compaction.look(5_000);
  expect(runs).toHaveLength(2);
  clock.nowMs += 60_000;
  compaction.look(5_000);
  expect(runs).toHaveLength(3);
});

test('waits longer and longer after failures, and names tenants', async () => {
  const { compaction, runs, needed, errors, clock, end } = setUp();
  compaction.look(32);
  await end(new Error('store away'));
  expect(errors).toHaveLength(1);
  compaction.look(64);
  expect(runs).toHaveLength(1);
  clock.nowMs += 30_000;
  compaction.look(64);
  expect(runs).toHaveLength(2);
  await end(new Error('store away'));
  clock.nowMs += 29_000;
  compaction.look(64);
  expect(runs).toHaveLength(2);
  clock.nowMs += 31_000;
  compaction.look(64);
  await end({ needsFull: ['acme'] });
  expect(needed).toEqual(['acme']);
  expect(errors).toHaveLength(2);
});

test('ends what runs when it is closed, and runs no more', async () => {
  const { compaction, runs, errors } = setUp();
  compaction.look(32);
  await compaction.close();
  expect(runs[0]!.signal.aborted).toBe(true);
  compaction.look(64);
  expect(runs).toHaveLength(1);
  expect(errors).toEqual([]);
});

test('counts the time from one run to the next once, also where one failed, by a clock that nothing sets', async () => {
  const { compaction, elapsed, clock, end } = setUp();
  let now = 500;
  const timer = vi.spyOn(performance, 'now').mockImplementation(() => now);
  onTestFinished(() => timer.mockRestore());
  compaction.look(0);
  await end();
  for (const result of [new Error('away'), {}]) {
    clock.nowMs += 365 * 24 * 3_600_000;
    now += 20_000;
    compaction.look(0);
    await end(result);
  }
  expect(elapsed).toEqual([0, 20_000, 20_000]);
});
