import type { JobOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FakeReplica } from '../../test-support/fake-replica.ts';
import { NoReplica } from './no-replica.ts';
import { ReplicaAnswers } from './replica-answers.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function outcome(id: string, commitSeq: number, more: Partial<JobOutcome> = {}): JobOutcome {
  return {
    ...{ id, client: 'c-1', writes: 1, failures: 0, duplicate: false, commitSeq, results: '[[1,0]]' },
    ...more,
  };
}

function setUp(bounds?: { jobs: number; bytes: number; waitMs: number }) {
  const replica = new FakeReplica();
  const answers = new ReplicaAnswers(replica, () => 3, bounds);
  const heard: [string, number][] = [];
  const wait = (tenant: string, commitSeq: number, more: Partial<JobOutcome> = {}, incarnation = '') =>
    void answers
      .whenStored(tenant, [outcome(`d-${commitSeq}`, commitSeq, more)], incarnation)
      .then(at => heard.push([`${tenant}/${commitSeq}`, at]));
  return { replica, answers, heard, wait };
}

it('concerns jobs that ask for it, and all writes of a tenant that is sync', () => {
  const { replica, answers } = setUp();
  replica.modes.set('bank', 'sync');
  expect(answers.concerns('acme', 'w-1')).toBe(false);
  expect(answers.concerns('acme', 'd-1')).toBe(true);
  expect(answers.concerns('bank', 'w-1')).toBe(true);
  expect(answers.concerns('bank', 's-1')).toBe(true);
  expect(answers.concerns('bank', 'r-1')).toBe(false);
  expect(answers.chooseWaiting('acme', [outcome('w-1', 1)])).toBeUndefined();
  const failed = outcome('d-3', 0, { error: { code: 'INVALID_ARGUMENT', message: 'no' } });
  expect(answers.chooseWaiting('acme', [outcome('w-1', 1), outcome('d-2', 1), failed])).toEqual(
    new Set(['d-2']),
  );
});

it('refuses writes as long as it is not known who waits', () => {
  let areKnown = false;
  const answers = new ReplicaAnswers(
    new FakeReplica(),
    () => 3,
    undefined,
    () => areKnown,
  );
  expect([answers.refuses('acme'), answers.concerns('acme', 'w-1'), answers.concerns('acme', 'r-1')]).toEqual(
    [...[true, true, false]],
  );
  expect(answers.refusal('acme')).toMatchObject({
    ...{ code: 'REPLICA_UNAVAILABLE', details: { retryAfterMs: 1_000 } },
    message: 'Which tenants wait for the replica is not read from its store yet; nothing was applied.',
  });
  areKnown = true;
  expect([answers.refuses('acme'), answers.concerns('acme', 'w-1')]).toEqual([false, false]);
});

it('answers each when its own commit is stored, under its epoch', async () => {
  const { replica, answers, heard, wait } = setUp();
  wait('acme', 5);
  wait('acme', 7);
  wait('other', 5);
  replica.store('acme', 9, 2);
  await Promise.resolve();
  expect(heard).toEqual([]);
  replica.store('acme', 6, 3, 100);
  await Promise.resolve();
  expect(heard).toEqual([['acme/5', 100]]);
  replica.store('acme', 7, 4, 200);
  await Promise.resolve();
  expect([heard, answers.waiting]).toEqual([
    [
      ['acme/5', 100],
      ['acme/7', 200],
    ],
    1,
  ]);
  wait('acme', 6);
  await Promise.resolve();
  expect(heard.at(-1)?.[0]).toBe('acme/6');
});

it('does not take the position of a deleted file for that of the one that came after it', async () => {
  const { replica, heard, wait } = setUp();
  replica.store('acme', 50, 3, 100, 'former');
  wait('acme', 1, {}, 'next');
  replica.store('acme', 51, 3, 150, 'former');
  await Promise.resolve();
  expect(heard).toEqual([]);
  replica.store('acme', 1, 3, 200, 'next');
  await Promise.resolve();
  expect(heard).toEqual([['acme/1', 200]]);
});

it('waits for nothing where nothing was committed', async () => {
  const { heard, wait } = setUp();
  wait('acme', 0);
  wait('acme', 4, { failures: 1 });
  await Promise.resolve();
  expect(heard.map(([, at]) => at > 0)).toEqual([true, true]);
});

it('ends waits in vain when the store is away, and when the time is over', async () => {
  const { replica, answers, heard, wait } = setUp({ jobs: 10, bytes: 1_000_000, waitMs: 5_000 });
  wait('acme', 1);
  replica.available = false;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(heard).toEqual([['acme/1', 0]]);
  wait('acme', 2);
  await Promise.resolve();
  expect(heard.at(-1)).toEqual(['acme/2', 0]);
  replica.available = true;
  wait('acme', 3);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(answers.waiting).toBe(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(heard.at(-1)).toEqual(['acme/3', 0]);
  expect([answers.waiting, vi.getTimerCount()]).toEqual([0, 0]);
});

it('refuses where there is no replica, none of the tenant, no store, or no room', () => {
  const none = new ReplicaAnswers(new NoReplica(), () => 1);
  expect([none.refuses('acme'), none.refusal('acme').message]).toEqual([
    true,
    'There is no replica (ONEWRITER_REPLICA_URL) that a write could wait for; nothing was applied.',
  ]);
  const { replica, answers, wait } = setUp({ jobs: 2, bytes: 1_000_000, waitMs: 5_000 });
  expect(answers.refuses('acme')).toBe(false);
  replica.modes.set('off', 'off');
  expect([answers.refuses('off'), answers.refusal('off').message]).toEqual([
    true,
    'Tenant off is not replicated: its durability is off; nothing was applied.',
  ]);
  replica.available = false;
  expect([answers.refuses('acme'), answers.refusal('acme').message]).toEqual([
    true,
    'The store of the replica does not answer; nothing was applied.',
  ]);
  replica.available = true;
  wait('acme', 1);
  wait('other', 1);
  expect([answers.refuses('third'), answers.refusal('third').code]).toEqual([true, 'REPLICA_UNAVAILABLE']);
  replica.store('acme', 1, 3);
  expect(answers.refuses('third')).toBe(false);
  const small = setUp({ jobs: 9, bytes: 600, waitMs: 5_000 });
  small.wait('acme', 1, { results: 'x'.repeat(200) });
  expect(small.answers.refuses('acme')).toBe(true);
});
