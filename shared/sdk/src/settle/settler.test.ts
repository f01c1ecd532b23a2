import type { WireOperationResult } from '@onewriter/protocol';
import { PROTOCOL_VERSION } from '@onewriter/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { now } from '../waits.ts';
import { encodeStatement } from '../write/encoded-write.ts';
import { OutboundJob } from '../write/outbound-job.ts';
import { PendingWrite } from '../write/pending-write.ts';
import { Alarm } from './alarm.ts';
import { SETTLE_TIMES } from './deadline.ts';
import type { JobState } from './job-states.ts';
import { ABSENT, type ImmediateAnswer, type LedgerAnswer } from './ledger.ts';
import { Settler } from './settler.ts';

/** One job of two writes, a ledger and a state that the test sets, and what the callers hear. */
function setUp(options: { timeoutMs?: number; direct?: boolean } = {}) {
  const { timeoutMs = 30_000, direct = true } = options;
  const world = {
    state: 'queued' as JobState | undefined,
    answer: ABSENT as ImmediateAnswer,
    looks: 0,
    answers: [] as { verdict: string; atMs: number; reason?: unknown; commitSeq?: number }[],
    logged: [] as string[],
  };
  const began = now();
  const caller = {
    resolve: (_: unknown, commitSeq: number) =>
      void world.answers.push({ verdict: 'committed', atMs: now() - began, commitSeq }),
    reject: (error: { code: string; details: { reason?: unknown } }) =>
      void world.answers.push({ verdict: error.code, atMs: now() - began, reason: error.details.reason }),
  };
  const holder = { onPayloadDropped: () => {}, onSettled: () => {} };
  const writes = [1, 2].map(number => {
    const payload = encodeStatement({ sql: 'INSERT', params: [number] }, {});
    return new PendingWrite(payload, 'commit', began + timeoutMs, undefined, caller as never, holder);
  });
  const settler = new Settler({
    alarm: new Alarm(),
    states: {
      look: async jobs => {
        world.looks++;
        return jobs.map(() => world.state);
      },
      answer: async () => undefined,
    },
    ledger: {
      lookNow: () => (direct ? world.answer : undefined),
      look: async () => world.answer,
    },
    logger: {
      warn: (_, message) => world.logged.push(message),
      error: (_, message) => world.logged.push(message),
    },
  });
  const job = new OutboundJob('c-1', 'acme', 1, writes);
  settler.track(job);
  job.accept(now());
  const event = (fields: Record<string, string>) =>
    settler.onEvent({
      v: String(PROTOCOL_VERSION),
      jobId: job.id,
      tenant: 'acme',
      commitSeq: '5',
      results: '',
      error: '',
      ...fields,
    });
  return { world, settler, job, event };
}

const COMMITTED: LedgerAnswer = {
  kind: 'found',
  results: [[1, 1], { e: { code: 'CONSTRAINT_VIOLATION', message: 'no' } }],
  commitSeq: 7,
};
const results = (answer: readonly WireOperationResult[]) => JSON.stringify(answer);

describe('Settler', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('settles each write by its own result in the event', () => {
    const { world, settler, event } = setUp();
    event({ results: results([[1, 1], { e: { code: 'SQL_ERROR', message: 'no' } }]) });
    expect(world.answers.map(({ verdict }) => verdict)).toEqual(['committed', 'SQL_ERROR']);
    expect(world.answers[0]?.commitSeq).toBe(5);
    expect(settler.jobs).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('fails all writes of a job that was refused as a whole', () => {
    const { world, event } = setUp();
    event({ error: '{"code":"POISON_JOB","message":"set aside"}' });
    expect(world.answers.map(({ verdict }) => verdict)).toEqual(['POISON_JOB', 'POISON_JOB']);
  });

  it.each([true, false])(
    'reads results too large for an event from the ledger (opened here: %s)',
    async direct => {
      const { world, event } = setUp({ direct });
      world.answer = COMMITTED;
      event({});
      await vi.advanceTimersByTimeAsync(0);
      expect(world.answers.map(({ verdict }) => verdict)).toEqual(['committed', 'CONSTRAINT_VIOLATION']);
    },
  );

  it.each([
    ['another version', { v: String(PROTOCOL_VERSION + 1), results: results([[1, 1]]) }],
    ['no JSON', { results: '{' }],
  ])(
    'does not guess what an event means that has %s: it asks the ledger, and says so once',
    async (_, fields) => {
      const { world, event } = setUp();
      event(fields);
      event(fields);
      expect(world.answers).toEqual([]);
      expect(world.logged).toHaveLength(1);
      world.answer = COMMITTED;
      event(fields);
      expect(world.answers).toHaveLength(2);
    },
  );

  it.each([true, false])('settles by the ledger when no event comes (opened here: %s)', async direct => {
    const { world, settler } = setUp({ direct });
    world.answer = COMMITTED;
    await vi.advanceTimersByTimeAsync(SETTLE_TIMES.firstCheckMs + 5);
    expect(world.answers.map(({ verdict }) => verdict)).toEqual(['committed', 'CONSTRAINT_VIOLATION']);
    expect(settler.jobs).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('asks less and less often about a job that waits in the queue', async () => {
    const { world } = setUp({ timeoutMs: 60_000 });
    await vi.advanceTimersByTimeAsync(59_000);
    expect(world.looks).toBeGreaterThan(5);
    expect(world.looks).toBeLessThan(12);
    expect(world.answers).toEqual([]);
  });

  it.each(['gone', 'finished'] as const)(
    'calls a job lost that is %s and twice not in the ledger, but never failed',
    async state => {
      const { world } = setUp();
      world.state = state;
      await vi.advanceTimersByTimeAsync(SETTLE_TIMES.firstCheckMs + 5);
      expect(world.answers).toEqual([]);
      await vi.advanceTimersByTimeAsync(10_000);
      expect(world.answers.map(({ verdict, reason }) => [verdict, reason])).toEqual([
        ['OUTCOME_UNKNOWN', 'lost'],
        ['OUTCOME_UNKNOWN', 'lost'],
      ]);
    },
  );

  it('does not call it lost while Redis does not answer', async () => {
    const { world } = setUp({ timeoutMs: 20_000 });
    world.state = undefined;
    await vi.advanceTimersByTimeAsync(19_000);
    expect(world.answers).toEqual([]);
    await vi.advanceTimersByTimeAsync(1_005);
    expect(world.answers.map(({ verdict, reason }) => [verdict, reason])).toEqual([
      ['OUTCOME_UNKNOWN', undefined],
      ['OUTCOME_UNKNOWN', undefined],
    ]);
  });

  it('looks into the ledger once more at the deadline', async () => {
    const { world } = setUp({ timeoutMs: 500 });
    await vi.advanceTimersByTimeAsync(490);
    world.answer = COMMITTED;
    await vi.advanceTimersByTimeAsync(20);
    expect(world.answers[0]).toMatchObject({ verdict: 'committed', commitSeq: 7 });
  });

  /** An answer that may be believed when the disk has it, or never. */
  const unflushed = (flushMs: number, isFlushed = true): ImmediateAnswer => ({
    ...COMMITTED,
    flush: {
      later: () =>
        new Promise((resolve, reject) => {
          setTimeout(() => (isFlushed ? resolve() : reject(new Error('EIO'))), flushMs);
        }),
    },
  });

  it.each([
    ['waits shortly at the deadline for', 30, true, 'committed', 535],
    ['hears in time of a disk that is too slow for', 5_000, true, 'OUTCOME_UNKNOWN', 560],
    ['does not believe, where the disk fails,', 10, false, 'OUTCOME_UNKNOWN', 515],
  ] as const)('%s what the last look found', async (_, flushMs, isFlushed, verdict, byMs) => {
    const { world, settler } = setUp({ timeoutMs: 500 });
    await vi.advanceTimersByTimeAsync(490);
    world.answer = unflushed(flushMs, isFlushed);
    await vi.advanceTimersByTimeAsync(15);
    expect(world.answers).toEqual([]);
    await vi.advanceTimersByTimeAsync(byMs - 505);
    expect(world.answers[0]).toMatchObject({ verdict });
    expect(world.answers[0]!.atMs).toBeLessThan(byMs);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(world.answers).toHaveLength(2);
    expect(settler.jobs).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('refuses the rest of a job that failed only when what is committed of it is on the disk', async () => {
    const { world, event } = setUp();
    world.answer = { ...unflushed(20), results: [[1, 1]] } as ImmediateAnswer;
    event({ error: JSON.stringify({ code: 'POISON_JOB', message: 'set aside' }) });
    expect(world.answers).toEqual([]);
    await vi.advanceTimersByTimeAsync(25);
    expect(world.answers.map(answer => answer.verdict)).toEqual(['committed', 'POISON_JOB']);
  });

  it('settles only the committed writes of a job that takes several commits', async () => {
    const { world } = setUp({ timeoutMs: 500 });
    world.answer = { kind: 'found', results: [[1, 1]], commitSeq: 7 };
    await vi.advanceTimersByTimeAsync(510);
    expect(world.answers.map(({ verdict }) => verdict)).toEqual(['committed', 'OUTCOME_UNKNOWN']);
  });

  it('gives everyone the answer that can be had when the client closes', async () => {
    const { world, settler } = setUp();
    world.answer = { kind: 'found', results: [[1, 1]], commitSeq: 7 };
    await settler.settleAll();
    expect(world.answers.map(({ verdict }) => verdict)).toEqual(['committed', 'OUTCOME_UNKNOWN']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('waits shortly for a disk when the client closes', async () => {
    const { world, settler } = setUp();
    world.answer = unflushed(60_000);
    const closing = settler.settleAll();
    await vi.advanceTimersByTimeAsync(60);
    expect(world.answers.map(({ verdict }) => verdict)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    await closing;
    await vi.advanceTimersByTimeAsync(60_000);
  });
});

describe('Settler of many late jobs', () => {
  /** So long does a look into a ledger hold up the event loop, where its disk is slow. */
  const SLOW_LOOK_MS = 10;
  const JOBS = 100;
  const TIMEOUT_MS = 250;

  it('answers each caller in time, though there is no time to look into every ledger', async () => {
    let looks = 0;
    const answersMs: number[] = [];
    const began = now();
    const settler = new Settler({
      alarm: new Alarm(),
      states: { look: async jobs => jobs.map(() => 'queued'), answer: async () => undefined },
      ledger: {
        lookNow: () => {
          looks++;
          const until = now() + SLOW_LOOK_MS;
          while (now() < until);
          return ABSENT;
        },
        look: async () => ABSENT,
      },
      logger: { warn: () => {}, error: () => {} },
    });
    const holder = { onPayloadDropped: () => {}, onSettled: () => {} };
    const answers = Array.from({ length: JOBS }, (_, number) => {
      return new Promise<string>(resolve => {
        const caller = {
          resolve: () => resolve('committed'),
          reject: ({ code }: { code: string }) => {
            answersMs.push(now() - began);
            resolve(code);
          },
        };
        const payload = encodeStatement({ sql: 'INSERT', params: [number] }, {});
        const write = new PendingWrite(
          payload,
          'commit',
          began + TIMEOUT_MS,
          undefined,
          caller as never,
          holder,
        );
        const job = new OutboundJob('c-1', `t${number}`, 1, [write]);
        settler.track(job);
        job.accept(now());
      });
    });
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['OUTCOME_UNKNOWN']));
    // As many of those due in the same turn as the time allows.
    expect(looks).toBeGreaterThan(0);
    expect(looks).toBeLessThan(JOBS / 4);
    expect(Math.max(...answersMs)).toBeLessThan(TIMEOUT_MS + JOBS * SLOW_LOOK_MS * 0.5);
  });

  it('spends a small share of the time on looks, however many jobs are late', async () => {
    let looks = 0;
    const lookMs = 5;
    const jobs = 200;
    const settler = new Settler({
      alarm: new Alarm(),
      states: { look: async all => all.map(() => 'queued'), answer: async () => undefined },
      ledger: {
        lookNow: () => {
          looks++;
          const until = now() + lookMs;
          while (now() < until);
          return ABSENT;
        },
        look: async () => ABSENT,
      },
      logger: { warn: () => {}, error: () => {} },
    });
    const began = now();
    const holder = { onPayloadDropped: () => {}, onSettled: () => {} };
    const answers = Array.from({ length: jobs }, (_, number) => {
      return new Promise<void>(resolve => {
        const caller = { resolve: () => resolve(), reject: () => resolve() };
        const payload = encodeStatement({ sql: 'INSERT', params: [number] }, {});
        const due = began + 50 + number * 5;
        const write = new PendingWrite(payload, 'commit', due, undefined, caller as never, holder);
        const job = new OutboundJob('c-1', `t${number}`, 1, [write]);
        settler.track(job);
        job.accept(now());
      });
    });
    await Promise.all(answers);
    expect(looks).toBeGreaterThan(0);
    expect(looks * lookMs).toBeLessThan((now() - began) * 0.25);
  });
});
