import { hashRow, OnewriterError, RowsHash } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import type { HeldRow } from './held-rows.ts';
import { ImportCount } from './import-count.ts';

const ROW = { sql: 'INSERT INTO t VALUES (?)', values: '1' };

function held(number: number, error?: OnewriterError): HeldRow {
  const hash = hashRow(number, ROW.sql, ROW.values);
  return { number, line: number + 1, bytes: 10, row: ROW, hash, error };
}

function open(maxRejected = 2) {
  const failures: OnewriterError[] = [];
  return { failures, count: new ImportCount(maxRejected, error => failures.push(error)) };
}

describe('ImportCount', () => {
  it('hashes the rows that were applied, now or before', () => {
    const { count } = open();
    count.accept(held(0));
    count.skip(held(2));
    const hash = new RowsHash();
    for (const number of [0, 2]) hash.toggle(hashRow(number, ROW.sql, ROW.values));
    expect(count.hash).toBe(hash.toString());
    expect(count.progress).toMatchObject({ accepted: 1, skipped: 1 });
  });

  it('ends with the reason of the first row that is rejected, of a dump', () => {
    const failures: OnewriterError[] = [];
    const count = new ImportCount(0, error => failures.push(error), true);
    count.reject(held(4, new OnewriterError('CONSTRAINT_VIOLATION', 'there is one already')));
    expect(failures).toMatchObject([
      { code: 'CONSTRAINT_VIOLATION', message: 'Line 5: there is one already' },
    ]);
    expect(count.takeRejections()).toEqual([]);
  });

  it('does not count rows as accepted that were committed before', () => {
    const { count } = open();
    count.knowBefore(1);
    for (const number of [0, 1]) count.accept(held(number));
    expect(count.progress).toMatchObject({ accepted: 1, skipped: 1 });
  });

  it('says why a row is rejected: its own reason, what the writer said, or that it is not known', () => {
    const { count, failures } = open(3);
    const error = new OnewriterError('CONSTRAINT_VIOLATION', 'the writer said so');
    const result = { type: 'applied', applied: 0, ignored: 0, known: 0, next: 3, commitSeq: 9 } as const;
    count.note({ ...result, refused: [{ row: 1, error }] });
    for (const row of [held(0, new OnewriterError('INVALID_VALUE', 'its own')), held(1), held(2)])
      count.reject(row);
    expect(count.takeRejections().map(event => 'error' in event && event.error.message)).toEqual([
      'its own',
      'the writer said so',
      'The row was refused; the reason was not kept.',
    ]);
    expect(count.takeRejections()).toEqual([]);
    expect(count.progress).toMatchObject({ rejected: 3, commitSeq: 9 });
    expect(failures).toEqual([]);
    count.reject(held(7));
    expect(failures).toMatchObject([{ code: 'INVALID_ARGUMENT', details: { line: 8 } }]);
    expect(count.takeRejections()).toEqual([]);
  });

  it('never says that more rows were ignored than accepted, nor goes back to an older commit', () => {
    const { count } = open();
    const result = { type: 'applied', applied: 1, ignored: 5, known: 0, next: 1, refused: [] } as const;
    count.note({ ...result, commitSeq: 9 });
    count.reach(4);
    count.accept(held(0));
    count.lose(3);
    expect(count.progress).toMatchObject({ accepted: 1, ignored: 1, unknown: 3, commitSeq: 9 });
  });
});
