import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Lane } from './lane.ts';
import { type StuckWrite, Watchdog } from './watchdog.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }));
afterEach(() => void vi.useRealTimers());

const work = { task: { jobs: [{ id: 'job' }] } };
const lane = { work, position: { job: 0, op: 2 } } as unknown as Lane;

it('reports a write that is past its deadline, once, and later where the deadline is put off', () => {
  const stuck: StuckWrite[] = [];
  let timeoutMs = 1_000;
  const watchdog = new Watchdog(
    () => [lane],
    () => timeoutMs,
    each => stuck.push(each),
  );
  vi.advanceTimersByTime(900);
  expect(stuck).toEqual([]);
  timeoutMs = 3_000;
  vi.advanceTimersByTime(2_000);
  expect(stuck).toEqual([]);
  timeoutMs = 1_000;
  vi.advanceTimersByTime(100);
  expect(stuck).toMatchObject([{ jobId: 'job', op: 2 }]);
  vi.advanceTimersByTime(5_000);
  expect(stuck).toHaveLength(1);
  watchdog.close();
});

it('names the writes that have run for a while, also where they are not past their deadline', () => {
  const watchdog = new Watchdog(
    () => [lane],
    () => 1_000,
    () => {},
  );
  vi.advanceTimersByTime(550);
  expect(watchdog.runningFor(600)).toEqual([]);
  vi.advanceTimersByTime(150);
  expect(watchdog.runningFor(600)).toMatchObject([{ work, jobId: 'job', op: 2 }]);
  watchdog.close();
});
