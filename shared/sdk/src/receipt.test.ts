import { newJobId, OnewriterError, receiptId, type WireOperationResult } from '@onewriter/protocol';
import { expect, it } from 'vitest';
import type { JobState } from './job-states.ts';
import type { LedgerAnswer } from './ledger.ts';
import { type ReceiptContext, TenantReceipt } from './receipt.ts';

/** A receipt whose job is in `state` and whose ledger gives the answers one after the other, the last for ever. */
function createReceipt(state: JobState, answers: readonly (LedgerAnswer | Error)[]): TenantReceipt {
  let asked = 0;
  const context = {
    tenant: 'acme',
    states: { look: async () => [state] },
    ledger: {
      async look() {
        const answer = answers[Math.min(asked++, answers.length - 1)]!;
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
    settler: { watch: () => () => {} },
    writeTimeoutMs: 200,
  };
  return new TenantReceipt(context as unknown as ReceiptContext, receiptId(newJobId(), 0));
}

const found = (result: WireOperationResult): LedgerAnswer => ({
  kind: 'found',
  results: [result],
  commitSeq: 7,
});
const corrupt = new OnewriterError('DATABASE_CORRUPT', 'damaged');

it('waits while the ledger cannot be read, and tells what it says then', async () => {
  const receipt = createReceipt('finished', [corrupt, corrupt, found([1, 5])]);
  expect(await receipt.committed()).toMatchObject({ changes: 1, lastInsertRowid: 5, commitSeq: 7 });
});

it('never takes the error of a read for the outcome of the write', async () => {
  const waiting = createReceipt('queued', [corrupt]).committed();
  await expect(waiting).rejects.toMatchObject({
    code: 'OUTCOME_UNKNOWN',
    cause: { code: 'DATABASE_CORRUPT' },
  });
  const forbidden = new OnewriterError('FORBIDDEN', 'no');
  const refused = createReceipt('queued', [forbidden]).committed({ timeoutMs: 60_000 });
  await expect(refused).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', cause: { code: 'FORBIDDEN' } });
});

it('waits no longer than its deadline for a Redis or a disk that does not answer', async () => {
  const never = () => new Promise<never>(() => {});
  const absent = { kind: 'absent' } as const;
  for (const [states, ledger] of [
    [never, async () => absent],
    [async () => ['queued'], never],
  ] as const) {
    const context = {
      ...{ tenant: 'acme', states: { look: states }, ledger: { look: ledger } },
      ...{ settler: { watch: () => () => {} }, writeTimeoutMs: 60_000 },
    };
    const receipt = new TenantReceipt(context as unknown as ReceiptContext, receiptId(newJobId(), 0));
    const began = performance.now();
    const waiting = receipt.committed({ timeoutMs: 50 });
    await expect(waiting).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      details: { receiptId: receipt.id },
    });
    expect(performance.now() - began).toBeLessThan(1_000);
  }
});

it('tells a failed write by its own error', async () => {
  const failed = createReceipt('finished', [
    found({ e: { code: 'CONSTRAINT_VIOLATION', message: 'unique' } }),
  ]);
  await expect(failed.committed()).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
});
