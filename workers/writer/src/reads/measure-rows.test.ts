import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { compileStatement } from '../batch/statement-cache.ts';
import { compileMeasure } from './measure-rows.ts';

function open() {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  db.exec(
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 'é', NULL), (2, zeroblob(9), 1.5)",
  );
  return (sql: string) => compileMeasure(db, compileStatement(db, sql));
}

it.each([
  [
    'SELECT a, b FROM t',
    [],
    [
      [2, null],
      [9, 3],
    ],
  ],
  ['; /* ; */ SELECT a FROM t WHERE id = ?; -- ;', [2], [[9]]],
  ['SELECT t.*, a AS "x;" FROM t ORDER BY id DESC LIMIT 1', [], [[1, 9, 3, 9]]],
  ['WITH m AS (SELECT a FROM t) SELECT a, a FROM m WHERE a = @a', [{ a: 'é' }], [[2, 2]]],
  ['SELECT a FROM t UNION ALL SELECT b FROM t', [], [[2], [9], [null], [3]]],
] as const)('measures the rows of %s', (sql, bound, sizes) => {
  expect(open()(sql)!.all(...bound)).toEqual(sizes);
});

it.each([
  'SELECT count(*) FROM t',
  'SELECT 1',
  'PRAGMA user_version',
  'EXPLAIN SELECT a FROM t',
  'VALUES (1)',
])('does not measure %s', sql => {
  expect(open()(sql)).toBeUndefined();
});
