import type { AppliedOutcome, JobOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FakeReplica } from '../../../test-support/fake-replica.ts';
import { FAKE_TIME, ModelParts } from '../../../test-support/session-model.ts';
import { ReplicaAnswers } from '../../replica/replica-answers.ts';
import { Admission } from './admission.ts';
import { Completion } from './completion.ts';
import { LaneTurn } from './lane-turn.ts';
import type { OpenTransaction } from './open-transaction.ts';

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => void vi.useRealTimers());

function setUp() {
  const parts = new ModelParts(() => 0.1);
  const replica = new FakeReplica();
  Object.assign(parts.services, { replica: new ReplicaAnswers(replica, () => 1) });
  const published: unknown[] = [];
  const { publish } = parts.services.inbox;
  parts.services.inbox.publish = async settlements => {
    for (const { jobId, replicatedAt } of settlements) published.push([jobId, replicatedAt]);
    return publish(settlements);
  };
  const completion = new Completion(parts, { mustWaitForFetch: () => false, finishSoon: () => {} });
  let commitSeq = 0;
  /** A batch with these ids is applied, in one commit. */
  const apply = async (...ids: readonly string[]) => {
    parts.hold(...ids);
    const batch = parts.held.loadedFirst;
    parts.held.take(batch);
    parts.held.settle(parts.held.leaveThread());
    commitSeq++;
    const jobs = ids.map(
      (id): JobOutcome => ({
        ...{ id, client: 'c-1', writes: 1, failures: 0, duplicate: false, commitSeq, results: '[[1,0]]' },
      }),
    );
    const stats = { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 };
    const outcome: AppliedOutcome = { kind: 'applied', incarnation: '', evicted: [], jobs, stats };
    const done = completion.complete(batch, outcome, { queuedAt: 0, begunAt: 0, committedAt: 0 });
    await Promise.all([done, vi.advanceTimersByTimeAsync(50)]);
  };
  return { parts, replica, completion, published, apply };
}

it('answers others at once, and those that wait when the replica has them; what waits holds no memory', async () => {
  const { parts, replica, completion, published, apply } = setUp();
  await apply('w-0', 'd-1');
  expect([published, parts.model.finished, [...completion.waiting]]).toEqual([
    [['w-0', undefined]],
    ['w-0'],
    ['d-1'],
  ]);
  expect([parts.services.memory.used, completion.isUnderWay]).toEqual([0, false]);
  // A later batch of the tenant is not held up.
  await apply('w-2');
  expect(parts.model.finished).toEqual(['w-0', 'w-2']);
  replica.store('acme', 1, 1, 777);
  await vi.advanceTimersByTimeAsync(20);
  expect([published.at(-1), parts.model.finished.at(-1), completion.waiting.size]).toEqual([
    ['d-1', 777],
    'd-1',
    0,
  ]);
  expect(parts.bugs).toEqual([]);
});

it('answers with 0 what is committed while the store is away', async () => {
  const { parts, replica, published, apply } = setUp();
  replica.available = false;
  await apply('d-0');
  expect([published, parts.model.finished]).toEqual([[['d-0', 0]], ['d-0']]);
});

it('refuses what would wait in vain before it is applied, and nothing else', async () => {
  const { parts, replica, completion } = setUp();
  const admission = new Admission(parts, (jobs, error) => completion.fail(jobs, error));
  parts.hold('w-0', 'd-1', 'd-2');
  parts.held.update(job => (job.id === 'd-2' ? { ...job, doubtful: true } : job));
  expect(admission.mustWait(parts.held.next!)).toBe(false);
  replica.available = false;
  expect(admission.mustWait(parts.held.next!)).toBe(true);
  await vi.advanceTimersByTimeAsync(50);
  expect(parts.answers).toEqual(new Map([['d-1', 'REPLICA_UNAVAILABLE']]));
  expect(parts.held.ready.map(({ id }) => id)).toEqual(['w-0', 'd-2']);
  expect(admission.mustWait(parts.held.next!)).toBe(false);
});

it('has the queue reclaimed before it refuses again what could not be failed', async () => {
  const { parts, replica, completion } = setUp();
  const admission = new Admission(parts, (jobs, error) => completion.fail(jobs, error));
  parts.hold('d-0');
  replica.available = false;
  parts.facts.isStale = true;
  expect(admission.mustWait(parts.held.next!)).toBe(true);
  expect(completion.isUnderWay).toBe(false);
  parts.facts.isStale = false;
  expect(admission.mustWait(parts.held.next!)).toBe(true);
  await vi.advanceTimersByTimeAsync(50);
  expect(parts.answers).toEqual(new Map([['d-0', 'REPLICA_UNAVAILABLE']]));
});

it('has the commit captured at once, and cuts a batch before a job that has to be refused', () => {
  const { parts, replica } = setUp();
  const transaction = { lease: undefined } as unknown as OpenTransaction;
  const turn = new LaneTurn(parts, transaction);
  parts.hold('w-0', 'd-1');
  turn.queue();
  expect(turn.begin(false, true)).toMatchObject({ capture: true, jobs: [{ id: 'w-0' }, { id: 'd-1' }] });
  parts.held.putBack(turn.leave('queued'));
  replica.available = false;
  const task = turn.begin(false, true);
  expect(task).toMatchObject({ jobs: [{ id: 'w-0' }] });
  expect(task).not.toHaveProperty('capture');
});
