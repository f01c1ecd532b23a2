import { OnewriterError } from '@onewriter/protocol';
import type { TransactionStatement } from '@onewriter/sdk';
import { expect, it } from 'vitest';
import type { TenantReads } from '../../reads/tenant-reads.ts';
import { Leniency } from './leniency.ts';

const WAIT = { timeoutMs: 1_000, signal: new AbortController().signal };

/** A leniency at a database that refuses what is in `refusals`, each text with its message. */
function setUp(
  refusals: Readonly<Record<string, string>>,
  settings = { doubleQuotes: true, repeatedDdl: true },
) {
  const uses: [string, string, number][] = [];
  const asked: (readonly string[])[] = [];
  const read: TenantReads['read'] = async () => ({
    results: [
      { columns: ['name'], rows: [['Name']] },
      { columns: ['value'], rows: [] },
    ],
    commitSeq: 1,
  });
  const leniency = new Leniency({
    ...settings,
    reads: { read },
    uses: { count: (...use) => void uses.push(use) },
  });
  const run = (...sqls: readonly string[]) =>
    leniency.run(
      'acme',
      sqls.map(sql => ({ sql })),
      () => WAIT,
      async (statements: readonly TransactionStatement[]) => {
        asked.push(statements.map(({ sql }) => sql));
        for (const [statementIndex, { sql }] of statements.entries()) {
          const message = refusals[sql];
          if (message !== undefined) throw new OnewriterError('SQL_ERROR', message, { statementIndex });
        }
        return 'applied';
      },
    );
  return { run, uses, asked };
}

const CREATE = 'CREATE TABLE t(a)';
const ADD = 'ALTER TABLE t ADD COLUMN a';
const EXISTS = 'table t already exists';
const HAS = 'duplicate column name: a';
const UNRESOLVED = (name: string) =>
  `no such column: "${name}" - should this be a string literal in single-quotes?`;

it('runs the rest where a table, index or column is there', async () => {
  const { run, uses, asked } = setUp({
    [CREATE]: EXISTS,
    [ADD]: HAS,
  });
  expect(await run(CREATE, 'CREATE INDEX i', ADD)).toEqual({ result: 'applied', done: new Set([0, 2]) });
  expect(asked.at(-1)).toEqual(['SELECT 1 WHERE 0', 'CREATE INDEX i', 'SELECT 1 WHERE 0']);
  expect(uses).toEqual([['ddl', 'acme', 2]]);
});

it.each([
  ['CREATE TABLE t(a, a)', 'duplicate column name: a'],
  ['ALTER TABLE t RENAME TO u', 'there is already another table or index with this name: u'],
  ['ALTER TABLE t RENAME a TO b', 'error in table t after rename: duplicate column name: b'],
  ['CREATE INDEX t ON u(a)', 'there is already a table named t'],
  ['INSERT INTO t VALUES (1)', 'table t already exists'],
  ['CREATE TABLE v(a)', 'view v already exists'],
  ['CREATE TEMP VIEW t AS SELECT 1', 'table t already exists'],
])('does not take %s for done', async (sql, message) => {
  const { run, uses } = setUp({ [sql]: message });
  await expect(run(sql)).rejects.toThrow(message);
  expect(uses).toEqual([]);
});

it.each([
  [ADD, "UPDATE t SET a = 'default'"],
  [CREATE, '/* seed */ insert into t values (1)'],
  [CREATE, 'REPLACE INTO t VALUES (1)'],
  ['CREATE TABLE u AS SELECT * FROM t', 'DROP TABLE t', 'ALTER TABLE u RENAME TO t'],
  ['CREATE TABLE u AS SELECT * FROM t', 'ALTER TABLE "t" RENAME TO old'],
  [ADD, 'ALTER TABLE main.t DROP b'],
  [ADD, 'WITH x AS (SELECT 1) DELETE FROM t'],
])('fails as a whole where what stands beside %s would run once more: %s', async (repeated, ...beside) => {
  const { run, uses } = setUp({ [CREATE]: EXISTS, 'CREATE TABLE u AS SELECT * FROM t': EXISTS, [ADD]: HAS });
  await expect(run(repeated, ...beside)).rejects.toMatchObject({ code: 'SQL_ERROR' });
  await expect(run(...beside, repeated)).rejects.toMatchObject({ code: 'SQL_ERROR' });
  expect(uses).toEqual([]);
});

it('finds the statement behind comments and semicolons', async () => {
  const sql = ';/* at each start */ create TABLE t(a)';
  const { run } = setUp({ [sql]: EXISTS });
  expect((await run(sql)).done).toEqual(new Set([0]));
});

it.each([
  'ALTER TABLE t ADD b',
  'ALTER TABLE "main"."t" ADD COLUMN b',
  'PRAGMA user_version = 2',
  'SELECT 1',
])('passes over what is there beside %s', async beside => {
  const { run } = setUp({ [CREATE]: EXISTS });
  expect((await run(CREATE, beside)).done).toEqual(new Set([0]));
});

it('writes strings in single quotes', async () => {
  const { run, uses, asked } = setUp({ 'VALUES ("x")': UNRESOLVED('x') });
  expect(await run('SELECT 1', 'VALUES ("x")')).toEqual({ result: 'applied', done: new Set() });
  expect(asked.at(-1)).toEqual(['SELECT 1', "VALUES ('x')"]);
  expect(uses).toEqual([['strings', 'acme', 1]]);
});

it('refuses what is in doubt, and names it', async () => {
  const { run, uses } = setUp({ 'VALUES ("name"), ("name")': UNRESOLVED('name') });
  await expect(run('VALUES ("name"), ("name")')).rejects.toMatchObject({
    code: 'STATEMENT_NOT_ALLOWED',
    message: expect.stringContaining('"name"'),
    details: { statementIndex: 0 },
  });
  expect(uses).toEqual([]);
});

it('takes a name that the same transaction defines for a column', async () => {
  const sql = 'VALUES ("b"), ("b")';
  const { run } = setUp({ [sql]: UNRESOLVED('b') });
  await expect(run('CREATE TABLE u(B)', sql)).rejects.toMatchObject({ code: 'STATEMENT_NOT_ALLOWED' });
});

it('changes nothing without the settings', async () => {
  const off = { doubleQuotes: false, repeatedDdl: false };
  const { run, asked } = setUp({ [CREATE]: EXISTS, 'VALUES ("x")': UNRESOLVED('x') }, off);
  await expect(run(CREATE)).rejects.toMatchObject({ code: 'SQL_ERROR' });
  await expect(run('VALUES ("x")')).rejects.toMatchObject({ code: 'SQL_ERROR' });
  expect(asked).toHaveLength(2);
});

it('gives up after many changes', async () => {
  const sqls = Array.from({ length: 120 }, (_, n) => `ALTER TABLE t ADD c${n}`);
  const { run, asked } = setUp(Object.fromEntries(sqls.map(sql => [sql, 'duplicate column name: c'])));
  await expect(run(...sqls)).rejects.toMatchObject({ code: 'SQL_ERROR' });
  expect(asked).toHaveLength(101);
});
