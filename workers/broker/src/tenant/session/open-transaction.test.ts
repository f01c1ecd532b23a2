import type { AppliedOutcome } from '@onewriter/writer';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createData, FAKE_TIME, ModelParts } from '../../../test-support/session-model.ts';
import { OpenTransaction } from './open-transaction.ts';

beforeEach(() => void vi.useFakeTimers(FAKE_TIME));
afterEach(() => void vi.useRealTimers());

const outcome = (open: string | undefined): AppliedOutcome => ({
  ...{ kind: 'applied', incarnation: '', evicted: [], open },
  jobs: [{ id: 'b-0', client: 'c-1', writes: 1, failures: 0, duplicate: false, commitSeq: 0, results: '' }],
  stats: { openMs: 0, applyMs: 0, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 1 },
});

function createTransaction() {
  const parts = new ModelParts();
  const rolledBack: string[] = [];
  const transaction = new OpenTransaction(parts, { rollback: id => rolledBack.push(id), onBegun: () => {} });
  parts.hold('b-0');
  return { parts, rolledBack, transaction, batch: parts.held.loadedFirst };
}

it('is open from the steps that left it open to those that end it', () => {
  const { parts, transaction, batch } = createTransaction();
  transaction.note(outcome('t-1'), batch);
  expect([transaction.isOpen, parts.held.inTransaction]).toEqual([true, true]);
  expect(transaction.status).toMatchObject({ tenant: 'acme', id: 't-1', client: 'c-1' });
  transaction.note(outcome('t-1'), batch);
  expect(transaction.lease?.id).toBe('t-1');
  transaction.note(outcome(undefined), batch);
  expect([transaction.isOpen, parts.held.inTransaction, parts.facts.mayHaveMore]).toEqual([
    false,
    false,
    true,
  ]);
  transaction.end();
  expect(transaction.status).toBeUndefined();
});

it('is rolled back when others waited for too long', () => {
  const { parts, rolledBack, transaction, batch } = createTransaction();
  transaction.note(outcome('t-1'), batch);
  transaction.noteOthers(true);
  expect(transaction.othersWait).toBe(true);
  vi.advanceTimersByTime(4_999);
  expect(rolledBack).toEqual([]);
  vi.advanceTimersByTime(1);
  expect([rolledBack, transaction.isOpen, parts.held.inTransaction]).toEqual([['t-1'], false, false]);
});

it('is rolled back within a second or two where others wait and its client is gone', async () => {
  const { parts, rolledBack, transaction, batch } = createTransaction();
  transaction.note(outcome('t-1'), batch);
  transaction.noteOthers(true);
  await vi.advanceTimersByTimeAsync(1_500);
  expect(rolledBack).toEqual([]);
  parts.gone.add('c-1');
  await vi.advanceTimersByTimeAsync(1_000);
  expect([rolledBack, transaction.isOpen]).toEqual([['t-1'], false]);
});

it('waits for the step that is in the thread, and is taken away with its outcome', () => {
  const { parts, rolledBack, transaction, batch } = createTransaction();
  parts.held.take(batch);
  transaction.note(outcome('t-1'), batch);
  transaction.noteOthers(true);
  vi.advanceTimersByTime(6_000);
  expect(rolledBack).toEqual([]);
  parts.held.leaveThread();
  transaction.note(outcome('t-1'), batch);
  expect([rolledBack, transaction.isOpen]).toEqual([['t-1'], false]);
});

it('is not timed any more when the session drains', () => {
  const { rolledBack, transaction, batch } = createTransaction();
  transaction.note(outcome('t-1'), batch);
  transaction.noteOthers(true);
  transaction.drain();
  vi.advanceTimersByTime(100_000);
  expect([rolledBack, transaction.isOpen]).toEqual([[], true]);
});

it('that a redelivered job began is soon taken away, whatever comes for another, unless its client continues it', () => {
  const steps = (tx: string) => [
    { ...createTransaction().batch[0]!, data: createData('c-1', `{"k":"s","tx":"${tx}"}`) },
  ];
  for (const continued of [false, true]) {
    const parts = new ModelParts();
    const rolledBack: string[] = [];
    const transaction = new OpenTransaction(parts, {
      rollback: id => rolledBack.push(id),
      onBegun: () => {},
    });
    parts.holdJobs([{ id: 'b-0', data: createData('c-1') }], Number.POSITIVE_INFINITY);
    transaction.note(outcome('t-1'), parts.held.loadedFirst);
    transaction.noteOthers(true);
    vi.advanceTimersByTime(900);
    // The COMMIT of the one that died with its broker is answered, too, while this one is open.
    transaction.note(outcome('t-1'), steps(continued ? 't-1' : 't-0'));
    vi.advanceTimersByTime(900);
    expect([rolledBack, transaction.isOpen]).toEqual(continued ? [[], true] : [['t-1'], false]);
    transaction.end();
  }
});
