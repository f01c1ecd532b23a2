import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createData, FAKE_TIME, ModelParts } from '../../../test-support/session-model.ts';
import type { RedisLink } from '../../queue/redis-link.ts';
import { QueueForgotten } from '../../queue/tenant-queue.ts';
import { Completion } from './completion.ts';
import { Intake } from './intake.ts';
import { OpenTransaction } from './open-transaction.ts';

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => void vi.useRealTimers());

const jobs = (...ids: readonly string[]) => ids.map(id => ({ id, data: createData('c-1') }));

function createIntake() {
  const parts = new ModelParts(() => 0.1);
  const state = { gaveWay: 0, isAlone: false };
  const completion = new Completion(parts, {
    mustWaitForFetch: () => intake.finishesAnswered,
    finishSoon: () => {},
  });
  const transaction = new OpenTransaction(parts, { rollback: () => {}, onBegun: () => {} });
  const intake: Intake = new Intake(parts, {
    ...{ completion, transaction },
    isAlone: () => state.isAlone,
    overtakesAt: () => undefined,
    onAdded: () => {},
    giveWay: () => state.gaveWay++,
  });
  const ready = () => parts.held.ready.map(({ id }) => id);
  return { parts, state, completion, transaction, intake, ready };
}

const pass = (ms = 20) => vi.advanceTimersByTimeAsync(ms);

describe('the intake of a session', () => {
  it('reads the active jobs first, whose data it loads, and fetches the others then', async () => {
    const { parts, intake, ready } = createIntake();
    parts.facts.isStale = true;
    parts.model.active.push(...jobs('w-0'));
    parts.model.wait.push(...jobs('w-1'));
    intake.pump();
    expect([intake.isBusy, intake.finishesAnswered, intake.begun]).toEqual([true, true, 1]);
    await pass();
    // Active jobs come first: nothing was fetched beside them.
    expect([ready(), parts.facts, intake.reclaimed]).toEqual([
      ['w-0'],
      { isStale: false, mayHaveMore: true, doubtUntil: 0, waiting: 1 },
      1,
    ]);
    expect(parts.held.ready[0]).toMatchObject({ data: undefined, doubtful: true });
    intake.pump();
    await pass();
    expect(parts.held.ready[0]?.data).toBe(createData('c-1'));
    intake.pump();
    await pass();
    expect([ready(), parts.facts.mayHaveMore, parts.bugs]).toEqual([['w-0', 'w-1'], false, []]);
  });

  it('runs one command at a time, and fetches once while a batch is in the thread', async () => {
    const { parts, intake, ready } = createIntake();
    parts.hold('w-0');
    parts.held.take(parts.held.loadedFirst);
    parts.facts.mayHaveMore = true;
    parts.model.wait.push(...jobs('w-1'));
    for (let count = 0; count < 3; count++) intake.pump();
    await pass();
    expect([intake.begun, ready()]).toEqual([1, ['w-1']]);
    parts.facts.mayHaveMore = true;
    intake.pump();
    expect(intake.begun).toBe(1);
    intake.allowPrefetch();
    intake.pump();
    expect(intake.begun).toBe(2);
    await pass();
  });

  it('fetches nothing beside steps that may leave a transaction open', () => {
    const { parts, state, intake } = createIntake();
    parts.facts.mayHaveMore = true;
    state.isAlone = true;
    intake.pump();
    expect([intake.isBusy, intake.fetchAtNotification({} as RedisLink)]).toEqual([false, undefined]);
  });

  it('reads the active jobs again when the answer to a fetch was lost', async () => {
    const { parts, intake, ready } = createIntake();
    const { fetch } = parts.model;
    parts.model.fetch = async (...args) => {
      parts.model.fetch = fetch;
      await fetch.apply(parts.model, args);
      throw new Error('connection lost');
    };
    parts.model.wait.push(...jobs('w-0'));
    parts.facts.mayHaveMore = true;
    intake.pump();
    await pass();
    expect([ready(), parts.facts.isStale, parts.services.memory.used]).toEqual([[], true, 0]);
    intake.pump();
    await pass();
    expect([ready(), parts.facts.isStale, parts.bugs]).toEqual([['w-0'], false, []]);
  });

  it('requeues what was fetched ahead of an open transaction, and fetches its steps only', async () => {
    const { parts, transaction, intake, ready } = createIntake();
    parts.hold('b-0', 'w-1', 'w-2');
    const [first] = parts.held.loadedFirst;
    parts.held.take([first!]);
    parts.held.settle(parts.held.leaveThread());
    const stats = { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 };
    transaction.note({ kind: 'applied', incarnation: '', evicted: [], open: 't-1', jobs: [], stats }, [
      first!,
    ]);
    intake.pump();
    await pass();
    expect([ready(), parts.model.wait.map(({ id }) => id)]).toEqual([[], ['w-1', 'w-2']]);
    parts.model.wait.push(...jobs('s-0.0'));
    intake.pump();
    await pass();
    expect([parts.held.next?.id, transaction.othersWait]).toEqual(['s-0.0', true]);
    transaction.end();
  });

  it('gives way where the tenant is held', async () => {
    const { parts, state, intake } = createIntake();
    parts.model.fetch = async () => ({ jobs: [], waiting: 0, held: true });
    parts.facts.mayHaveMore = true;
    intake.pump();
    await pass();
    expect([state.gaveWay, parts.services.memory.used]).toEqual([1, 0]);
  });

  it('gives way to a hold that its reclaim finds, whatever the fetch in the same round trip says', async () => {
    const { parts, state, intake } = createIntake();
    parts.facts.isStale = true;
    parts.model.reclaim = async () => ({ jobs: [], doubtUntil: 0, held: true });
    parts.model.fetch = () => Promise.reject(new QueueForgotten());
    intake.pump();
    await pass();
    expect([state.gaveWay, intake.isBusy, parts.services.memory.used, parts.bugs]).toEqual([1, false, 0, []]);
  });
});
