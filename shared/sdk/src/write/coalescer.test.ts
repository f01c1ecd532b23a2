import {
  LIMITS,
  PROTOCOL_VERSION,
  parseWriteJob,
  type SqlParameters,
  type WireStatementOperation,
} from '@onewriter/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ABSENT } from '../settle/ledger.ts';
import { now } from '../waits.ts';
import { encodeRead, encodeStatement } from './encoded-write.ts';
import type { OutboundJob } from './outbound-job.ts';
import { WritePath } from './write-path.ts';

/** A write path whose queue accepts every job at once; the test settles their writes. */
function openPath(downSince?: () => number | undefined) {
  const jobs: { readonly id: string; readonly numbers: readonly number[] }[] = [];
  const withdrawn: string[] = [];
  const silent = { warn: () => {}, error: () => {} };
  const path = new WritePath({
    clientId: 'c-test',
    sender: {
      get downSince() {
        return downSince?.();
      },
      send: async (job: OutboundJob) => {
        if (downSince?.() !== undefined) return { kind: 'unsent', cause: new Error('down') };
        const { ops } = parseWriteJob(String(job.message));
        jobs.push({ id: job.id, numbers: ops.map(op => ((op as WireStatementOperation).p as number[])[0]!) });
        return { kind: 'accepted', depth: 0 };
      },
      readyToRetry: async () => {
        while (downSince?.() !== undefined) await new Promise<void>(resolve => setTimeout(resolve, 100));
      },
      withdraw: async ({ id }: { readonly id: string }) => withdrawn.push(id) > 0,
      maxQueueBytes: 1_000_000,
      refusal: () => undefined,
      load: async () => ({ jobs: 0, bytes: 0 }),
    } as never,
    states: {
      look: async addresses => addresses.map(() => 'queued' as const),
      answer: async () => undefined,
    },
    ledger: { find: async () => ABSENT, lookNow: () => undefined } as never,
    logger: silent,
    writeTimeoutMs: 8_000,
  });
  const waits: Promise<unknown>[] = [];
  return {
    jobs,
    withdrawn,
    numbers: () => jobs.map(({ numbers }) => numbers),
    issue: (
      number: number,
      waitsFor: 'commit' | 'acceptance' = 'commit',
      params: SqlParameters = [number],
      timeoutMs?: number,
    ) => {
      const wait = path.send('acme', encodeStatement({ sql: 'INSERT', params }, {}), waitsFor, { timeoutMs });
      waits.push(wait);
      return wait;
    },
    read: (number: number, timeoutMs = 8_000) => {
      const wait = path.read(
        'acme',
        encodeRead({ sql: 'SELECT', params: [number] }, false),
        now() + timeoutMs,
        undefined,
      );
      waits.push(wait);
      return wait;
    },
    /** Waits for room, where a write of {@link issue} is refused. */
    issueWhenFree: (number: number) => {
      const payload = encodeStatement({ sql: 'INSERT', params: [number] }, {});
      const wait = path.sendWhenFree('acme', payload, {});
      waits.push(wait);
      return wait;
    },
    refused: (number: number) =>
      path
        .send('acme', encodeStatement({ sql: 'INSERT', params: [number] }, {}), 'commit', {})
        .then(() => undefined)
        .catch(({ code }) => code),
    settle: (index: number) => {
      const { id, numbers } = jobs[index]!;
      const results = JSON.stringify(numbers.map(number => [1, number]));
      const event = {
        v: String(PROTOCOL_VERSION),
        jobId: id,
        tenant: 'acme',
        commitSeq: '1',
        results,
        error: '',
      };
      path.settler.onEvent(event);
    },
    /** Settles what is left. */
    async end() {
      for (let index = 0; index < jobs.length; index++) {
        this.settle(index);
        await vi.advanceTimersByTimeAsync(5);
      }
      await Promise.all(waits);
    },
  };
}

/** What is done without any time passing. */
const turn = () => vi.advanceTimersByTimeAsync(0);

/** The job of write 1 is under way, and write 2 waits for it. */
async function openWaitingPath() {
  const path = openPath();
  void path.issue(1);
  await turn();
  void path.issue(2);
  await turn();
  expect(path.numbers()).toEqual([[1]]);
  return path;
}

describe('a coalescer', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('sends an uncontended write at once, and together what is issued until it is settled', async () => {
    const path = openPath();
    void path.issue(1).then(() => path.issue(4));
    await turn();
    expect(path.numbers()).toEqual([[1]]);
    void path.issue(2);
    await turn();
    void path.issue(3);
    await turn();
    expect(path.numbers()).toEqual([[1]]);
    path.settle(0);
    await vi.waitFor(() => expect(path.jobs.length).toBe(2));
    // Also what the settled caller wrote next.
    expect(path.numbers()).toEqual([[1], [2, 3, 4]]);
    await path.end();
  });

  it('puts reads into jobs of their own, behind the writes that were issued before them', async () => {
    const path = await openWaitingPath();
    void path.read(3);
    void path.issue(4);
    void path.read(5);
    path.settle(0);
    await vi.waitFor(() => expect(path.jobs.length).toBe(3));
    expect(path.numbers()).toEqual([[1], [2, 4], [3, 5]]);
    expect(path.jobs.map(({ id }) => id[0])).toEqual(['w', 'w', 'r']);
    await path.end();
  });

  it('sends a read that was issued first before the writes behind it', async () => {
    const path = openPath();
    void path.read(1);
    void path.issue(2);
    void path.read(3);
    await vi.waitFor(() => expect(path.jobs.length).toBe(3));
    expect(path.numbers()).toEqual([[1], [2], [3]]);
    await path.end();
  });

  it('withdraws reads that no caller waits for any more', async () => {
    const path = openPath();
    const codes = [path.read(1, 500), path.read(2, 1_000)].map(read => read.catch(({ code }) => code));
    await vi.advanceTimersByTimeAsync(700);
    expect(path.withdrawn).toEqual([]);
    expect(await codes[0]).toBe('OUTCOME_UNKNOWN');
    await vi.advanceTimersByTimeAsync(500);
    expect(await codes[1]).toBe('OUTCOME_UNKNOWN');
    expect(path.withdrawn).toEqual(path.jobs.map(({ id }) => id));
  });

  it('waits for an earlier job a moment at most', async () => {
    const path = await openWaitingPath();
    await vi.advanceTimersByTimeAsync(1);
    await vi.waitFor(() => expect(path.numbers()).toEqual([[1], [2]]));
    await path.end();
  });

  it('does not let writes wait whose callers wait for the queue', async () => {
    const path = await openWaitingPath();
    await path.issue(3, 'acceptance');
    expect(path.numbers()).toEqual([[1], [2, 3]]);
    await path.end();
  });

  it('sends many as several jobs, one after the other, while an earlier one is under way', async () => {
    const path = openPath();
    void path.issue(1);
    await turn();
    for (let number = 2; number <= 201; number++) void path.issue(number);
    await vi.waitFor(() => expect(path.jobs.length).toBe(3));
    expect(path.numbers().map(numbers => numbers.length)).toEqual([1, 128, 72]);
    await path.end();
  });

  it('cuts jobs of large writes by their bytes', async () => {
    const path = openPath();
    for (let number = 1; number <= 5; number++)
      void path.issue(number, 'commit', [number, 'x'.repeat(20_000)]);
    await vi.waitFor(() => expect(path.jobs.length).toBe(3));
    expect(path.numbers()).toEqual([[1, 2], [3, 4], [5]]);
    await path.end();
  });

  it('keeps the deadline of a write that comes after another had timed out, while Redis is away', async () => {
    const downSince = now();
    const path = openPath(() => downSince);
    const answers: [number, string, number][] = [];
    const issue = (number: number, timeoutMs: number) => {
      path.issue(number, 'commit', [number], timeoutMs).catch(({ code }) => {
        answers.push([number, code, now() - downSince]);
      });
    };
    issue(1, 200);
    await vi.advanceTimersByTimeAsync(300);
    expect(answers).toMatchObject([[1, 'TIMEOUT', expect.closeTo(200, -1)]]);
    issue(2, 6_000);
    // Refused when the outage has lasted too long, which is before its deadline.
    await vi.advanceTimersByTimeAsync(6_100);
    expect(answers[1]).toMatchObject([2, 'QUEUE_UNAVAILABLE', expect.closeTo(5_000, -2)]);
  });

  it('lets writes that can wait in when there is room again, in their order, and refuses others meanwhile', async () => {
    const path = openPath();
    const max = LIMITS.maxClientTenantOperations;
    for (let number = 1; number <= max; number++) void path.issue(number);
    await vi.waitFor(() => expect(path.numbers().flat().length).toBe(max));
    void path.issueWhenFree(max + 1);
    void path.issueWhenFree(max + 2);
    await turn();
    await expect(path.refused(max + 3)).resolves.toBe('BUFFER_FULL');
    expect(path.numbers().flat().length).toBe(max);
    path.settle(0);
    await vi.waitFor(() => expect(path.numbers().flat().slice(max)).toEqual([max + 1, max + 2]));
    await path.end();
  });
});
