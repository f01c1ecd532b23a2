import { PROTOCOL_VERSION } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import { createRandom } from '../../../test-support/random.ts';
import { JobMemory } from '../../lanes/job-memory.ts';
import type { FetchedJob } from '../../queue/tenant-queue.ts';
import { freeMemory, type LoadedJob, type NewJob, toActiveJobs, toFetchedJobs } from './held-job.ts';
import { HeldJobs } from './held-jobs.ts';

const memory = () => new JobMemory(64 * 1024 * 1024);

const createJob = (id: string, size = 20): FetchedJob => ({
  id,
  data: `{"v":${PROTOCOL_VERSION},"x":"${'x'.repeat(size)}"}`,
});

const arrive = (jobs: readonly NewJob[]) =>
  jobs.map(job => ({ ...job, enqueuedAt: undefined, fetchedAt: 0 }));

/** Adds jobs that were just fetched, with a grant of their own. */
function fetchInto(held: HeldJobs, from: JobMemory, jobs: readonly FetchedJob[]): void {
  const grant = from.requestNow(1_000_000, 1_000_000)!;
  const fetched = toFetchedJobs(jobs, grant, 0);
  grant.shrinkTo(fetched.cost);
  held.add(arrive(fetched.jobs));
}

const idsOf = (jobs: readonly { readonly id: string }[]) => jobs.map(({ id }) => id);

it('keeps every job once and in order, and its memory as long, whatever happens to it', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = createRandom(seed);
    const pool = memory();
    const held = new HeldJobs();
    const inQueue = new Map<string, FetchedJob>();
    let [added, settled] = [0, 0];
    let expected: string[] = [];
    const begin = () => {
      const loaded = held.loadedFirst;
      const batch = loaded.slice(0, 1 + Math.floor(random() * loaded.length));
      if (batch.length > 0) held.take(batch);
    };
    const leave = () => {
      const batch = held.leaveThread();
      if (random() < 0.4) held.putBack(batch);
      else {
        held.settle(batch);
        for (const job of batch) freeMemory(job);
        settled += batch.length;
        expected = expected.slice(batch.length);
      }
    };
    const load = () => {
      const ids = idsOf(held.nextToLoad);
      if (ids.length === 0) return;
      const grant = pool.requestNow(1_000_000, 1_000_000)!;
      held.fill(
        ids,
        idsOf(held.notBegun)
          .filter(id => ids.includes(id))
          .map(id => inQueue.get(id)!),
        grant,
        () => {},
      );
    };
    for (let step = 0; step < 60; step++) {
      const what = random();
      if (what < 0.3) {
        const jobs = Array.from({ length: 1 + Math.floor(random() * 5) }, () => createJob(`w-${added++}`));
        for (const job of jobs) inQueue.set(job.id, job);
        expected.push(...idsOf(jobs));
        if (random() < 0.7) fetchInto(held, pool, jobs);
        else
          held.add(
            arrive(
              toActiveJobs(
                jobs.map(({ id, data }) => ({ id, bytes: data.length })),
                [],
              ),
            ),
          );
      } else if (what < 0.55 && held.inThread.length === 0) begin();
      else if (what < 0.8 && held.inThread.length > 0) leave();
      else if (what < 0.9) held.unload();
      else load();
      const where = `seed ${seed}, step ${step}`;
      if (held.inThread.length === 0) held.assertOrder('acme');
      expect(idsOf([...held.inThread, ...held.ready]), where).toEqual(expected);
      expect(held.size, where).toBe(added - settled);
      const loaded = held.all.filter(job => job.data !== undefined);
      const cost = loaded.reduce((sum, job) => sum + job.memory!.cost, 0);
      expect(pool.used, where).toBe(cost);
    }
  }
});

it('lets go of jobs that Redis no longer has when their data is read', () => {
  const pool = memory();
  const held = new HeldJobs();
  held.add(
    arrive(
      toActiveJobs(
        [
          { id: 'w-0', bytes: 30 },
          { id: 'w-1', bytes: 30 },
        ],
        [2, 0],
      ),
    ),
  );
  expect([idsOf(held.nextToLoad), held.loadedFirst, held.hasUnloaded]).toEqual([['w-0', 'w-1'], [], true]);
  const sizes: number[] = [];
  const grant = pool.requestNow(1_000_000, 1_000_000)!;
  held.fill(['w-0', 'w-1'], [createJob('w-1')], grant, bytes => sizes.push(bytes));
  expect([idsOf(held.loadedFirst), held.size, held.hasUnloaded, sizes.length]).toEqual([
    ['w-1'],
    1,
    false,
    1,
  ]);
  held.assertOrder('acme');
  held.remove(new Set(['w-1']));
  expect([held.size, pool.used]).toEqual([0, 0]);
});

it('begins only steps of the open transaction, and all others behind those that came too late', () => {
  const pool = memory();
  const held = new HeldJobs();
  fetchInto(held, pool, [createJob('w-0')]);
  held.beginTransaction();
  fetchInto(held, pool, [createJob('s-0.0'), createJob('w-1')]);
  expect([held.next?.id, idsOf(held.followUps), idsOf(held.ready)]).toEqual([
    's-0.0',
    ['s-0.0'],
    ['w-0', 'w-1'],
  ]);
  expect(() => held.take(held.loadedFirst)).toThrow('A batch begins while a transaction is open.');
  expect(held.takeFollowUp()?.id).toBe('s-0.0');
  held.putBack(held.leaveThread());
  expect(held.next?.id).toBe('s-0.0');
  held.endTransaction();
  expect([held.followUps, idsOf(held.ready)]).toEqual([[], ['s-0.0', 'w-0', 'w-1']]);
  held.assertOrder('acme');
});

it('has room for more jobs of a parked tenant, and returns none that is older than one that must stay', () => {
  const pool = memory();
  const held = new HeldJobs();
  expect(held.room(false).maxJobs).toBe(32);
  held.add(arrive(toActiveJobs([{ id: 'w-0', bytes: 30 }], [1])));
  fetchInto(
    held,
    pool,
    Array.from({ length: 31 }, (_, index) => createJob(`w-${index + 1}`)),
  );
  expect([held.room(false).maxJobs, held.room(true).maxJobs]).toEqual([0, 32]);
  expect(idsOf(held.returnable)).toEqual(idsOf(held.ready).slice(1));
});

it('ends where a job was lost, is there twice, or begins before an older one', () => {
  const lost = new HeldJobs();
  fetchInto(lost, memory(), [createJob('w-0'), createJob('w-1')]);
  lost.take(lost.loadedFirst.slice(0, 1));
  lost.leaveThread();
  expect(() => lost.assertOrder('acme')).toThrow(
    'Jobs of acme lost their order: 1 ready, 0 follow-ups, 0 in the thread, 2 held.',
  );
  const turned = new HeldJobs();
  fetchInto(turned, memory(), [createJob('w-0'), createJob('w-1')]);
  turned.take(turned.loadedFirst);
  turned.putBack(turned.leaveThread().toReversed() as LoadedJob[]);
  expect(() => turned.assertOrder('acme')).toThrow('Jobs of acme lost their order');
  const twice = new HeldJobs();
  fetchInto(twice, memory(), [createJob('w-0')]);
  twice.take(twice.loadedFirst);
  expect(() => twice.take([])).toThrow('A batch begins while another is in the thread.');
});
