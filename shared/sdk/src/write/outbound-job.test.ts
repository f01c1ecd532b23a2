import { LIMITS, PROTOCOL_VERSION, parseWriteJob, readLiveClient } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { encodeSteps } from './encode-steps.ts';
import { type EncodedWrite, encodeScript, encodeStatement, encodeTransaction } from './encoded-write.ts';
import { OutboundJob } from './outbound-job.ts';
import { PendingWrite } from './pending-write.ts';

const CALLER = { resolve: () => {}, reject: () => {} };
const HOLDER = { onPayloadDropped: () => {}, onSettled: () => {} };

function jobOf(...payloads: EncodedWrite[]): OutboundJob {
  return jobWith({}, ...payloads);
}

function jobWith(head: { traceparents?: string[]; dir?: string }, ...payloads: EncodedWrite[]): OutboundJob {
  const writes = payloads.map(payload => new PendingWrite(payload, 'commit', 1, undefined, CALLER, HOLDER));
  return new OutboundJob('c-1', 'acme', 3, writes, head.traceparents, head.dir);
}

function codeOf(run: () => unknown): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    const { code, details } = error as { code?: string; details?: { statementIndex?: number } };
    return details?.statementIndex === undefined ? code : `${code} at ${details.statementIndex}`;
  }
}

describe('OutboundJob', () => {
  it('names the client that has to be there only where a transaction may stay open', () => {
    const steps = [{ sql: 'BEGIN IMMEDIATE' }];
    const clientOf = (payload: EncodedWrite) => readLiveClient(String(jobOf(payload).message));
    expect(clientOf(encodeSteps({ steps, interactive: true }, 1_000))).toBe('c-1');
    // Whatever else stands at the beginning.
    const traceparents = ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'];
    for (const head of [{ dir: 'd-1' }, { traceparents }, { dir: 'd-1', traceparents }]) {
      const job = jobWith(head, encodeSteps({ steps, interactive: true }, 1_000));
      expect(readLiveClient(String(job.message))).toBe('c-1');
    }
    expect(clientOf(encodeSteps({ steps: [{ sql: 'SAVEPOINT a' }] }, 1_000))).toBeUndefined();
    const transaction = 't-01234567-89ab-7cde-8f01-23456789abcd';
    expect(clientOf(encodeSteps({ steps, interactive: true, transaction }, 1_000))).toBeUndefined();
  });

  it('carries statements, transactions and scripts, each SQL text once', () => {
    const insert = 'INSERT INTO t VALUES (?, ?)';
    const job = jobOf(
      encodeStatement({ sql: insert, params: [1, 'é "quoted" \u2028'] }, { idempotencyKey: 'order "7"' }),
      encodeStatement({ sql: 'DELETE FROM t', params: [] }, { detached: true }),
      encodeTransaction(
        [
          { sql: 'DELETE FROM t', params: [], expect: { changes: 1 } },
          { sql: insert, params: [2n ** 63n - 1n, new Uint8Array([1, 2])] },
          { sql: insert, params: { a: null, b: -0 } },
        ],
        { idempotencyKey: 'k' },
      ),
      encodeScript('DELETE FROM t', {}),
      encodeStatement({ sql: insert, params: [true, 1.5e300] }, {}),
    );
    expect(parseWriteJob(String(job.message))).toEqual({
      v: PROTOCOL_VERSION,
      client: 'c-1',
      seq: 3,
      at: expect.any(Number),
      sql: [insert, 'DELETE FROM t'],
      ops: [
        { s: 0, p: [1, 'é "quoted" \u2028'], k: 'order "7"' },
        { s: 1, d: 1 },
        {
          t: [
            { s: 1, e: { changes: 1 } },
            { s: 0, p: [{ i: '9223372036854775807' }, { b: 'AQI=' }] },
            { s: 0, p: { a: null, b: { f: '-0' } } },
          ],
          k: 'k',
        },
        { x: 1 },
        { s: 0, p: [1, 1.5e300] },
      ],
    });
    expect(job.name).toBe('acme · 5 writes · INSERT INTO t VALUES (?, ?)');
    expect(job.writes[2]?.receipt).toBe(`${job.id}.2`);
  });

  it('is named in the singular for one write', () => {
    expect(jobOf(encodeStatement({ sql: 'DELETE FROM t', params: [] }, {})).name).toBe(
      'acme · 1 write · DELETE FROM t',
    );
  });

  it('knows the size of what it carries, within a little', () => {
    const payload = encodeStatement({ sql: 'x', params: ['é'.repeat(1_000), Buffer.alloc(3_000)] }, {});
    const bytes = Buffer.byteLength(payload.format([499]));
    expect(payload.operationBytes).toBeGreaterThanOrEqual(bytes);
    expect(payload.operationBytes).toBeLessThan(bytes + 50);
  });
});

describe('encoding a write', () => {
  it('refuses what cannot be stored, or is too large', () => {
    const one = (value: unknown) => () => encodeStatement({ sql: 'x', params: [value] as never }, {});
    expect(codeOf(one(Number.NaN))).toBe('INVALID_VALUE');
    expect(codeOf(one(undefined))).toBe('INVALID_VALUE');
    expect(codeOf(one(new Date()))).toBe('INVALID_VALUE');
    expect(codeOf(one(2n ** 63n))).toBe('INVALID_VALUE');
    expect(codeOf(one('\ud800'))).toBe('INVALID_VALUE');
    expect(codeOf(one('x'.repeat(LIMITS.maxOperationBytes)))).toBe('STATEMENT_TOO_LARGE');
    const many = Array.from({ length: LIMITS.maxParameters + 1 }, () => 1);
    expect(codeOf(() => encodeStatement({ sql: 'x', params: many }, {}))).toBe('STATEMENT_TOO_LARGE');
  });

  it('names the statement of a transaction that is wrong', () => {
    const good = { sql: 'x', params: [] };
    expect(codeOf(() => encodeTransaction([good, { sql: 'x', params: [Number.NaN] }], {}))).toBe(
      'INVALID_VALUE at 1',
    );
    for (const expectation of [{ changes: -1 }, { rows: 1.5 }, { chnages: 1 }, null, 5]) {
      const bad = { ...good, expect: expectation as never };
      expect(codeOf(() => encodeTransaction([good, good, bad], {}))).toBe('INVALID_ARGUMENT at 2');
    }
  });

  it.each(['', 'x'.repeat(LIMITS.maxIdempotencyKeyLength + 1), 7, '\ud800'])(
    'refuses the idempotency key %j',
    key => {
      const flags = { idempotencyKey: key as string };
      expect(codeOf(() => encodeStatement({ sql: 'x', params: [] }, flags))).toBe('INVALID_ARGUMENT');
    },
  );
});
