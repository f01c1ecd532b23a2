import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Slowness } from './slowness.ts';

let cpuMs: number | undefined;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
  cpuMs = 0;
});
afterEach(() => void vi.useRealTimers());

/** A statement that lasts so long, and uses so much CPU time. */
const statement = (ms: number, usedMs: number) => () => {
  vi.advanceTimersByTime(ms);
  if (cpuMs !== undefined) cpuMs += usedMs;
  return 'its row';
};

it('is seen of a tenant whose statements use much CPU time, from the second on, for ten minutes', () => {
  const slowness = new Slowness(() => cpuMs);
  expect(slowness.measure(statement(30, 30))).toBe('its row');
  expect(slowness.isSlow).toBe(false);
  slowness.measure(statement(30, 30));
  expect(slowness.isSlow).toBe(true);
  vi.advanceTimersByTime(10 * 60_000 - 1);
  expect(slowness.isSlow).toBe(true);
  vi.advanceTimersByTime(1);
  expect(slowness.isSlow).toBe(false);
  // Where it continues as before, the first is enough.
  slowness.measure(statement(30, 30));
  expect(slowness.isSlow).toBe(true);
});

it('is not seen of one whose statements wait for the CPU', () => {
  const slowness = new Slowness(() => cpuMs);
  for (let count = 0; count < 10; count++) slowness.measure(statement(500, 1));
  expect(slowness.isSlow).toBe(false);
});

it('needs two late ones in a row', () => {
  const slowness = new Slowness(() => cpuMs);
  for (const ms of [30, 1, 30, 1]) slowness.measure(statement(ms, ms));
  expect(slowness.isSlow).toBe(false);
});

it('is judged by the clock where the system says nothing of CPU time', () => {
  cpuMs = undefined;
  const slowness = new Slowness(() => cpuMs);
  slowness.measure(statement(30, 0));
  expect(slowness.isSlow).toBe(true);
});

it('is seen of a thread that works', () => {
  vi.useRealTimers();
  const work = () => {
    const endsAt = performance.now() + 100;
    while (performance.now() < endsAt);
  };
  const slowness = new Slowness();
  for (let count = 0; count < 3; count++) slowness.measure(work);
  expect(slowness.isSlow).toBe(true);
});
