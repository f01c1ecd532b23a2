import { newJobId, newReadJobId } from '@onewriter/protocol';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ReadShare } from '../read-share.ts';
import { HeldJobs } from './held-jobs.ts';
import { ReadDelay } from './read-delay.ts';
import type { SessionParts } from './session-parts.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

function open() {
  const held = new HeldJobs();
  const readShare = new ReadShare();
  const pump = vi.fn();
  const parts = { tenant: 'acme', held, pump, services: { readShare } } as unknown as SessionParts;
  const hold = (id: string) =>
    held.add([{ id, data: '{}', crashCount: 0, doubtful: false, enqueuedAt: 0, fetchedAt: 0 } as never]);
  return { held, readShare, pump, hold, delay: new ReadDelay(parts) };
}

function spend(share: ReadShare): void {
  const stats = { applyMs: 1_000, commitMs: 0, commits: 0, readMs: 1_000 };
  share.note('acme', { stats, jobs: [] } as never, performance.now());
}

it('lets reads wait while others write and their share is spent, and then pumps', () => {
  const { readShare, pump, hold, delay } = open();
  hold(newReadJobId());
  expect(delay.mustWait()).toBe(false);
  readShare.wrote(performance.now());
  spend(readShare);
  expect([delay.mustWait(), delay.mustWait()]).toEqual([true, true]);
  vi.advanceTimersByTime(200);
  expect(pump).not.toHaveBeenCalled();
  vi.advanceTimersByTime(51);
  expect(pump).toHaveBeenCalledTimes(1);
  expect(delay.mustWait()).toBe(false); // nothing was written since
});

it('does not let a write wait behind them', () => {
  const { readShare, hold, delay } = open();
  hold(newReadJobId());
  hold(newJobId());
  readShare.wrote(performance.now());
  spend(readShare);
  expect(delay.mustWait()).toBe(false);
});

it('does not pump a session that drains', () => {
  const { readShare, pump, hold, delay } = open();
  hold(newReadJobId());
  readShare.wrote(performance.now());
  spend(readShare);
  expect(delay.mustWait()).toBe(true);
  delay.stop();
  vi.advanceTimersByTime(10_000);
  expect(pump).not.toHaveBeenCalled();
});
