import { type ErrorDetails, OnewriterError } from '@onewriter/protocol';
import type { Tenant } from '@onewriter/sdk';
import { describe, expect, it } from 'vitest';
import { writeBounded } from './write-bounded.ts';

/** Fails on the first calls for an item, then accepts the item. */
function createSink(failures: readonly OnewriterError[] = []) {
  const accepted: number[] = [];
  const left = [...failures];
  const asked: string[] = [];
  let outstanding = 0;
  let most = 0;
  const write = async (item: number) => {
    most = Math.max(most, ++outstanding);
    await new Promise(resolve => setImmediate(resolve));
    outstanding--;
    const failure = left.shift();
    if (failure) throw failure;
    accepted.push(item);
  };
  const tenant = {
    receipt: (id: string) => ({ committed: async () => void asked.push(id) }),
  } as unknown as Tenant;
  return { tenant, write, accepted, asked, most: () => most };
}

const failure = (code: OnewriterError['code'], details: ErrorDetails = {}) =>
  new OnewriterError(code, 'No.', details);

describe('writeBounded', () => {
  it('writes every item once, never more than the bound at a time', async () => {
    const sink = createSink();
    let written = 0;
    const items = Array.from({ length: 500 }, (_, index) => index);
    await writeBounded(sink.tenant, items, sink.write, { maxOutstanding: 7, onWritten: () => written++ });
    expect(sink.accepted.sort((a, b) => a - b)).toEqual(items);
    expect(sink.most()).toBe(7);
    expect(written).toBe(500);
  });

  it('waits as long as it is asked to, then writes again', async () => {
    const sink = createSink([
      failure('TENANT_OVERLOADED', { retryAfterMs: 30 }),
      failure('BUFFER_FULL', { retryAfterMs: 30 }),
    ]);
    const startedMs = performance.now();
    await writeBounded(sink.tenant, [1], sink.write);
    expect(performance.now() - startedMs).toBeGreaterThan(55);
    expect(sink.accepted).toEqual([1]);
  });

  it('asks for the receipt of a write whose outcome is unknown, and does not write again', async () => {
    const sink = createSink([failure('OUTCOME_UNKNOWN', { receiptId: 'w-1.0' })]);
    await writeBounded(sink.tenant, [1, 2], sink.write, { maxOutstanding: 1 });
    expect(sink.asked).toEqual(['w-1.0']);
    expect(sink.accepted).toEqual([2]);
  });

  it('gives up on errors that waiting does not cure, and reads no more items', async () => {
    const sink = createSink([failure('CONSTRAINT_VIOLATION')]);
    const writing = writeBounded(sink.tenant, [1, 2, 3, 4, 5], sink.write, { maxOutstanding: 2 });
    await expect(writing).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
    expect(sink.accepted).toEqual([2]);
    const overloaded = createSink(Array.from({ length: 9 }, () => failure('TENANT_OVERLOADED')));
    const waiting = writeBounded(overloaded.tenant, [1], overloaded.write, { patienceMs: 300 });
    await expect(waiting).rejects.toMatchObject({ code: 'TENANT_OVERLOADED' });
  });
});
