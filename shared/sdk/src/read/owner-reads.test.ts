import { type ErrorCode, type ErrorDetails, OnewriterError } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import type { EncodedWrite } from '../write/encoded-write.ts';
import type { WriteAnswer } from '../write/write-path.ts';
import { OwnerReads } from './owner-reads.ts';

const ROWS: WriteAnswer = {
  result: {
    c: ['id', 'n'],
    r: [
      [1, { i: '9007199254740993' }],
      [2, null],
    ],
    n: 0,
    i: 0,
  },
  commitSeq: 7,
  receipt: 'r-1.0',
};
const failed = (code: ErrorCode, details: ErrorDetails = {}) => new OnewriterError(code, code, details);

/** A queue that answers with each of these in turn, and then with rows. */
function open(...answers: (WriteAnswer | OnewriterError)[]) {
  const sent: { readonly json: string; readonly due: number }[] = [];
  const reads = new OwnerReads({ maxResultRows: 2, timeoutMs: 1_000 });
  reads.use({
    read: async (_tenant: string, payload: EncodedWrite, due: number) => {
      sent.push({ json: payload.format([0]), due });
      const next = answers.shift() ?? ROWS;
      if (next instanceof OnewriterError) throw next;
      return next;
    },
  });
  return { reads, sent };
}

const request = (timeoutMs?: number, signal?: AbortSignal) => ({
  tenant: 'acme',
  sql: 'SELECT id, n FROM t WHERE id > ?',
  params: [0],
  options: { timeoutMs, signal },
});

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    error => (error as OnewriterError).code,
  );

describe('reads through the owner', () => {
  it('return rows as the other ways do', async () => {
    const { reads, sent } = open();
    const first = { id: 1, n: 9007199254740993n };
    expect(await reads.get(request())).toEqual(first);
    expect(await reads.all(request())).toEqual([first, { id: 2, n: null }]);
    const safe = await reads.allArrays({ ...request(), safeIntegers: true });
    expect(safe).toEqual({
      columns: ['id', 'n'],
      rows: [
        [1n, 9007199254740993n],
        [2n, null],
      ],
      commitSeq: 7,
    });
    const rows = [];
    for await (const row of reads.iterate(request())) rows.push(row);
    expect(rows).toHaveLength(2);
    expect(sent.map(({ json }) => json)).toEqual([
      '{"s":0,"p":[0],"f":1}',
      ...Array(3).fill('{"s":0,"p":[0]}'),
    ]);
  });

  it('are sent again where the answer was lost, or their share was used up, until one deadline', async () => {
    const { reads, sent } = open(
      failed('OUTCOME_UNKNOWN', { reason: 'lost' }),
      failed('RATE_LIMITED', { retryAfterMs: 5 }),
    );
    expect(await reads.all(request())).toHaveLength(2);
    expect(new Set(sent.map(({ due }) => due)).size).toBe(1);
    expect(sent).toHaveLength(3);
    const lost = open(...Array.from({ length: 50 }, () => failed('OUTCOME_UNKNOWN', { reason: 'lost' })));
    expect(await codeOf(lost.reads.all(request(400)))).toBe('TIMEOUT');
    expect(lost.sent.length).toBeLessThan(12);
    const late = open(failed('RATE_LIMITED', { retryAfterMs: 500 }));
    expect(await codeOf(late.reads.all(request(100)))).toBe('RATE_LIMITED');
    expect(late.sent).toHaveLength(1);
  });

  it('end with errors of a read: nothing is unknown', async () => {
    const unknown = (details?: ErrorDetails) => open(failed('OUTCOME_UNKNOWN', details)).reads.all(request());
    expect(await codeOf(unknown())).toBe('TIMEOUT');
    expect(await codeOf(unknown({ reason: 'closed' }))).toBe('CLOSED');
    expect(await codeOf(unknown({ reason: 'paused', holders: [] }))).toBe('TENANT_PAUSED');
    expect(await codeOf(open(failed('READ_TOO_COSTLY')).reads.all(request()))).toBe('READ_TOO_COSTLY');
    const controller = new AbortController();
    controller.abort();
    expect(await codeOf(open().reads.all(request(1_000, controller.signal)))).toBe('ABORTED');
    const three: WriteAnswer = { ...ROWS, result: { c: ['id'], r: [[1], [2], [3]], n: 0, i: 0 } };
    expect(await codeOf(open(three).reads.all(request()))).toBe('RESULT_TOO_LARGE');
  });

  it('look into the ledger', async () => {
    const row: WriteAnswer = {
      ...ROWS,
      result: { c: ['commit_seq', 'next_op', 'results'], r: [[5, null, '[[1,1]]']], n: 0, i: 0 },
    };
    expect(await open(row).reads.look('acme', 'w-1', [0])).toEqual({
      kind: 'found',
      results: [[1, 1]],
      commitSeq: 5,
    });
    expect(await open(failed('TENANT_NOT_FOUND')).reads.look('acme', 'w-1', [0])).toEqual({ kind: 'absent' });
    expect(await codeOf(open(failed('TENANT_UNAVAILABLE')).reads.look('acme', 'w-1', [0]))).toBe(
      'TENANT_UNAVAILABLE',
    );
  });
});
