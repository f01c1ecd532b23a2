import type { AppliedOutcome, JobOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FAKE_TIME, ModelParts } from '../../../test-support/session-model.ts';
import { Completion } from './completion.ts';

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => void vi.useRealTimers());

const TIMES = { queuedAt: 0, begunAt: 0, committedAt: 0 };
const ERROR = { code: 'DATABASE_BUSY', message: 'no' };

function createCompletion() {
  const parts = new ModelParts(() => 0.1);
  const state = { mustWait: false, soon: 0 };
  const completion = new Completion(parts, {
    mustWaitForFetch: () => state.mustWait,
    finishSoon: () => state.soon++,
  });
  /** A batch with these ids is applied. */
  const apply = (...ids: readonly string[]) => {
    parts.hold(...ids);
    const batch = parts.held.loadedFirst;
    parts.held.take(batch);
    parts.held.settle(parts.held.leaveThread());
    const jobs = ids.map(
      (id): JobOutcome => ({
        ...{ id, client: 'c-1', writes: 1, failures: 0, duplicate: false, commitSeq: 1, results: '[[1,0]]' },
      }),
    );
    const stats = { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 };
    const outcome: AppliedOutcome = { kind: 'applied', incarnation: '', evicted: [], jobs, stats };
    return completion.complete(batch, outcome, TIMES);
  };
  return { parts, state, completion, apply };
}

it('answers callers, finishes at once where it was quiet, and frees the memory', async () => {
  const { parts, completion, apply } = createCompletion();
  const done = apply('w-0', 'w-1');
  expect(completion.isUnderWay).toBe(true);
  await vi.advanceTimersByTimeAsync(50);
  await done;
  expect(parts.answers).toEqual(
    new Map([
      ['w-0', 'committed'],
      ['w-1', 'committed'],
    ]),
  );
  expect([parts.model.finished, completion.isUnderWay, completion.unfinished]).toEqual([
    ['w-0', 'w-1'],
    false,
    [],
  ]);
  expect([parts.services.memory.used, parts.bugs]).toEqual([0, []]);
});

it('leaves jobs of a busy tenant to the next fetch, or to a finish soon', async () => {
  const { parts, state, completion, apply } = createCompletion();
  await Promise.all([apply('w-0'), vi.advanceTimersByTimeAsync(5)]);
  await Promise.all([apply('w-1'), vi.advanceTimersByTimeAsync(5)]);
  expect([state.soon, completion.unfinished.map(({ id }) => id), parts.answers.size]).toEqual([
    1,
    ['w-1'],
    2,
  ]);
  const fetched = completion.takeUnfinished();
  expect(completion.unfinished).toEqual([]);
  completion.putBackUnfinished(fetched);
  state.mustWait = true;
  await completion.finishAnswered();
  expect([state.soon, completion.unfinished.length]).toEqual([2, 1]);
  state.mustWait = false;
  await Promise.all([completion.finishAnswered(), vi.advanceTimersByTimeAsync(5)]);
  expect([parts.model.finished, completion.unfinished]).toEqual([['w-0', 'w-1'], []]);
});

it('fails jobs in the queue before it answers their callers, and keeps those that could not be failed', async () => {
  const { parts, completion } = createCompletion();
  parts.hold('w-0', 'w-1');
  const { finish } = parts.model;
  parts.model.finish = async (...args) => {
    expect(parts.answers.size).toBe(0);
    return { ...(await finish.apply(parts.model, args)), refused: ['w-1'] };
  };
  await Promise.all([completion.fail(parts.held.ready, ERROR), vi.advanceTimersByTimeAsync(20)]);
  expect(parts.answers).toEqual(new Map([['w-0', 'DATABASE_BUSY']]));
  expect([parts.held.ready.map(({ id }) => id), parts.facts.isStale]).toEqual([['w-1'], true]);
});
