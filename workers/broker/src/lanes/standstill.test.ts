import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Standstill } from './standstill.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

it('a process that stood still knows for how long, whether its timer or something else runs first, and for a moment only', () => {
  let now = 1_000;
  const standstill = new Standstill(() => now);
  const pass = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 250) {
      now += 250;
      vi.advanceTimersByTime(250);
    }
  };
  pass(10_000);
  expect(standstill.recentMs(1_000)).toBe(0);
  now += 30_000;
  expect(standstill.recentMs(1_000)).toBe(30_000);
  pass(1_000);
  expect(standstill.recentMs(1_000)).toBe(30_000);
  pass(250);
  expect(standstill.recentMs(1_000)).toBe(0);
  now += 5_000;
  vi.advanceTimersByTime(250);
  expect(standstill.recentMs(1_000)).toBe(5_000);
  // A machine that is busy.
  now += 1_999;
  pass(3_000);
  expect(standstill.recentMs(1_000)).toBe(0);
  standstill.close();
});
