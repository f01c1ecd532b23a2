import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { now } from '../waits.ts';
import { Alarm, type Due } from './alarm.ts';

/** Notes how late it is looked at. */
function createDue(alarm: Alarm, dueAt: number, lateMs: number[]): Due {
  const due: Due = {
    dueAt,
    onDue: time => {
      lateMs.push(time - dueAt);
      alarm.remove(due);
    },
  };
  return due;
}

describe('Alarm', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('meets an isolated deadline at once, and thousands together, each a few milliseconds late', async () => {
    const alarm = new Alarm();
    const lateMs: number[] = [];
    alarm.set(createDue(alarm, now() + 50, lateMs));
    await vi.advanceTimersByTimeAsync(60);
    expect(lateMs).toHaveLength(1);
    expect(lateMs[0]).toBeLessThan(3);
    let looks = 0;
    const began = now();
    for (let index = 0; index < 2_000; index++) {
      const due = createDue(alarm, began + 20 + index / 4, lateMs);
      alarm.set(due);
    }
    const set = vi.spyOn(globalThis, 'setTimeout');
    await vi.advanceTimersByTimeAsync(600);
    looks = set.mock.calls.length;
    set.mockRestore();
    expect(lateMs).toHaveLength(2_001);
    expect(Math.min(...lateMs)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...lateMs)).toBeLessThan(15);
    expect(looks).toBeLessThan(60);
    expect(vi.getTimerCount()).toBe(0);
  });
});

it('handles what is due within a long turn of the event loop, when checked', () => {
  const alarm = new Alarm();
  const lateMs: number[] = [];
  const due = createDue(alarm, now() + 5, lateMs);
  alarm.set(due);
  const until = now() + 80;
  while (now() < until && lateMs.length === 0) alarm.check();
  expect(lateMs).toHaveLength(1);
  expect(lateMs[0]).toBeGreaterThan(20);
});
