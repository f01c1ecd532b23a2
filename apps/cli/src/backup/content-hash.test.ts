import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { summarizeContent } from './content-hash.ts';

function hashOf(script: string): string {
  const db = new Database(':memory:');
  try {
    db.exec(script);
    return summarizeContent(db).hash;
  } finally {
    db.close();
  }
}

const TABLE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t(a); ';
const SAME = `${TABLE}INSERT INTO t VALUES (1, 'x', NULL), (2, 1.5, x'00ff')`;

it.each([
  [
    'the order of inserts',
    `${TABLE}INSERT INTO t VALUES (2, 1.5, x'00ff'); INSERT INTO t VALUES (1, 'x', NULL)`,
  ],
  ['free pages', `${SAME}; CREATE TABLE gone(x); DROP TABLE gone`],
  [
    "the writer's own tables",
    `${SAME}; CREATE TABLE _onewriter_state(id); INSERT INTO _onewriter_state VALUES (1)`,
  ],
])('does not depend on %s', (_, script) => {
  expect(hashOf(script)).toBe(hashOf(SAME));
});

it.each([
  ['a value', `${TABLE}INSERT INTO t VALUES (1, 'y', NULL), (2, 1.5, x'00ff')`],
  ['a type', `${TABLE}INSERT INTO t VALUES (1, 'x', NULL), (2, '1.5', x'00ff')`],
  ['an integer for a real', `${TABLE}INSERT INTO t VALUES (1, 'x', NULL), (2, 1, x'00ff')`],
  ['where a value ends', `${TABLE}INSERT INTO t VALUES (1, 'x;n', NULL), (2, 1.5, x'00ff')`],
  ['a row', `${SAME}, (3, NULL, NULL)`],
  ['the schema', `${SAME}; DROP INDEX i`],
])('tells %s', (_, script) => {
  expect(hashOf(script)).not.toBe(hashOf(SAME));
});

it('tells row ids apart, which applications keep', () => {
  const table = 'CREATE TABLE t(a); ';
  expect(hashOf(`${table}INSERT INTO t(rowid, a) VALUES (1, 'x')`)).not.toBe(
    hashOf(`${table}INSERT INTO t(rowid, a) VALUES (7, 'x')`),
  );
});

it('reads tables of every kind', () => {
  const script = `
    CREATE TABLE keyed(k TEXT, rowid TEXT, PRIMARY KEY (rowid, k)) WITHOUT ROWID; INSERT INTO keyed VALUES ('b', '1'), ('a', '2');
    CREATE TABLE shadowed(rowid TEXT, _rowid_ TEXT, oid TEXT); INSERT INTO shadowed VALUES ('1', '2', '3');
    CREATE TABLE computed(a, b AS (a + 1)); INSERT INTO computed(a) VALUES (9223372036854775806);
    CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO counted DEFAULT VALUES;
    CREATE VIRTUAL TABLE words USING fts5(text); INSERT INTO words VALUES ('one two');
    CREATE VIEW v AS SELECT * FROM keyed`;
  expect(hashOf(script)).toBe(hashOf(script));
  expect(hashOf(script)).not.toBe(hashOf(script.replace('one two', 'one too')));
});

it('reads what is stored where SQLite cannot compute the rest, and names what it cannot read', () => {
  const db = new Database(':memory:');
  try {
    db.exec(`CREATE TABLE computed(a TEXT, b TEXT AS (upper(a)));
      INSERT INTO computed(a) VALUES ('x');
      CREATE TABLE keyed(a TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
      INSERT INTO keyed VALUES ('x');
      CREATE TABLE other(a)`);
    db.unsafeMode(true);
    db.pragma('writable_schema = ON');
    db.exec(`UPDATE sqlite_schema SET sql = replace(sql, 'upper', 'their_function') WHERE name = 'computed';
      UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'their_collation') WHERE name = 'keyed'`);
    db.pragma('writable_schema = RESET');
    db.unsafeMode(false);
    const before = summarizeContent(db);
    expect(before).toMatchObject({
      tables: 3,
      rows: 1,
      unread: [{ name: 'keyed', error: expect.stringMatching(/./) }],
    });
    db.exec('DELETE FROM computed');
    expect(summarizeContent(db).hash).not.toBe(before.hash);
  } finally {
    db.close();
  }
});
