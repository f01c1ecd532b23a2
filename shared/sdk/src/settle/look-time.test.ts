import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LookTime } from './look-time.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

const takes = (ms: number) => () => vi.advanceTimersByTime(ms) && ms;

it('allows looks until their time is used up', () => {
  const looks = new LookTime(10);
  expect([looks.spend(takes(6)), looks.spend(takes(6)), looks.spend(takes(6))]).toEqual([6, 6, undefined]);
});

it('earns a tenth of the time that passes, up to its maximum', () => {
  const looks = new LookTime(10);
  looks.spend(takes(30));
  vi.advanceTimersByTime(150);
  expect(looks.spend(takes(1))).toBeUndefined(); // 18 of the 20 that are missing
  vi.advanceTimersByTime(30);
  expect(looks.spend(takes(1))).toBe(1);
  vi.advanceTimersByTime(60_000);
  expect([looks.spend(takes(20)), looks.spend(takes(1))]).toEqual([20, undefined]);
});

it('counts a look that fails', () => {
  const looks = new LookTime(10);
  const fails = () => {
    takes(50)();
    throw new Error('no file');
  };
  expect(() => looks.spend(fails)).toThrow('no file');
  expect(looks.spend(takes(1))).toBeUndefined();
});
