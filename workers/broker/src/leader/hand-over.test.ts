import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { ModelLeader } from '../../test-support/leader-model.ts';
import { handOver, listActiveTenants } from './hand-over.ts';

let leader: ModelLeader;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: 1_000 });
  leader = new ModelLeader();
  onTestFinished(() => {
    leader.close();
    vi.useRealTimers();
  });
});

const run = () => handOver(leader.parts, leader.parts.sessions.all);

it('notifies the successor of tenants with jobs, before it releases the lease', async () => {
  leader.open('returned', { requeue: async () => 2 });
  leader.open('more', { mayHaveMore: true });
  leader.open('done');
  await run();
  expect(leader.steps).toEqual([
    ...['requeue more', 'requeue done'],
    'ZADD ow:{default}:notifications NX 1000 returned 1000 more',
    'leave open set: returned more done',
    'release the lease',
  ]);
});

it('leaves a tenant in the open set while jobs of it are active', async () => {
  leader.open('settled');
  leader.open('active', { held: 1 });
  await run();
  expect(leader.steps.slice(-2)).toEqual(['leave open set: settled', 'release the lease']);
});

it('has the successor answer what waits for the replica', async () => {
  leader.open('waiting', { waitsForReplica: 1 });
  await run();
  expect(leader.steps).toEqual([
    'requeue waiting',
    'ZADD ow:{default}:notifications NX 1000 waiting',
    'release the lease',
  ]);
});

it('leaves a tenant of which a fetch is under way in the open set, and notifies the successor', async () => {
  leader.open('fetching', { isInTransit: true });
  await run();
  expect(leader.steps).toEqual([
    'requeue fetching',
    'ZADD ow:{default}:notifications NX 1000 fetching',
    'release the lease',
  ]);
});

it('asks whether more waits before it requeues, which changes the answer', async () => {
  const session = leader.open('acme', { mayHaveMore: true });
  session.requeue = async () => {
    session.mayHaveMore = false;
    return 0;
  };
  await run();
  expect(leader.steps).toContain('ZADD ow:{default}:notifications NX 1000 acme');
});

it('releases nothing while a requeue fails', async () => {
  leader.open('acme', { requeue: () => Promise.reject(new Error('no connection')) });
  await expect(run()).rejects.toThrow('no connection');
  expect(leader.steps).not.toContain('release the lease');
});

it('lists the tenants that are awake', () => {
  leader.open('asleep', { asleep: true });
  listActiveTenants(leader.parts);
  expect(leader.steps).toEqual([]);
  leader.open('awake');
  listActiveTenants(leader.parts);
  expect(leader.steps).toEqual(['ZADD ow:{default}:tenants GT 1000 awake']);
});
