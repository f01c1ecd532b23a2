import type { ApplyOutcome, JobOutcome, RefusedOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FAKE_TIME, ModelParts } from '../../../test-support/session-model.ts';
import { TenantLoad } from '../../observe/status/tenant-load.ts';
import { Completion } from './completion.ts';
import { OpenTransaction } from './open-transaction.ts';
import { Outcomes } from './outcomes.ts';

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => void vi.useRealTimers());

const applied = (...ids: readonly string[]): Extract<ApplyOutcome, { kind: 'applied' }> => ({
  ...{ kind: 'applied', incarnation: '', evicted: [] },
  stats: { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 },
  jobs: ids.map(
    (id): JobOutcome => ({
      ...{ id, client: 'c-1', writes: 1, failures: 0, duplicate: false, commitSeq: 1, results: '[[1,0]]' },
    }),
  ),
});

const refused = (code: string, more: Partial<RefusedOutcome> = {}): RefusedOutcome => ({
  ...{ kind: 'refused', error: { code, message: 'no' }, uncertain: false, begun: true, evicted: [] },
  ...more,
});

function createOutcomes() {
  const parts = new ModelParts(() => 0.1);
  const state = { enqueued: 0 };
  const completion = new Completion(parts, { mustWaitForFetch: () => false, finishSoon: () => {} });
  const transaction = new OpenTransaction(parts, { rollback: () => {}, onBegun: () => {} });
  const figures = new TenantLoad({ tenant: 'acme', waiting: 0, held: 0, oldestAt: undefined, asleep: false });
  const enqueue = () => void state.enqueued++;
  const outcomes = new Outcomes(parts, { completion, transaction, figures, enqueue });
  /** What is held goes into the thread and leaves it. */
  const run = () => {
    parts.held.take(parts.held.loadedFirst);
    return parts.held.leaveThread();
  };
  return { parts, state, outcomes, run, ready: () => parts.held.ready.map(({ id }) => id) };
}

describe('what follows a task', () => {
  it('gets in line for the next batch before callers are answered', async () => {
    const { parts, state, outcomes, run } = createOutcomes();
    parts.hold('w-0');
    outcomes.onApplied(run(), applied('w-0'), { queuedAt: 0, begunAt: 0 });
    expect([state.enqueued, parts.answers.size, parts.held.size]).toEqual([1, 0, 0]);
    await vi.advanceTimersByTimeAsync(20);
    expect([parts.answers.get('w-0'), parts.bugs]).toEqual(['committed', []]);
  });

  it('knows that no job is in doubt when all that were requeued are applied', async () => {
    const { parts, outcomes, run } = createOutcomes();
    parts.model.doubtUntil = parts.facts.doubtUntil = 7;
    for (const [waiting, mayHaveMore] of [
      [1, false],
      [0, true],
      [0, false],
    ] as const) {
      Object.assign(parts.facts, { waiting, mayHaveMore });
      parts.hold('w-0');
      outcomes.onApplied(run(), applied('w-0'), { queuedAt: 0, begunAt: 0 });
      await vi.advanceTimersByTimeAsync(20);
      expect([parts.facts.doubtUntil, parts.model.doubtUntil]).toEqual(
        waiting > 0 || mayHaveMore ? [7, 7] : [0, 0],
      );
    }
  });

  it('waits for the file of a hibernated tenant, and tries again', async () => {
    const { parts, outcomes, run, ready } = createOutcomes();
    parts.hold('w-0');
    let arrive: (error: undefined) => void = () => {};
    const wake = vi.fn(
      () =>
        new Promise<undefined>(resolve => {
          arrive = resolve;
        }),
    );
    Object.assign(parts.services.waker, { wake });
    const woken = outcomes.onRefused(run(), refused('TENANT_WAKING', { begun: false }));
    await vi.advanceTimersByTimeAsync(5_000);
    expect([ready(), parts.answers.size, wake.mock.calls]).toEqual([['w-0'], 0, [['acme']]]);
    arrive(undefined);
    await woken;
    expect([parts.refusals.isPausing, parts.refusals.isParked, parts.answers.size]).toEqual([
      false,
      false,
      0,
    ]);
  });

  it('answers callers of a hibernated tenant whose file takes long, and tries again', async () => {
    const { parts, outcomes, run } = createOutcomes();
    parts.hold('w-0');
    const error = { code: 'TENANT_WAKING', message: 'on its way' };
    Object.assign(parts.services.waker, { wake: async () => error });
    void outcomes.onRefused(run(), refused('TENANT_WAKING', { begun: false }));
    await vi.advanceTimersByTimeAsync(20);
    expect([Object.fromEntries(parts.answers), parts.refusals.isPausing]).toEqual([
      { 'w-0': 'TENANT_WAKING' },
      true,
    ]);
    expect(parts.refusals.isParked).toBe(false);
  });

  it('parks a hibernated tenant whose file does not come', async () => {
    const { parts, outcomes, run } = createOutcomes();
    parts.hold('w-0');
    const parked = vi.spyOn(parts.services.parked, 'park');
    Object.assign(parts.services.waker, {
      wake: async () => ({ code: 'REPLICA_UNAVAILABLE', message: 'away' }),
    });
    for (let tries = 1; tries <= 4; tries++) {
      void outcomes.onRefused(run(), refused('TENANT_WAKING', { begun: false }));
      await vi.advanceTimersByTimeAsync(1);
    }
    await vi.advanceTimersByTimeAsync(20);
    expect(Object.fromEntries(parts.answers)).toEqual({ 'w-0': 'REPLICA_UNAVAILABLE' });
    expect(parked).toHaveBeenCalledExactlyOnceWith(
      'acme',
      expect.objectContaining({ code: 'REPLICA_UNAVAILABLE' }),
    );
  });

  it('puts a refused batch back, and answers its callers after the fourth try', async () => {
    const { parts, outcomes, run, ready } = createOutcomes();
    parts.hold('w-0', 'w-1');
    for (let tries = 1; tries <= 4; tries++) {
      expect(ready()).toEqual(['w-0', 'w-1']);
      expect(parts.answers.size).toBe(0);
      void outcomes.onRefused(run(), refused('DATABASE_BUSY'));
    }
    await vi.advanceTimersByTimeAsync(20);
    expect(Object.fromEntries(parts.answers)).toEqual({ 'w-0': 'DATABASE_BUSY', 'w-1': 'DATABASE_BUSY' });
    expect([ready(), parts.model.failed]).toEqual([[], ['w-0', 'w-1']]);
  });

  it('answers at once where no try can succeed, but not for what may be committed', async () => {
    const { parts, outcomes, run, ready } = createOutcomes();
    parts.hold('w-0');
    void outcomes.onRefused(run(), refused('DATABASE_IO_ERROR', { uncertain: true }));
    expect(parts.held.ready[0]?.doubtful).toBe(true);
    parts.hold('w-1');
    void outcomes.onRefused(run(), refused('DATABASE_CORRUPT', { uncertain: true, begun: false }));
    await vi.advanceTimersByTimeAsync(20);
    expect([ready(), Object.fromEntries(parts.answers)]).toEqual([['w-0'], { 'w-1': 'DATABASE_CORRUPT' }]);
    expect([parts.refusals.isParked, parts.refusals.triesWithoutJobs]).toEqual([true, true]);
  });

  it('counts a crash only for the batch that ran when the thread ended', async () => {
    for (const wasRunning of [true, false]) {
      const { parts, outcomes, run } = createOutcomes();
      parts.hold('w-0');
      outcomes.onFault(run(), new Error('ended'), wasRunning);
      await vi.advanceTimersByTimeAsync(20);
      const [job] = parts.held.ready;
      expect([job?.crashCount, job?.doubtful, parts.refusals.isPausing]).toEqual([
        Number(wasRunning),
        true,
        true,
      ]);
    }
  });
});
