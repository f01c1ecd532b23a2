import { PROTOCOL_VERSION } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { costOfJob, JobMemory, SHARE_BYTES } from '../../lanes/job-memory.ts';
import {
  clientOf,
  doubtUntil,
  freeMemory,
  type HeldJob,
  hasUnawaitedWrite,
  isLoaded,
  mayWaitInQueue,
  toActiveJobs,
  toFetchedJobs,
  unloaded,
} from './held-job.ts';

const ANY_TIME = Number.POSITIVE_INFINITY;
const PLACE = { place: 1, enqueuedAt: undefined, fetchedAt: 0 };

/** Data of a job of `c-1`. @param op more members of its one write */
function dataOf(op = '', text = 'x'): string {
  return `{"v":${PROTOCOL_VERSION},"client":"c-1","seq":1,"at":0,"sql":["${text}"],"ops":[{"s":0${op}}]}`;
}

function fetched(data: string, doubtUntil = 0): HeldJob {
  const grant = new JobMemory(SHARE_BYTES).requestNow(SHARE_BYTES, SHARE_BYTES)!;
  const [job] = toFetchedJobs([{ id: 'j-1', data, addedAt: undefined } as never], grant, doubtUntil).jobs;
  return { ...job!, ...PLACE };
}

describe('jobs that were active before', () => {
  it('may be applied, and are not loaded', () => {
    const [job] = toActiveJobs([{ id: 'a', bytes: 7 } as never, { id: 'b', bytes: 7 } as never], [2]);
    expect(job).toMatchObject({ id: 'a', crashCount: 2, doubtful: true, data: undefined });
    const [, other] = toActiveJobs([{ id: 'a' } as never, { id: 'b' } as never], [2]);
    expect(other?.crashCount).toBe(0);
  });
});

describe('jobs that waited', () => {
  it('share a grant by what each costs', () => {
    const memory = new JobMemory(SHARE_BYTES);
    const grant = memory.requestNow(SHARE_BYTES, SHARE_BYTES)!;
    const data = [dataOf(), dataOf('', 'é'.repeat(100))];
    const result = toFetchedJobs(
      data.map((each, index) => ({ id: `j-${index}`, data: each })) as never,
      grant,
      ANY_TIME,
    );
    expect(result.cost).toBe(costOfJob(data[0]!) + costOfJob(data[1]!));
    expect(result.bytes).toBe(data[0]!.length + data[1]!.length);
    expect(result.jobs.map(({ bytes, doubtful, crashCount }) => [bytes, doubtful, crashCount])).toEqual([
      [data[0]!.length, true, 0],
      [data[1]!.length + 100, true, 0],
    ]);
    // The last to go frees all of it.
    for (const job of result.jobs) freeMemory({ ...job, ...PLACE });
    grant.release(SHARE_BYTES - result.cost);
    expect(memory.requestNow(SHARE_BYTES, SHARE_BYTES)).toBeDefined();
  });

  it('may be applied only if they were added before those that were requeued as such', () => {
    const grant = new JobMemory(SHARE_BYTES).requestNow(SHARE_BYTES, SHARE_BYTES)!;
    const times = [4, 5, 6, undefined];
    const fetch = (doubtUntil: number) =>
      toFetchedJobs(
        times.map((addedAt, index) => ({ id: `j-${index}`, data: dataOf(), addedAt })),
        grant,
        doubtUntil,
      ).jobs.map(job => ({ ...job, ...PLACE }));
    const doubtful = (until: number) => fetch(until).map(job => job.doubtful);
    expect(doubtful(0)).toEqual([false, false, false, false]);
    expect(doubtful(5)).toEqual([true, true, false, true]);
    expect(doubtful(ANY_TIME)).toEqual([true, true, true, true]);
    // What the next leader is to know.
    expect(doubtUntil(fetch(0), 0)).toBe(0);
    expect(doubtUntil(fetch(5).slice(0, 3), 0)).toBe(5);
    expect(doubtUntil(fetch(5).slice(0, 3), 7)).toBe(7);
    expect(doubtUntil(fetch(5), 7)).toBe(ANY_TIME);
  });

  it('know a version that is unknown here', () => {
    expect(fetched(dataOf()).unknownVersion).toBeUndefined();
    expect(fetched('{"v":99}').unknownVersion).toBe(99);
  });
});

describe('a job without its data', () => {
  it('knows its client, and whether its callers wait', () => {
    for (const [op, unawaited] of [
      ['', false],
      [',"d":1', true],
    ] as const) {
      const job = unloaded(fetched(dataOf(op)));
      expect([isLoaded(job), clientOf(job), hasUnawaitedWrite(job)]).toEqual([false, 'c-1', unawaited]);
      expect(unloaded(job)).toBe(job);
    }
  });

  it('that may be applied has no caller to answer: its data is read again first', () => {
    const job = unloaded(fetched(dataOf(), ANY_TIME));
    expect([clientOf(job), hasUnawaitedWrite(job)]).toEqual(['', true]);
  });
});

it('finds an unawaited write in the writes, not in their texts', () => {
  expect(hasUnawaitedWrite(fetched(dataOf('', 'SELECT \\"d\\":1')))).toBe(false);
  expect(hasUnawaitedWrite(fetched('no JSON, "d":1'))).toBe(false);
  expect(clientOf(fetched('no JSON'))).toBe('');
});

it('waits in the queue only if no process ended while it was active', () => {
  const job = fetched(dataOf());
  expect([
    mayWaitInQueue(job),
    mayWaitInQueue({ ...job, crashCount: 1 }),
    mayWaitInQueue({ ...job, doubtful: true }),
  ]).toEqual([true, false, false]);
});
