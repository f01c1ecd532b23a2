import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withReservedNames } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import { type Comparison, compareCopy, countRows } from './compare-copy.ts';

/** Copies a database of this script, changes the copy, and compares. */
async function compare(script: string, change = ''): Promise<Comparison> {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-compare-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const db = new Database(join(folder, 'source.db'));
  onTestFinished(() => void db.close());
  withReservedNames(db, () => db.exec(script));
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM sqlite_schema').get();
  await db.backup(join(folder, 'copy.db'));
  const copy = new Database(join(folder, 'copy.db'));
  copy.exec(change);
  copy.close();
  return compareCopy(db, join(folder, 'copy.db'));
}

const SAME = { difference: undefined, unread: [] };
const WIDE = Array.from({ length: 1_500 }, (_, index) => `c${index}`);
const TABLES = {
  rowid: `CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t(a);
    INSERT INTO t VALUES (1, 'x', NULL), (2, 1.5, x'00ff'), (3, 9223372036854775807, '')`,
  keyed: `CREATE TABLE t(k TEXT COLLATE NOCASE, rowid TEXT, a, PRIMARY KEY (rowid, k)) WITHOUT ROWID;
    INSERT INTO t VALUES ('b', '1', 1), ('a', '2', NULL)`,
  shadowed: `CREATE TABLE t(rowid TEXT, _rowid_ TEXT, oid, a); INSERT INTO t VALUES ('1', '2', x'03', 1), (NULL, '2', 4.5, 1)`,
  computed: `CREATE TABLE t(a, b AS (a + 1), c AS (a * 2) STORED); INSERT INTO t(a) VALUES (1), (9007199254740993)`,
  wide: `CREATE TABLE t(${WIDE.join()}); INSERT INTO t(c0, c1499) VALUES (1, 2)`,
  text: `CREATE VIRTUAL TABLE t USING fts5(a); INSERT INTO t VALUES ('one two')`,
  weird: `CREATE TABLE "a""b; c"("d""e"); INSERT INTO "a""b; c" VALUES (1); CREATE VIEW v AS SELECT 1`,
} as const;

it.each(Object.entries(TABLES))('finds a copy that is the same: %s', async (_, script) => {
  expect(await compare(script)).toEqual(SAME);
});

it.each([
  ['a value', TABLES.rowid, "UPDATE t SET a = 'y' WHERE id = 1"],
  [
    'a value that a collation takes for the same',
    "CREATE TABLE t(a COLLATE NOCASE); INSERT INTO t VALUES ('x')",
    "UPDATE t SET a = 'X'",
  ],
  ['a type', TABLES.rowid, "UPDATE t SET a = '1.5' WHERE id = 2"],
  ['an integer for an equal real', 'CREATE TABLE t(a); INSERT INTO t VALUES (2.0)', 'UPDATE t SET a = 2'],
  ['NULL for a value', TABLES.rowid, 'UPDATE t SET b = NULL WHERE id = 2'],
  ['a value for NULL', TABLES.rowid, 'UPDATE t SET b = 0 WHERE id = 1'],
  ['a row more', TABLES.rowid, 'INSERT INTO t(id) VALUES (4)'],
  ['a row less', TABLES.rowid, 'DELETE FROM t WHERE id = 2'],
  ['a row id', 'CREATE TABLE t(a); INSERT INTO t VALUES (1)', 'UPDATE t SET rowid = 7'],
  ['a row id of a row of NULLs', 'CREATE TABLE t(a); INSERT INTO t VALUES (NULL)', 'UPDATE t SET rowid = 7'],
  ['a value of a table without row ids', TABLES.keyed, "UPDATE t SET a = 2 WHERE k = 'a'"],
  ['a key in another case', TABLES.keyed, "UPDATE t SET k = 'A' WHERE k = 'a'"],
  ['a row more of a table without row ids', TABLES.keyed, "INSERT INTO t VALUES ('c', '3', 1)"],
  ['a value where row ids have no name', TABLES.shadowed, "UPDATE t SET oid = x'04' WHERE rowid = '1'"],
  ['a type where row ids have no name', TABLES.shadowed, "UPDATE t SET a = 1.0 WHERE rowid = '1'"],
  ['a row more where row ids have no name', TABLES.shadowed, "INSERT INTO t VALUES ('5', '6', '7', 1)"],
  ['a row less where row ids have no name', TABLES.shadowed, "DELETE FROM t WHERE rowid = '1'"],
  ['the last of many columns', TABLES.wide, 'UPDATE t SET c1499 = 3'],
  ['a full-text index', TABLES.text, "UPDATE t SET a = 'one too'"],
  ['the schema', TABLES.rowid, 'DROP INDEX i'],
])('finds %s', async (_, script, change) => {
  expect((await compare(script, change)).difference).toMatch(/other rows|another schema/);
});

it('names a table that SQLite cannot read here, and compares the others', async () => {
  const script = `CREATE TABLE keyed(a TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
    INSERT INTO keyed VALUES ('x');
    CREATE TABLE other(a); INSERT INTO other VALUES (1);
    PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'their_collation') WHERE name = 'keyed';
    PRAGMA writable_schema = RESET`;
  const unread = [{ name: 'keyed', error: expect.stringMatching(/./) }];
  expect(await compare(script)).toEqual({ difference: undefined, unread });
  expect(await compare(script, 'UPDATE other SET a = 2')).toEqual({
    difference: 'table other has other rows',
    unread,
  });
});

it("does not look at the writer's own tables, and counts the rows of the others", async () => {
  const script = `${TABLES.rowid}; CREATE TABLE sqlite_onewriter_state(id); INSERT INTO sqlite_onewriter_state VALUES (1)`;
  expect(await compare(script, 'UPDATE sqlite_onewriter_state SET id = 2')).toEqual(SAME);
  const db = new Database(':memory:');
  withReservedNames(db, () => db.exec(script));
  expect(countRows(db)).toEqual({ tables: 1, rows: 3 });
  db.close();
});
