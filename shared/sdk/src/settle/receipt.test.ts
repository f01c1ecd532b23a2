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
    settler: { watch: () => () => {}, watched: 1 },
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

it('waits while the ledger cannot be read, and then returns its result', async () => {
  const receipt = createReceipt('finished', [corrupt, corrupt, found([1, 5])]);
  expect(await receipt.committed()).toMatchObject({ changes: 1, lastInsertRowid: 5, commitSeq: 7 });
});

it('never mistakes the error of a read for the outcome of the write', async () => {
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
      ...{ settler: { watch: () => () => {}, watched: 1 }, writeTimeoutMs: 60_000 },
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

/** A receipt that asks a Redis that never answers. */
function createUnanswered(look: () => Promise<LedgerAnswer>, watched = 1): TenantReceipt {
  const context = {
    tenant: 'acme',
    states: { look: () => new Promise<never>(() => {}), failure: () => new Promise<never>(() => {}) },
    ledger: { look },
    settler: { watch: () => () => {}, watched },
    writeTimeoutMs: 60_000,
  };
  return new TenantReceipt(context as unknown as ReceiptContext, receiptId(newJobId(), 0));
}

it('says where a write is by its deadline, whatever does not answer', async () => {
  const looks = [async () => ({ kind: 'absent' }) as const, () => new Promise<never>(() => {})];
  for (const look of looks) {
    const began = performance.now();
    const status = createUnanswered(look).status({ timeoutMs: 50 });
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error('late')), 1_000).unref();
    });
    await expect(Promise.race([status, late])).rejects.toMatchObject({ code: 'QUEUE_UNAVAILABLE' });
    expect(performance.now() - began).toBeLessThan(1_000);
  }
});

it('needs no Redis for what is in the ledger', async () => {
  const receipt = createUnanswered(async () => found([1, 5]));
  expect(await receipt.status({ timeoutMs: 1_000 })).toMatchObject({ state: 'committed' });
  expect(await receipt.committed({ timeoutMs: 1_000 })).toMatchObject({ commitSeq: 7 });
});

it('reads the ledger again after a state that says that the job is done', async () => {
  const receipt = createReceipt('finished', [{ kind: 'absent' }, found([1, 5])]);
  expect(await receipt.status()).toMatchObject({ state: 'committed' });
});

it('hears its caller abort while nothing answers', async () => {
  const caller = new AbortController();
  const receipt = createUnanswered(() => new Promise<never>(() => {}));
  const status = receipt.status({ signal: caller.signal });
  const committed = receipt.committed({ signal: caller.signal });
  caller.abort();
  await expect(status).rejects.toMatchObject({ code: 'ABORTED' });
  await expect(committed).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
});

it('looks less often where thousands of writes are waited for', async () => {
  let looks = 0;
  const context = {
    tenant: 'acme',
    states: { look: async () => ['queued'] },
    ledger: {
      look: async () => {
        looks++;
        return { kind: 'absent' };
      },
    },
    settler: { watch: () => () => {}, watched: 5_000 },
    writeTimeoutMs: 300,
  };
  const receipt = new TenantReceipt(context as unknown as ReceiptContext, receiptId(newJobId(), 0));
  await expect(receipt.committed()).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  expect(looks).toBeLessThanOrEqual(3);
});

it('reports a failed write by its own error', async () => {
  const failed = createReceipt('finished', [
    found({ e: { code: 'CONSTRAINT_VIOLATION', message: 'unique' } }),
  ]);
  await expect(failed.committed()).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
});

const PAUSE = { name: 'pause', who: 'alice@host', reason: 'disk', since: null, expiresAt: null };

/** A receipt of a tenant that is held. @param asks counts looks at the write, and questions who holds the tenant */
function createHeld(asks: { look: number; holders: number }): TenantReceipt {
  const context = {
    tenant: 'acme',
    states: {
      look: async () => {
        asks.look++;
        return ['queued'];
      },
      holders: async () => {
        asks.holders++;
        return new Map([['acme', [PAUSE]]]);
      },
    },
    ledger: { look: async () => ({ kind: 'absent' }) },
    settler: { watch: () => () => {}, watched: 1 },
    writeTimeoutMs: 400,
  };
  return new TenantReceipt(context as unknown as ReceiptContext, receiptId(newJobId(), 0));
}

it('names who keeps the tenant still, at the deadline and where it is asked, and asks for it only then', async () => {
  const asks = { look: 0, holders: 0 };
  await expect(createHeld(asks).committed()).rejects.toMatchObject({
    code: 'OUTCOME_UNKNOWN',
    message: expect.stringContaining('Tenant acme is held: pause by alice@host (disk).'),
    details: { holders: [PAUSE] },
  });
  expect(asks.holders).toBe(1);
  expect(await createHeld(asks).status()).toEqual({ state: 'pending', holders: [PAUSE] });
});
