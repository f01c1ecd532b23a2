import { expect, it } from 'vitest';
import { toStatementsJson } from './sqld-answers.ts';

const ok = (row: (null | number | bigint | string | Uint8Array)[]) =>
  ({
    type: 'ok',
    columns: row.map((_, index) => ({ name: `c"${index}`, decltype: null })),
    rows: [row],
    changes: 0,
    lastInsertRowid: null,
    durationMs: 0.5,
  }) as const;

it('writes integers, reals and blobs so that each keeps its type', () => {
  const values = [1n, -9223372036854775808n, 1, 1.5, -0, 1e300, 1e21, Number.NEGATIVE_INFINITY, 'a"', null];
  const json = toStatementsJson([ok([...values, new Uint8Array([255])])]);
  expect(json).toContain(
    '"rows":[[1,-9223372036854775808,1.0,1.5,-0.0,1e+300,1e+21,-1e999,"a\\"",null,{"base64":"/w"}]]',
  );
  expect(JSON.parse(json)[0].results.columns[0]).toBe('c"0');
});

it('has an entry for each statement, also for one that did not run', () => {
  const error = { code: 'SQL_ERROR', message: 'no such table: t', sqliteCode: 'SQLITE_ERROR' } as const;
  const json = toStatementsJson([{ type: 'error', error }, { type: 'skipped' }]);
  expect(JSON.parse(json)).toEqual([{ error: 'no such table: t' }, null]);
});
