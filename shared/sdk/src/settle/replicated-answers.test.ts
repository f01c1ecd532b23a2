import { isDurableJobId, newDurableJobId, newJobId, PROTOCOL_VERSION, receiptId } from '@onewriter/protocol';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { now } from '../waits.ts';
import { readAdded } from '../write/add-job-script.ts';
import { chooseWrites } from '../write/choose-writes.ts';
import { encodeScript, encodeStatement, encodeTransaction } from '../write/encoded-write.ts';
import { OutboundJob } from '../write/outbound-job.ts';
import { PendingWrite } from '../write/pending-write.ts';
import { Alarm } from './alarm.ts';
import { SETTLE_TIMES } from './deadline.ts';
import type { JobState } from './job-states.ts';
import { ABSENT, type LedgerAnswer } from './ledger.ts';
import { type ReceiptContext, TenantReceipt } from './receipt.ts';
import { Settler } from './settler.ts';

const COMMITTED: LedgerAnswer = { kind: 'found', results: [[1, 1]], commitSeq: 7 };

const holder = { onPayloadDropped: () => {}, onSettled: () => {} };

function pending(durable: 'replica' | undefined, caller: object = {}): PendingWrite {
  const payload = encodeStatement({ sql: 'INSERT', params: [1] }, { durable });
  return new PendingWrite(payload, 'commit', now() + 5_000, undefined, caller as never, holder);
}

/** A job of one write, whose ledger has it, and what its caller hears. */
function setUp(isDurable = true) {
  const world = {
    state: 'queued' as JobState,
    answer: COMMITTED,
    replicatedAt: 0 as number | null,
    answers: [] as unknown[],
  };
  const caller = {
    resolve: (_: unknown, commitSeq: number, { replicatedAt }: { replicatedAt?: number }) =>
      void world.answers.push([commitSeq, replicatedAt]),
    reject: (error: { code: string; details: { reason?: unknown } }) =>
      void world.answers.push([error.code, error.details.reason]),
  };
  const settler = new Settler({
    alarm: new Alarm(),
    states: {
      look: async jobs => jobs.map(() => world.state),
      answer: async () => undefined,
      replicatedAt: async () => world.replicatedAt,
    },
    ledger: { lookNow: () => world.answer, look: async () => world.answer },
    logger: { warn: () => {}, error: () => {} },
  });
  const job = new OutboundJob('c-1', 'acme', 1, [pending(isDurable ? 'replica' : undefined, caller)]);
  settler.track(job);
  job.accept(now());
  const event = (fields: Record<string, string>) =>
    settler.onEvent({ v: String(PROTOCOL_VERSION), jobId: job.id, commitSeq: '5', error: '', ...fields });
  return { world, settler, job, event };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

it('says when the replica had it', () => {
  const { world, event } = setUp();
  event({ results: '[[1,1]]', replicatedAt: '1700000000000' });
  expect(world.answers).toEqual([[5, 1_700_000_000_000]]);
});

it.each([
  ['waited for it in vain', { results: '[[1,1]]', replicatedAt: '0' }],
  ['does not know replicas', { results: '[[1,1]]' }],
  ['has the results in the ledger only', { results: '', replicatedAt: '0' }],
])('never calls replicated what a broker sends that %s', async (_, fields) => {
  const { world, event } = setUp();
  event(fields);
  await vi.advanceTimersByTimeAsync(0);
  expect(world.answers).toEqual([['OUTCOME_UNKNOWN', 'not replicated']]);
});

it('refuses what was not applied, and does not call failed what was', async () => {
  const error = '{"code":"REPLICA_UNAVAILABLE","message":"away"}';
  const refused = setUp();
  refused.world.answer = ABSENT as LedgerAnswer;
  refused.event({ error });
  const applied = setUp();
  applied.event({ error });
  await vi.advanceTimersByTimeAsync(0);
  expect(refused.world.answers).toEqual([['REPLICA_UNAVAILABLE', undefined]]);
  expect(applied.world.answers).toEqual([['OUTCOME_UNKNOWN', 'not replicated']]);
});

it('does not take the ledger for the replica while the job is not finished', async () => {
  const { world, settler } = setUp();
  await vi.advanceTimersByTimeAsync(SETTLE_TIMES.firstCheckMs + 5);
  expect(world.answers).toEqual([]);
  world.state = 'finished';
  world.replicatedAt = 1_234;
  await vi.advanceTimersByTimeAsync(2_500);
  expect(world.answers).toEqual([[7, 1_234]]);
  expect(settler.jobs).toBe(0);
});

it('ends at the deadline, and when the client closes, without a look in the ledger', async () => {
  const late = setUp();
  await vi.advanceTimersByTimeAsync(5_005);
  expect(late.world.answers).toEqual([['OUTCOME_UNKNOWN', undefined]]);
  const closed = setUp();
  await closed.settler.settleAll();
  expect(closed.world.answers).toEqual([['OUTCOME_UNKNOWN', 'closed']]);
});

it('hears from the queue that its tenant waits for the replica', async () => {
  expect(readAdded([3, '', '1'])).toEqual({ depth: 3, redisMs: undefined, isSync: true });
  expect(readAdded([3, '17', '0'])).toEqual({ depth: 3, redisMs: 17, isSync: undefined });
  const { world, job } = setUp(false);
  job.waitsForReplica = true;
  await vi.advanceTimersByTimeAsync(SETTLE_TIMES.firstCheckMs + 5);
  expect(world.answers).toEqual([]);
});

it.each([
  ['in vain', 0, ['OUTCOME_UNKNOWN', 'not replicated']],
  ['with success', 1_234, [7, 1_234]],
  ['no more', null, [7, undefined]],
])('hears without its event that its tenant waited %s', async (_, replicatedAt, answer) => {
  const { world, job } = setUp(false);
  job.waitsForReplica = true;
  world.state = 'finished';
  world.replicatedAt = replicatedAt;
  await vi.advanceTimersByTimeAsync(SETTLE_TIMES.firstCheckMs + 5);
  expect(world.answers).toEqual([answer]);
});

it('does not call replicated what is committed of a job that was refused afterwards', async () => {
  const { world, job, event } = setUp(false);
  job.waitsForReplica = true;
  event({ error: '{"code":"DATABASE_CORRUPT","message":"damaged"}' });
  await vi.advanceTimersByTimeAsync(0);
  expect(world.answers).toEqual([['OUTCOME_UNKNOWN', 'not replicated']]);
});

it('sends writes that wait for the replica apart from others, in their order', () => {
  const writes = [pending(undefined), pending('replica'), pending('replica'), pending(undefined)];
  const first = chooseWrites(writes);
  const second = chooseWrites(writes.slice(1));
  expect([first.writes.length, second.writes.length]).toEqual([1, 2]);
  expect(isDurableJobId(new OutboundJob('c-1', 'acme', 1, second.writes).id)).toBe(true);
  const flags = { durable: 'replica' } as const;
  expect(encodeScript('DELETE FROM a', flags).durable).toBe(true);
  expect(encodeTransaction([{ sql: 'DELETE FROM a', params: [] }], flags).durable).toBe(true);
  expect(() => encodeScript('DELETE FROM a', { durable: 'yes' as never })).toThrow(/durable/);
});

it('has a receipt wait for the replica', async () => {
  vi.useRealTimers();
  let state: JobState = 'queued';
  let replicatedAt: number | null = 1_234;
  let isSync: boolean | undefined = true;
  const context = {
    tenant: 'acme',
    states: { look: async () => [state], replicatedAt: async () => replicatedAt, isSync: async () => isSync },
    ledger: { look: async () => COMMITTED },
    settler: { watch: () => () => {}, watched: 1 },
    writeTimeoutMs: 60,
  } as unknown as ReceiptContext;
  const receipt = new TenantReceipt(context, receiptId(newDurableJobId(), 0));
  expect(await receipt.status()).toMatchObject({ state: 'pending' });
  await expect(receipt.committed()).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  const ofSync = new TenantReceipt(context, receiptId(newJobId(), 0), true);
  expect(await ofSync.status()).toMatchObject({ state: 'pending' });
  const byId = new TenantReceipt(context, receiptId(newJobId(), 0));
  expect(await byId.status()).toMatchObject({ state: 'pending' });
  state = 'finished';
  expect(await byId.committed()).toMatchObject({ commitSeq: 7, replicatedAt: 1_234 });
  expect(await receipt.committed()).toMatchObject({ commitSeq: 7, replicatedAt: 1_234 });
  replicatedAt = 0;
  expect(await receipt.committed()).toMatchObject({ commitSeq: 7, replicated: false });
  expect(await byId.committed()).toMatchObject({ commitSeq: 7, replicated: false });
  replicatedAt = null;
  expect(await byId.committed()).not.toHaveProperty('replicated');
  // Few records are kept, so it may have been replicated.
  state = 'gone';
  const past = await receipt.committed();
  expect([past.commitSeq, past.replicatedAt, past.replicated]).toEqual([7, undefined, undefined]);
  state = 'queued';
  isSync = undefined;
  const usual = await new TenantReceipt(context, receiptId(newJobId(), 0)).committed();
  expect(usual).not.toHaveProperty('replicatedAt');
});
