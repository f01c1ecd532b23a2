import { LIMITS } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { decodeSteps } from '../settle/decode-steps.ts';
import type { Step, StepsRequest } from '../steps-types.ts';
import { encodeSteps } from './encode-steps.ts';
import { encodeStatement } from './encoded-write.ts';

const TRANSACTION = 't-01234567-89ab-7def-8123-456789abcdef';
const steps = (...texts: string[]): Step[] => texts.map(sql => ({ sql }));

describe('a request of steps', () => {
  it.each<[string, StepsRequest, 'b' | 's' | undefined]>([
    ['writes', { steps: steps('INSERT INTO t VALUES (1)', 'SELECT 1') }, undefined],
    [
      'a write that may be continued',
      { steps: steps('INSERT INTO t VALUES (1)'), interactive: true },
      undefined,
    ],
    ['a session that is as others are', { steps: steps('SELECT 1'), foreignKeys: 'on' }, undefined],
    ['a session without foreign keys', { steps: steps('DELETE FROM t'), foreignKeys: 'off' }, 'b'],
    ['a whole transaction', { steps: steps('BEGIN', 'DELETE FROM t', 'COMMIT') }, undefined],
    ['what is not allowed', { steps: steps('ATTACH x AS y', 'BEGIN CONCURRENT') }, undefined],
    ['a transaction that may stay open', { steps: steps('BEGIN'), interactive: true }, 'b'],
    [
      'one that a script begins',
      { steps: [{ sql: 'SELECT 1; BEGIN', script: true }], interactive: true },
      'b',
    ],
    ['savepoints', { steps: steps('SAVEPOINT a', 'RELEASE a') }, 'b'],
    ['a PRAGMA of the connection', { steps: steps('PRAGMA foreign_keys=off', 'BEGIN', 'COMMIT') }, 'b'],
    ['what expects a state', { steps: steps('DELETE FROM t'), expectCommitSeq: 3 }, 'b'],
    ['what continues a transaction', { steps: steps('COMMIT'), transaction: TRANSACTION }, 's'],
  ])('%s: travels in the job that it needs', (_, request, alone) => {
    expect(encodeSteps(request, 1_000).alone).toBe(alone);
  });

  it('travels as its caller has classified it', () => {
    const alone = (step: Step, interactive = false) =>
      encodeSteps({ steps: [step], interactive }, 1_000).alone;
    expect(alone({ sql: 'SELECT 1', kinds: ['statement', 'savepoint'] })).toBe('b');
    expect(alone({ sql: 'SELECT 1', kinds: ['begin'] })).toBe(undefined);
    expect(alone({ sql: 'SELECT 1', kinds: ['begin'] }, true)).toBe('b');
    expect(alone({ sql: 'SAVEPOINT a', kinds: ['statement'] })).toBe(undefined);
  });

  it('names the request and the sender, as each write does', () => {
    const origin = { requestId: 'r-1', sender: 'a-token' };
    const { format } = encodeSteps({ steps: steps('DELETE FROM t') }, 1_000, origin);
    expect(JSON.parse(format([0]))).toMatchObject({ r: 'r-1', o: 'a-token' });
    const write = encodeStatement({ sql: 'DELETE FROM t', params: [] }, origin);
    expect(JSON.parse(write.format([0]))).toEqual({ s: 0, r: 'r-1', o: 'a-token' });
    for (const sender of ['', 'a"b', 'x'.repeat(65)])
      expect(() => encodeStatement({ sql: 'DELETE FROM t', params: [] }, { sender })).toThrow(
        'sender must match',
      );
  });

  it('has on the wire what it needs, and each text once', () => {
    const { format, sql } = encodeSteps(
      {
        steps: [
          { sql: 'INSERT INTO t VALUES (?)', params: [1n], rows: false },
          { sql: 'INSERT INTO t VALUES (?)', params: [2], condition: { type: 'ok', step: 0 } },
          { sql: 'DELETE FROM t', script: true },
          { sql: 'SELECT 1', describe: true },
        ],
        transaction: TRANSACTION,
        interactive: true,
        foreignKeys: 'off',
      },
      1_000,
    );
    expect(sql).toHaveLength(4);
    expect(JSON.parse(format([0, 0, 1, 2]))).toEqual({
      q: [
        { s: 0, p: [{ i: '1' }], n: 1 },
        { s: 0, p: [2], c: { type: 'ok', step: 0 } },
        { s: 1, x: 1 },
        { s: 2, d: 1 },
      ],
      tx: TRANSACTION,
      i: 1,
      fk: 0,
    });
  });

  it('has a step that its sender refuses as an error under its condition, and never its text', () => {
    const refused = { code: 'INVALID_VALUE', message: 'No.' } as const;
    const begin = { sql: 'SAVEPOINT s', params: [1], refused, condition: { type: 'ok', step: 0 } } as const;
    const request = { steps: [...steps('DELETE FROM t'), begin] };
    const { format, sql, alone } = encodeSteps(request, 1_000);
    expect([sql, alone]).toEqual([['DELETE FROM t', ''], undefined]);
    expect(JSON.parse(format([0, 1]))).toEqual({
      q: [{ s: 0 }, { s: 1, e: { ...refused, details: {} }, c: begin.condition }],
    });
  });

  it('goes in a job of reads where it only reads', () => {
    const steps = [{ sql: 'BEGIN' }, { sql: 'SELECT 1' }];
    const request = { steps, readOnly: 'inside', expectCommitSeq: 7, expectIncarnation: 'ab' } as const;
    const encoded = encodeSteps(request, 1_000);
    expect(encoded).toMatchObject({ isRead: true });
    expect(encoded.alone).toBeUndefined();
    expect(JSON.parse(encoded.format([0, 1]))).toEqual({ q: [{ s: 0 }, { s: 1 }], rt: 1, at: 7, in: 'ab' });
    for (const more of [{ interactive: true }, { foreignKeys: 'on' }] as const) {
      expect(() => encodeSteps({ steps, readOnly: 'outside', ...more }, 1_000)).toThrow(/readOnly/);
    }
  });

  it('says until when it makes sense to begin, where it may hold others up', () => {
    const before = Date.now();
    const { format } = encodeSteps({ steps: steps('BEGIN'), interactive: true }, 1_000);
    const { by } = JSON.parse(format([0])) as { by: number };
    expect(by).toBeGreaterThanOrEqual(before + 1_000);
    expect(by).toBeLessThanOrEqual(Date.now() + 1_000);
  });

  it.each<[string, unknown]>([
    ['INVALID_ARGUMENT', { steps: [] }],
    ['INVALID_ARGUMENT', { steps: steps('SELECT 1'), transaction: 'x' }],
    ['INVALID_ARGUMENT', { steps: steps('SELECT 1'), foreignKeys: false }],
    ['INVALID_ARGUMENT', { steps: [{ sql: 'SELECT 1', condition: { type: 'ok', step: 1 } }] }],
    ['INVALID_VALUE', { steps: [{ sql: 'SELECT ?', params: [Number.NaN] }] }],
    [
      'STATEMENT_TOO_LARGE',
      { steps: Array.from({ length: LIMITS.maxSteps + 1 }, () => ({ sql: 'SELECT 1' })) },
    ],
    ['STATEMENT_TOO_LARGE', { steps: [{ sql: 'SELECT ?', params: ['x'.repeat(LIMITS.maxOperationBytes)] }] }],
  ])('is refused with %s before anything is sent', (code, request) => {
    expect(() => encodeSteps(request as StepsRequest, 1_000)).toThrow(expect.objectContaining({ code }));
  });
});

describe('the answer to steps', () => {
  it('keeps integers and reals apart', () => {
    const rows = [[1, { f: '1' }, 1.5, { i: '9007199254740993' }, null, 'x', { f: 'Infinity' }]] as const;
    const answer = decodeSteps(
      {
        q: [
          { r: { c: ['a', 'b'], r: rows, n: 0, i: 0 }, d: ['INT', null], ms: 0.5 },
          { r: [1, 7], ms: 1 },
          { e: { code: 'SQL_ERROR', message: 'm', details: { sqliteCode: 'SQLITE_ERROR' } } },
          0,
          { r: [0, 0], ms: 0, ro: 1 },
        ],
        a: 0,
        tx: { id: TRANSACTION, until: 9 },
        fk: 0,
        seq: 0,
      },
      5,
    );
    expect(answer).toEqual({
      results: [
        {
          type: 'ok',
          columns: [
            { name: 'a', decltype: 'INT' },
            { name: 'b', decltype: null },
          ],
          rows: [[1n, 1, 1.5, 9_007_199_254_740_993n, null, 'x', Number.POSITIVE_INFINITY]],
          changes: 0,
          lastInsertRowid: null,
          durationMs: 0.5,
        },
        { type: 'ok', columns: [], rows: [], changes: 1, lastInsertRowid: 7, durationMs: 1 },
        { type: 'error', error: { code: 'SQL_ERROR', message: 'm', sqliteCode: 'SQLITE_ERROR' } },
        { type: 'skipped' },
        {
          type: 'ok',
          columns: [],
          rows: [],
          changes: 0,
          lastInsertRowid: null,
          durationMs: 0,
          readonly: true,
        },
      ],
      autocommit: false,
      transaction: { id: TRANSACTION, expiresAt: 9 },
      foreignKeys: 'off',
      commitSeq: 5,
    });
  });
});
