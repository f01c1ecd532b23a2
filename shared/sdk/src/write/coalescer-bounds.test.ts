import { OnewriterError } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { ABSENT } from '../settle/ledger.ts';
import { type EncodedWrite, encodeStatement } from './encoded-write.ts';
import type { OutboundJob } from './outbound-job.ts';
import type { QueueLoad, SendOutcome } from './sender.ts';
import { WritePath } from './write-path.ts';

/* What a client does at the bounds of Redis, in a model that answers as the test says. */

function openPath() {
  const model = {
    sent: 0,
    outcome: { kind: 'accepted', depth: 1 } as SendOutcome,
    load: { jobs: 0, bytes: 0 } as QueueLoad,
    refusal: undefined as OnewriterError | undefined,
  };
  const path = new WritePath({
    clientId: 'c-test',
    sender: {
      downSince: undefined,
      maxQueueBytes: 1_000,
      refusal: () => model.refusal,
      send: async (_job: OutboundJob) => {
        model.sent++;
        return model.outcome;
      },
      withdraw: async () => false,
      load: async () => model.load,
      readyToRetry: () => new Promise<void>(resolve => void setTimeout(resolve, 5)),
    },
    states: {
      look: async addresses => addresses.map(() => 'queued' as const),
      answer: async () => undefined,
    },
    ledger: { look: async () => ABSENT, lookNow: () => ABSENT } as never,
    logger: { warn: () => {}, error: () => {} },
    writeTimeoutMs: 8_000,
  });
  const enqueue = async (text: string, timeoutMs = 8_000) => {
    try {
      const statement = { sql: 'INSERT INTO t VALUES (?)', params: [text] };
      await path.send('acme', encodeStatement(statement, { detached: true }), 'acceptance', { timeoutMs });
      return 'accepted';
    } catch (error) {
      return (error as OnewriterError).code;
    }
  };
  return { model, path, enqueue };
}

describe('a queue that holds too many bytes', () => {
  it('refuses the job and what was issued behind it, and then at once until there is room', async () => {
    const { model, path, enqueue } = openPath();
    model.outcome = { kind: 'overloaded', queuedBytes: 990 };
    model.load = { jobs: 5, bytes: 990 };
    const first = enqueue('a');
    await Promise.resolve();
    const rest = Array.from({ length: 300 }, () => enqueue('b'));
    expect(await first).toBe('TENANT_OVERLOADED');
    expect(new Set(await Promise.all(rest))).toEqual(new Set(['TENANT_OVERLOADED']));
    expect(model.sent).toBe(1);
    expect(await enqueue('c')).toBe('TENANT_OVERLOADED');
    expect(model.sent).toBe(1);
    // The broker fetched them: the next refusal reports it.
    model.outcome = { kind: 'accepted', depth: 1 };
    model.load = { jobs: 0, bytes: 0 };
    let answer = '';
    for (const end = performance.now() + 5_000; answer !== 'accepted' && performance.now() < end; ) {
      answer = await enqueue('d');
      await new Promise<void>(resolve => void setTimeout(resolve, 10));
    }
    expect(answer).toBe('accepted');
    expect(path.heldBytes).toBe(0);
    await path.close(0);
  });

  it('does not make a job that may be there fail', async () => {
    const { model, path, enqueue } = openPath();
    model.outcome = { kind: 'ambiguous', cause: new Error('connection lost') };
    const answer = enqueue('a', 300);
    await new Promise<void>(resolve => void setTimeout(resolve, 20));
    model.outcome = { kind: 'overloaded', queuedBytes: 990 };
    expect(await answer).toBe('OUTCOME_UNKNOWN');
    await path.close(0);
  });
});

it('a Redis that is nearly full gets no new job, but steps that continue a transaction', async () => {
  const { model, path, enqueue } = openPath();
  model.refusal = new OnewriterError('QUEUE_FULL', 'full', { retryAfterMs: 1_000 });
  expect(await enqueue('a')).toBe('QUEUE_FULL');
  expect(model.sent).toBe(0);
  const steps: EncodedWrite = {
    sql: ['COMMIT'],
    format: ([sql]) => `{"q":[{"s":${sql}}],"tx":"t-1"}`,
    operationBytes: 30,
    sqlBytes: 6,
    alone: 's',
  };
  const going = path.sendSteps('acme', steps, 't-1', { timeoutMs: 100 }).catch(() => {});
  await new Promise<void>(resolve => void setTimeout(resolve, 10));
  expect(model.sent).toBe(1);
  await going;
  await path.close(0);
});
