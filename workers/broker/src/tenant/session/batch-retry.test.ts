import { PROTOCOL_VERSION } from '@onewriter/protocol';
import type { RefusedOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FAKE_TIME } from '../../../test-support/session-model.ts';
import { chooseRefused, mayRecover, Refusals } from './batch-retry.ts';
import type { HeldJob } from './held-job.ts';

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => void vi.useRealTimers());

const refusal = (code: string, more: Partial<RefusedOutcome> = {}): RefusedOutcome => ({
  ...{ kind: 'refused', error: { code, message: 'no' }, uncertain: false, begun: true, evicted: [] },
  ...more,
});

describe('refusals of a file', () => {
  it('park the tenant at the fourth in a row, and a batch that is applied ends that', () => {
    const refusals = new Refusals(
      () => false,
      () => {},
    );
    const counts = [1, 2, 3, 4].map(() => [refusals.note(), refusals.isParked]);
    expect(counts).toEqual([
      [1, false],
      [2, false],
      [3, false],
      [4, true],
    ]);
    refusals.triesWithoutJobs = true;
    refusals.clear();
    expect([refusals.isParked, refusals.triesWithoutJobs, refusals.note()]).toEqual([false, false, 1]);
  });

  it('pause longer each time, and a new job of a parked tenant shortens the pause to 100 ms', () => {
    let over = 0;
    const refusals = new Refusals(
      () => false,
      () => over++,
    );
    refusals.note();
    refusals.pause();
    refusals.hurry(); // not parked: the pause is short
    expect(refusals.isPausing).toBe(true);
    vi.advanceTimersByTime(100);
    expect([refusals.isPausing, over]).toEqual([false, 1]);
    for (let count = 0; count < 12; count++) refusals.note();
    refusals.pause();
    vi.advanceTimersByTime(100);
    expect(over).toBe(1);
    refusals.hurry();
    vi.advanceTimersByTime(1);
    expect(over).toBe(2);
  });

  it('are not followed by another try while the session drains', () => {
    let isDraining = false;
    let over = 0;
    const refusals = new Refusals(
      () => isDraining,
      () => over++,
    );
    refusals.park();
    refusals.pause();
    isDraining = true;
    refusals.stop();
    refusals.hurry();
    refusals.pause();
    vi.advanceTimersByTime(60_000);
    expect(over).toBe(0);
  });

  it.each([
    ['DATABASE_BUSY', true],
    ['DATABASE_CORRUPT', false],
    ['TENANT_NOT_FOUND', false],
  ])('for %s: another try may succeed: %s', (code, expected) => {
    expect(mayRecover(refusal(code))).toBe(expected);
  });
});

describe('the jobs that fail with a refused batch', () => {
  const job = (id: string, more: Partial<HeldJob> = {}): HeldJob => ({
    ...{ id, bytes: 2, place: 1, enqueuedAt: 0, fetchedAt: 0, crashCount: 0, doubtful: false },
    ...{ data: '{"ops":[{"s":0}]}', memory: undefined, unknownVersion: undefined },
    ...more,
  });
  const unawaited = `{"v":${PROTOCOL_VERSION},"client":"c","sql":[""],"ops":[{"s":0,"d":1}]}`;
  const choose = (ready: readonly HeldJob[], batch: readonly HeldJob[], outcome: RefusedOutcome) =>
    chooseRefused(ready, batch, outcome).map(({ id }) => id);

  it('are those that were tried, and all where the file as a whole refuses', () => {
    const [tried, other] = [job('w-0'), job('w-1')];
    expect(choose([tried, other], [tried], refusal('DATABASE_BUSY'))).toEqual(['w-0']);
    expect(choose([tried, other], [tried], refusal('DATABASE_READONLY'))).toEqual(['w-0', 'w-1']);
    expect(choose([tried, other], [tried], refusal('DATABASE_BUSY', { begun: false }))).toEqual([
      'w-0',
      'w-1',
    ]);
  });

  it('are reads alone where there is no file yet: a write behind them makes one', () => {
    const notFound = refusal('TENANT_NOT_FOUND', { begun: false });
    const [read, write] = [job('r-0'), job('w-0')];
    expect(choose([read, write], [read], notFound)).toEqual(['r-0']);
    expect(choose([read, write], [read, write], notFound)).toEqual(['r-0', 'w-0']);
    expect(choose([read, write], [read], refusal('INVALID_TENANT', { begun: false }))).toEqual([
      'r-0',
      'w-0',
    ]);
  });

  it('are none that may be committed, that no caller waits for, or that this broker cannot read', () => {
    const ready = [
      job('w-doubtful', { doubtful: true }),
      job('w-unawaited', { data: unawaited }),
      job('w-unloaded', { data: undefined }),
      job('w-unknown', { unknownVersion: 9 }),
      job('w-0'),
    ];
    expect(choose(ready, [], refusal('DATABASE_IO_ERROR'))).toEqual(['w-0']);
    expect(choose(ready, ready, refusal('DATABASE_BUSY', { uncertain: true }))).toEqual(['w-0']);
    // A batch that was certainly not applied shows that its jobs are not committed.
    expect(choose(ready, ready, refusal('DATABASE_BUSY'))).toEqual(['w-doubtful', 'w-0']);
  });
});
