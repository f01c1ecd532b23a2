import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parametersOf } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { startCpuClock } from '../../test-support/cpu-clock.ts';
import { QuickReads } from './quick-reads.ts';
import type { ReadAnswer, ReadRequest, TenantReads } from './tenant-reads.ts';

const OTHERS: ReadAnswer = { results: [], commitSeq: -1 };
let explained = 0;

let dataDir: string;
let db: Database.Database;
let reads: QuickReads;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-quick-'));
  mkdirSync(join(dataDir, 'tenants/acme'), { recursive: true });
  db = new Database(join(dataDir, 'tenants/acme/tenant.db'));
  db.pragma('journal_mode = WAL');
  db.exec(`
    CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE, a, b, other, UNIQUE (a, b));
    CREATE INDEX by_other ON t(other);
    CREATE VIEW v AS SELECT * FROM t;
    CREATE VIEW costly AS SELECT id, replace(hex(zeroblob(1e8)), '0', 'xx') AS y FROM t;
    CREATE TABLE generated(id INTEGER PRIMARY KEY, y AS (length(hex(zeroblob(id)))));
    CREATE VIRTUAL TABLE text USING fts5(body);
    INSERT INTO t VALUES (1, 'one', 1, 1, 1), (2, 'two', 1, 2, 1), (9007199254740993, 'big', 3, x'00ff', 9007199254740993);
  `);
  // Not in the caller's turn, as a process would not.
  const read = (request: ReadRequest) =>
    new Promise<void>(resolve => setImmediate(resolve)).then(() => explain(request));
  const others = { read, forget() {}, openFiles: 0 };
  reads = new QuickReads(
    { dataDir, dbFile: 'tenant.db', busyTimeoutMs: 1_000 },
    others as unknown as TenantReads,
    64,
  );
  onTestFinished(() => {
    reads.close();
    db.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
});

/** What a process of reads answers: here only explanations. */
function explain({ statements }: ReadRequest): ReadAnswer {
  if (!statements[0]?.sql.startsWith('EXPLAIN')) return OTHERS;
  explained++;
  const results = statements.map(({ sql, params }) => {
    const statement = db.prepare(sql).raw();
    const values = parametersOf(sql).toArguments((params ?? []) as never);
    return { columns: statement.columns().map(({ name }) => name), rows: statement.all(...values) as never };
  });
  return { results, commitSeq: undefined };
}

/** Reads once so that the statement is known, and again. */
async function read(
  sql: string,
  params?: ReadRequest['statements'][0]['params'],
  more?: Partial<ReadRequest>,
): Promise<ReadAnswer> {
  const request = { tenant: 'acme', statements: [{ sql, params }], ...more };
  const first = await reads.read(request);
  await reads.settled();
  return first === OTHERS ? reads.read(request) : first;
}

describe('runs here what finds one row by its key', () => {
  it.each([
    ['SELECT * FROM t WHERE id = ?', [2], [[2, 'two', 1, 2, 1]]],
    ['select name from t where name = @name', { name: 'one' }, [['one']]],
    ['SELECT other FROM t WHERE a = ? AND b = ?', [1, 2], [[1]]],
    ['SELECT v.name FROM v WHERE id = 1', [], [['one']]],
    ['SELECT id FROM t WHERE id = ?', [7], []],
    ['SELECT id FROM t WHERE (id = ?) AND (a >= 1);', [2], [[2]]],
    ['SELECT id AS "a b", id AS "a b" FROM t WHERE id = ? -- the end', [2], [[2, 2]]],
    ['SELECT id, b FROM t WHERE id = ?', [9007199254740993n], [[9007199254740993n, Buffer.from([0, 255])]]],
  ])('%s', async (sql, params, rows) => {
    const answer = await read(sql, params as never);
    expect(answer.results[0]?.rows).toEqual(rows);
    expect(answer.commitSeq).toBeUndefined();
  });
});

it('keeps integers apart from reals where that is asked for', async () => {
  db.exec('UPDATE t SET a = 7, b = 1.0 WHERE id = 2');
  const sql = 'SELECT id, a, b FROM t WHERE id = ?';
  expect((await read(sql, [2], { safeIntegers: true })).results[0]?.rows).toEqual([[2n, 7n, 1]]);
  expect((await read(sql, [2])).results[0]?.rows).toEqual([[2, 7, 1]]);
});

describe('leaves to the others what may take long, or fails', () => {
  it.each([
    'SELECT * FROM t',
    'SELECT * FROM t WHERE id > 1',
    'SELECT * FROM t WHERE other = 1',
    'SELECT * FROM t WHERE a = 1',
    'SELECT * FROM t WHERE id = 1 OR other = 1',
    'SELECT count(*) FROM t WHERE id = 1',
    "SELECT * FROM t WHERE id = 1 AND name LIKE '%a%a%a%'",
    "SELECT * FROM t WHERE id = 1 AND name GLOB '*a*a*'",
    "SELECT a -> '$.x' FROM t WHERE id = 1",
    'SELECT x.id FROM t x JOIN t y ON y.other = x.a WHERE x.id = 1',
    'SELECT 1',
    'SELECT x.name, y.name FROM t x JOIN t y ON y.id = x.a WHERE x.id = 2',
    `SELECT ${'id, '.repeat(300)}id FROM t WHERE id = 1`,
    'SELECT y FROM costly WHERE id = 1',
    'SELECT * FROM generated WHERE id = 1',
    'SELECT id FROM generated WHERE id = 1 AND y > 1',
    'SELECT a || b FROM t WHERE id = 1',
    'SELECT a * 2 FROM t WHERE id = 1',
    'SELECT id FROM t WHERE id = 1 AND EXISTS (SELECT 1 FROM t)',
    'SELECT id FROM t WHERE id IN (SELECT a FROM t)',
    'SELECT (SELECT count(*) FROM t) FROM t WHERE id = 1',
    'SELECT rowid FROM text WHERE rowid = 1',
    "SELECT key FROM json_each('[1]') WHERE id = 1",
    'SELECT * FROM missing WHERE id = 1',
    'WITH c AS NOT MATERIALIZED (SELECT 1) SELECT * FROM t WHERE id = 1',
    'PRAGMA schema_version',
    'SELECT * FROM t WHERE id = 1; DELETE FROM t',
    'DELETE FROM t WHERE id = 1 RETURNING id',
  ])('%s', async sql => {
    expect(await read(sql)).toBe(OTHERS);
    expect(db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3);
  });

  it('and whatever asks for more than one statement, or for a commit to wait for', async () => {
    const sql = 'SELECT * FROM t WHERE id = 1';
    expect(await read(sql, [], { minCommitSeq: 1 })).toBe(OTHERS);
    expect(await reads.read({ tenant: 'acme', statements: [{ sql }, { sql }] })).toBe(OTHERS);
    expect(await read('SELECT * FROM t WHERE id = ?', [1, 2])).toBe(OTHERS);
    expect(await reads.read({ tenant: 'nobody', statements: [{ sql }] })).toBe(OTHERS);
  });
});

it('leaves a large row to the others, without reading it', async () => {
  db.exec('UPDATE t SET other = zeroblob(1100000) WHERE id = 1');
  reads.forget('acme');
  // Compared here: a difference would be printed, byte by byte.
  expect((await read('SELECT other FROM t WHERE id = ?', [1])) === OTHERS).toBe(true);
});

it('leaves a row to the others that is large because it has one value many times', async () => {
  db.prepare('INSERT INTO t(id, name) VALUES (5, ?)').run('x'.repeat(100_000));
  const once = await read('SELECT name FROM t WHERE id = 5');
  expect(once.results[0]!.rows[0]).toHaveLength(1);
  const often = `SELECT ${Array.from({ length: 200 }, () => 'name').join()} FROM t WHERE id = 5`;
  expect(await read(often)).toBe(OTHERS);
});

it('leaves a generated column to the others that calls a function of a stored value', async () => {
  db.exec(`CREATE TABLE hidden(id INTEGER PRIMARY KEY, a, y AS (replace(hex(zeroblob(a)), '0', 'xxxx')));
    CREATE UNIQUE INDEX hidden_key ON hidden(a); CREATE VIEW seen AS SELECT id, y FROM hidden;
    INSERT INTO hidden(id, a) VALUES (1, 3)`);
  for (const sql of [
    'SELECT y FROM hidden WHERE id = 1',
    'SELECT * FROM hidden WHERE id = 1',
    'SELECT y FROM seen WHERE id = 1',
  ])
    expect(await read(sql), sql).toBe(OTHERS);
  expect((await read('SELECT a FROM hidden WHERE id = 1')).results[0]!.rows).toEqual([[3]]);
});

it('compiles nothing here that has not been explained elsewhere, once', async () => {
  const sql = 'SELECT name FROM t WHERE id = ?';
  const request = { tenant: 'acme', statements: [{ sql, params: [1] }] };
  explained = 0;
  expect(await reads.read(request)).toBe(OTHERS);
  await reads.settled();
  for (let count = 0; count < 3; count++) await reads.read(request);
  expect((await reads.read(request)).results[0]?.rows).toEqual([['one']]);
  expect(explained).toBe(1);
  // Views of views: compiling this takes a second here, and gigabytes with some more of them.
  db.exec('CREATE VIEW v0 AS SELECT id AS a FROM t');
  for (let index = 1; index <= 14; index++)
    db.exec(`CREATE VIEW v${index} AS SELECT a + a AS a FROM v${index - 1}`);
  const cpuMs = startCpuClock();
  const answer = reads.read({ tenant: 'acme', statements: [{ sql: 'SELECT a FROM v14 WHERE a = 1' }] });
  expect(cpuMs()).toBeLessThan(300);
  expect(await answer).toBe(OTHERS);
  await reads.settled();
});

it('looks at the plan again when the schema has changed', async () => {
  db.exec('CREATE TABLE u(k TEXT PRIMARY KEY, n); INSERT INTO u VALUES (1, 1)');
  const sql = 'SELECT n FROM u WHERE k = ?';
  expect((await read(sql, ['1'])).results[0]?.rows).toEqual([[1]]);
  db.exec('DROP TABLE u; CREATE TABLE u(n, k TEXT); INSERT INTO u VALUES (2, 1)');
  expect(await read(sql, ['1'])).toBe(OTHERS);
});

it('sees each commit at once, and closes a file before it is moved', async () => {
  const sql = 'SELECT name FROM t WHERE id = ?';
  expect((await read(sql, [1])).results[0]?.rows).toEqual([['one']]);
  db.exec("UPDATE t SET name = 'uno' WHERE id = 1");
  expect((await read(sql, [1])).results[0]?.rows).toEqual([['uno']]);
  expect(reads.openFiles).toBe(1);
  reads.forget('acme');
  expect(reads.openFiles).toBe(0);
  renameSync(join(dataDir, 'tenants/acme'), join(dataDir, 'tenants/moved'));
  expect(await read(sql, [1])).toBe(OTHERS);
});
