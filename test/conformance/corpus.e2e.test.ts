import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { SqlValue } from '@onewriter/protocol';
import { temporaryDirectory } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { type Answer, compareAnswers, type DoneAnswer } from './corpus/answer.ts';
import type { CorpusItem } from './corpus/corpus-item.ts';
import { findDocumented } from './corpus/documented.ts';
import type { Difference } from './corpus/file-report.ts';
import { INTERFACES } from './corpus/interfaces.ts';
import { readCorpusFile } from './corpus/read-corpus.ts';
import type { InterfaceTotals } from './corpus/summary.ts';
import { parseTclTest } from './corpus/tcl-tests.ts';

/*
 * That `npm run test:corpus` reads both formats, finds what is different, and finds nothing in these few statements. A
 * corpus takes minutes: run it with its command.
 */

const MAIN = fileURLToPath(new URL('./corpus/dist/main.js', import.meta.url));
const FIXTURES = fileURLToPath(new URL('./corpus-fixtures', import.meta.url));

interface Output {
  readonly interfaces: Readonly<Record<string, InterfaceTotals>>;
  readonly skipped: Readonly<Record<string, number>>;
  readonly givenUp: readonly string[];
}

function runCommand(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise(resolve => {
    const child = execFile(process.execPath, [MAIN, ...args], (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

const sqlOf = (items: readonly CorpusItem[]) =>
  items.map(item => (item.type === 'statement' ? item.sql : '(an empty database)'));

describe('a file in sqllogictest format', () => {
  it('is read up to halt, without results, and without what is for other databases', () => {
    const { items, skipped } = readCorpusFile(`${FIXTURES}/values.test`)!;
    const statements = sqlOf(items);
    expect(statements[0]).toBe('CREATE TABLE samples(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, value)');
    expect(statements[2]).toBe('SELECT kind, typeof(value), value FROM samples ORDER BY id');
    expect(items[2]!.line).toBe(16);
    expect(statements).toContain(`SELECT 'only here' AS "a name", 1 AS a, 2 AS a`);
    expect(statements.join('\n')).not.toMatch(/DROP TABLE|SELECT 17|hashing|----/);
    expect(statements).toHaveLength(20);
    expect(skipped).toEqual({ 'for other databases': 2 });
  });
});

describe("one of SQLite's own tests", () => {
  it('yields the SQL that stands in it as it is', () => {
    const { items, skipped } = readCorpusFile(`${FIXTURES}/tables.test`)!;
    const statements = sqlOf(items);
    expect(statements[3]).toMatch(/^CREATE TRIGGER .* END$/s);
    expect(items[3]!.line).toBe(15);
    expect(statements).toContain("INSERT INTO authors(name) VALUES ('Le Guin*')");
    expect(statements).toContain('SELECT count(*) FROM log');
    expect(statements).toContain("EXPLAIN QUERY PLAN SELECT * FROM authors WHERE name = 'Lem'");
    expect(statements).toContain("SELECT 'in a new database', 2 AS two");
    expect(statements.join('\n')).not.toMatch(/needs Tcl|variable|another connection|nowhere|after the end/);
    expect(statements.filter(sql => sql === '(an empty database)')).toHaveLength(1);
    expect(skipped).toEqual({
      'SQL that Tcl puts together': 1,
      'statements with parameters': 1,
      'on a second connection': 2,
    });
  });

  it.each([
    ['execsql "SELECT \\"a\\tb\\""', ['SELECT "a\tb"']],
    ['execsql {SELECT "{}", 1} db2\nexecsql {SELECT {2};}', ['SELECT {2}']],
    ['set x [lindex [execsql {SELECT 3}] 0]; catch { db eval {SELECT 4} } msg', ['SELECT 3', 'SELECT 4']],
    [
      '# execsql {SELECT 5}\nifcapable {!a || (b && !c)} {execsql {SELECT 6}} else {execsql {SELECT 7}}',
      ['SELECT 7'],
    ],
    [
      'if {$x} { execsql { SELECT 8 }\n return }\nproc p {} { execsql {SELECT 9} }\nexecsql {SELECT 10}',
      ['SELECT 8', 'SELECT 10'],
    ],
    ['db transaction { db one {SELECT 11} }', ['BEGIN', 'SELECT 11', 'COMMIT']],
    ["execsql {SELECT json('{\"a\":1}') ->> '$.a'}", [`SELECT json('{"a":1}') ->> '$.a'`]],
    ['execsql {SELECT 12}; execsql {SELECT', ['SELECT 12']],
  ])('is read as Tcl reads it: %j', (text, expected) => {
    expect(sqlOf(parseTclTest(text).items)).toEqual(expected);
  });
});

describe('two answers', () => {
  const plain: DoneAnswer = {
    ...{ type: 'ok', columns: ['a'], rows: [[1n]], changes: 0, lastInsertRowid: [0n, null] },
  };
  const here: DoneAnswer = { ...plain, lastInsertRowid: 0n };

  it.each<[string | undefined, Partial<DoneAnswer>]>([
    [undefined, {}],
    [undefined, { lastInsertRowid: null }],
    ['values', { rows: [[1]] }],
    ['values', { rows: [['1']] }],
    ['values', { rows: [[Buffer.from('1')]] }],
    ['values', { rows: [[null]] }],
    ['number of rows', { rows: [] }],
    ['column names', { columns: ['A'] }],
    ['column names', { columns: undefined }],
    ['changes', { changes: 1 }],
    ['lastInsertRowid', { lastInsertRowid: 1n }],
    ['whether a transaction is open', { autocommit: false }],
  ])('differ in: %s', (kind, change) => {
    expect(compareAnswers({ ...here, ...change }, { ...plain, autocommit: true })).toBe(kind);
  });

  it('differ in errors and their extended codes', () => {
    const failed = (code: string) => ({ type: 'error', code, message: '' }) as const;
    const [unique, key] = [failed('SQLITE_CONSTRAINT_UNIQUE'), failed('SQLITE_CONSTRAINT_PRIMARYKEY')];
    expect(compareAnswers(unique, unique)).toBeUndefined();
    expect(compareAnswers(unique, key)).toBe(
      'SQLITE_CONSTRAINT_UNIQUE here, SQLITE_CONSTRAINT_PRIMARYKEY in SQLite',
    );
    expect(compareAnswers(unique, plain)).toBe('SQLITE_CONSTRAINT_UNIQUE here, ok in SQLite');
    expect(compareAnswers(here, unique)).toBe('ok here, SQLITE_CONSTRAINT_UNIQUE in SQLite');
  });
});

describe('a documented difference', () => {
  const rows = (columns: readonly string[], ...of: readonly SqlValue[][]): DoneAnswer => ({
    ...{ type: 'ok', columns, rows: of, changes: 0, lastInsertRowid: 0n },
  });
  const inserted = (lastInsertRowid: bigint): DoneAnswer => ({
    ...{ type: 'ok', columns: undefined, rows: [], changes: 1, lastInsertRowid },
  });
  const failed = { type: 'error', code: 'SQLITE_ERROR', message: '' } as const;

  it.each<[string, boolean, string, Answer, Answer]>([
    ['a setting', true, 'PRAGMA cache_size', rows(['cache_size'], [-1n]), rows(['cache_size'], [-2n])],
    ['no setting', false, 'PRAGMA cache_size', failed, rows(['cache_size'], [-2n])],
    ['a full-text index', true, 'SELECT id FROM f_data', rows(['id'], [1n]), rows(['id'], [2n])],
    ['a table with such a name', false, 'SELECT id FROM my_data', rows(['id'], [1n]), rows(['id'], [2n])],
    ['statistics', false, "INSERT INTO sqlite_stat1 VALUES ('t', NULL, '1')", inserted(4n), inserted(1n)],
    ['EXPLAIN', false, 'EXPLAIN INSERT INTO t VALUES (1)', failed, rows(['addr'], [0n])],
    [
      'the name of the file',
      true,
      'PRAGMA database_list',
      rows(['seq', 'name', 'file'], [0n, 'main', '']),
      rows(['seq', 'name', 'file'], [0n, 'main', '/plain.db']),
    ],
    [
      'the name of the file',
      false,
      'PRAGMA database_list',
      rows(['seq', 'name', 'file'], [0n, 'main', '/tenant.db']),
      rows(['seq', 'name', 'file'], [0n, 'main', '/plain.db']),
    ],
    ['an index over a table', true, "INSERT INTO o(o) VALUES ('rebuild')", failed, inserted(0n)],
    ['an index of its own', false, "INSERT INTO f(f) VALUES ('rebuild')", failed, inserted(0n)],
  ])('is one, or is none: %s (%s)', async (_, expected, sql, here, plain) => {
    await using folder = await temporaryDirectory('documented');
    const file = `${folder.path}/tenant.db`;
    const db = new Database(file);
    db.exec(
      `CREATE TABLE t(x); CREATE VIRTUAL TABLE f USING fts5(x); CREATE TABLE my_data(id);
       CREATE VIRTUAL TABLE o USING fts4(content=t); ANALYZE`,
    );
    db.close();
    expect(findDocumented('libsql', { sql, here, plain, file }) !== undefined).toBe(expected);
  });
});

describe('npm run test:corpus', () => {
  it('finds nothing different through any interface', async () => {
    const { code, stdout, stderr } = await runCommand(FIXTURES, '--json', '--jobs', '3');
    expect(code, stdout + stderr).toBe(0);
    const { interfaces, givenUp } = JSON.parse(stdout) as Output;
    expect(Object.keys(interfaces).sort()).toEqual([...INTERFACES].sort());
    expect(givenUp).toEqual([]);
    for (const [name, { files, statements, equal, refused, documented, different }] of Object.entries(
      interfaces,
    )) {
      const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
      expect({ name, files, different }).toEqual({ name, files: 2, different: 0 });
      expect(equal + sum(refused) + sum(documented)).toBe(statements);
      expect(refused).toMatchObject({ 'ATTACH is not allowed': 1, 'VACUUM is not allowed': 1 });
      expect(refused['BEGIN is not allowed'], name).toBe(name === 'libsql' ? undefined : 3);
    }
  });

  it('finds a difference that was planted, and says where', async () => {
    await using folder = await temporaryDirectory('corpus-test');
    const out = `${folder.path}/differences.ndjson`;
    const args = [
      `${FIXTURES}/tables.test`,
      '--through',
      'http',
      '--out',
      out,
      '--plain',
      'foreign_keys = OFF',
    ];
    const { code, stdout } = await runCommand(...args);
    expect(code).toBe(1);
    expect(stdout).toContain('SQLITE_CONSTRAINT_FOREIGNKEY here, ok in SQLite');
    const differences = readFileSync(out, 'utf8')
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Difference);
    const [first] = differences;
    expect(first).toMatchObject({
      ...{ through: 'http', file: 'tables.test', line: 29, follows: false },
      kind: 'SQLITE_CONSTRAINT_FOREIGNKEY here, ok in SQLite',
      sql: "INSERT INTO books(author, title) VALUES (99, 'Orphan')",
    });
    expect(differences).toContainEqual(
      expect.objectContaining({ kind: 'contents at the end', sql: 'table log', follows: true }),
    );
  });

  it('says what is wrong with its arguments', async () => {
    expect(await runCommand('/no/such/corpus')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('cannot be read'),
    });
    expect((await runCommand(FIXTURES, '--through', 'ftp')).code).toBe(2);
  });
});
