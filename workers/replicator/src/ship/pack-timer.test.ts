import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PackTimer } from './pack-timer.ts';

beforeEach(
  () =>
    void vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'Date'],
    }),
);
afterEach(() => void vi.useRealTimers());

function timer(intervalMs = 1_000) {
  const due: number[] = [];
  const begin = Date.now();
  const made: PackTimer = new PackTimer(intervalMs, Date.now, () => due.push(Date.now() - begin));
  return { made, due };
}

test('gathers what other threads send at the same moment', () => {
  const { made, due } = timer();
  made.set(false);
  made.set(false);
  expect(made.isDue).toBe(false);
  vi.advanceTimersByTime(60);
  expect(due).toEqual([50]);
  expect(made.isDue).toBe(true);
});

test('makes two packs in an interval at most', () => {
  const { made, due } = timer();
  for (let ms = 0; ms < 5_000; ms += 10) {
    made.set(false);
    vi.advanceTimersByTime(10);
    if (made.isDue) made.taken(true);
  }
  expect(due.length).toBeGreaterThanOrEqual(9);
  expect(due.length).toBeLessThanOrEqual(11);
});

test('is due at once where a caller waits, or where not all found room', () => {
  const { made, due } = timer();
  made.set(false);
  vi.advanceTimersByTime(50);
  made.taken(true);
  made.set(true);
  vi.advanceTimersByTime(0);
  vi.runAllTicks();
  vi.advanceTimersByTime(1);
  expect(due).toHaveLength(2);
  made.taken(false);
  expect(made.isDue).toBe(true);
});
