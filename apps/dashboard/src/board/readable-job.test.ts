import { PROTOCOL_VERSION, type WriteJobMessage } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { abbreviate, DROPPED_DATA, toReadableJob } from './readable-job.ts';

function message(part: Partial<WriteJobMessage>): WriteJobMessage {
  return { v: PROTOCOL_VERSION, client: 'c-1', seq: 2, at: 0, sql: ['SELECT 1'], ops: [{ s: 0 }], ...part };
}

describe('toReadableJob', () => {
  it('shows steps, their conditions and the transaction they continue', () => {
    const job = message({
      sql: ['INSERT INTO t VALUES (?)', 'COMMIT'],
      ops: [
        {
          q: [
            { s: 0, p: [1] },
            { s: 1, c: { type: 'ok', step: 0 } },
          ],
          tx: 't-1',
          i: 1,
        },
      ],
    });
    expect(toReadableJob('acme', job)).toMatchObject({
      writes: [
        {
          steps: [
            { sql: 'INSERT INTO t VALUES (?)', params: [1] },
            { sql: 'COMMIT', condition: { type: 'ok', step: 0 } },
          ],
          goesOnWith: 't-1',
        },
      ],
    });
  });

  it('shows how many rows of an import there are', () => {
    const m = { k: 'import-7', f: '', at: 0, h: '', max: 100 };
    const job = message({ sql: ['INSERT INTO t VALUES (?)'], ops: [{ w: [0, [0, 'secret'], [0, 2]], m }] });
    expect(toReadableJob('acme', job)).toMatchObject({
      writes: [{ sql: 'INSERT INTO t VALUES (?)', rowsOfImport: 3, idempotencyKey: 'import-7' }],
    });
  });

  it('shows statements, transactions and scripts with their texts and values', () => {
    const job = message({
      sql: ['INSERT INTO t VALUES (?, ?)', 'UPDATE t SET a = @a', 'CREATE TABLE t(a); CREATE TABLE u(b)'],
      ops: [
        { s: 0, p: [{ i: '9007199254740993' }, { b: 'AQL/' }] },
        { t: [{ s: 1, p: { a: null }, e: { changes: 1 } }, { s: 0 }], k: 'order-77' },
        { x: 2, d: 1 },
      ],
    });
    expect(toReadableJob('acme', job)).toEqual({
      tenant: 'acme',
      client: 'c-1',
      seq: 2,
      sentAt: '1970-01-01T00:00:00.000Z',
      writes: [
        {
          sql: 'INSERT INTO t VALUES (?, ?)',
          params: ['9007199254740993 (integer)', 'blob, 3 bytes: 0102ff'],
        },
        {
          transaction: [
            { sql: 'UPDATE t SET a = @a', params: { a: null }, expect: { changes: 1 } },
            { sql: 'INSERT INTO t VALUES (?, ?)' },
          ],
          idempotencyKey: 'order-77',
        },
        { script: 'CREATE TABLE t(a); CREATE TABLE u(b)', enqueued: true },
      ],
    });
  });

  it('is bounded, and says what it leaves out', () => {
    const job = message({
      sql: ['x'.repeat(100_000)],
      ops: Array.from({ length: 500 }, () => ({
        s: 0,
        p: ['y'.repeat(10_000), ...Array.from({ length: 1_000 }, () => 1)],
      })),
    });
    const shown = toReadableJob('acme', job) as { writes: { params: unknown[] }[]; notShown: string };
    expect(shown.writes).toHaveLength(100);
    expect(shown.notShown).toBe('400 more writes');
    expect(shown.writes[0]!.params.at(-1)).toBe('… 901 more parameters');
    expect(JSON.stringify(shown).length).toBeLessThan(600_000);
    expect(JSON.stringify(job).length).toBeGreaterThan(5_000_000);
  });

  it('says that the data of a finished job is not kept', () => {
    expect(toReadableJob('acme', {})).toBe(DROPPED_DATA);
  });

  it.each([null, 'text', { v: 99, ops: [], sql: [] }, { v: PROTOCOL_VERSION }])(
    'shows what is not a message of this version as it is: %j',
    data => {
      expect(toReadableJob('acme', data)).toBe(data);
    },
  );

  it('does not fail on a message that is wrong inside', () => {
    const wrong = message({ at: 9e15, ops: [{ s: 7 }] });
    expect(toReadableJob('acme', wrong)).toMatchObject({ writes: [{ sql: '(no SQL text 7 in this job)' }] });
  });
});

describe('abbreviate', () => {
  it('shortens blobs and lists anywhere', () => {
    expect(abbreviate({ r: [[{ b: 'AQ==' }, { i: '5' }, { f: '-0' }]], n: 1 })).toEqual({
      r: [['blob, 1 bytes: 01', '5 (integer)', '-0 (real)']],
      n: 1,
    });
    expect((abbreviate(Array.from({ length: 101 }, () => 1)) as unknown[]).at(-1)).toBe('… 1 more entries');
  });
});
