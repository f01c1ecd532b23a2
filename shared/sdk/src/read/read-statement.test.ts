import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ReadStatement } from './read-statement.ts';

function openMemory(script: string): Database.Database {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  return db.exec(script);
}

function open(db: Database.Database, sql: string): ReadStatement {
  return new ReadStatement(() => db.prepare(sql));
}

/** Also those that have a meaning of their own, in order. */
function ownProperties(row: unknown) {
  return row === undefined ? row : Object.entries(Object.getOwnPropertyDescriptors(row));
}

const ownValues = (row: object) => Object.values(row);

let turn = 0;

describe('ReadStatement', () => {
  it('gives the rows that better-sqlite3 gives, whatever the columns are called', () => {
    const db = openMemory(
      'CREATE TABLE t(id INTEGER, "a b" TEXT, "1" REAL); INSERT INTO t VALUES (1, NULL, 0.5)',
    );
    for (const sql of [
      'SELECT * FROM t',
      'SELECT "a b", id, "1" FROM t',
      'SELECT 1 AS twice, id AS twice FROM t',
      'SELECT id AS "constructor", 2 AS "toString", 3 AS "hasOwnProperty" FROM t',
      'SELECT 1 AS b, 2 AS "7", 3 AS a, 4 AS "5"',
      "SELECT x'00ff' AS bytes, -1, 2.5, ''",
      'SELECT id FROM t WHERE id > 5',
    ]) {
      const bare = db.prepare(sql);
      const statement = open(db, sql);
      for (const at of [1, 1, 2, 2])
        expect(ownProperties(statement.get([], at)), sql).toEqual(ownProperties(bare.get()));
      expect(statement.all([], 10, 2), sql).toEqual(bare.all());
      expect([...statement.iterate([])], sql).toEqual(bare.all());
      expect(statement.allArrays([], 10), sql).toEqual({
        columns: bare.columns().map(column => column.name),
        rows: bare.raw().all(),
      });
      // Afterwards as before.
      expect(statement.get([], 3), sql).toEqual(bare.raw(false).get());
    }
  });

  it('gives a column named __proto__ as any other, which better-sqlite3 loses', () => {
    const db = openMemory(
      'CREATE TABLE t(id, "__proto__"); INSERT INTO t VALUES (1, NULL), (2, x\'00\'), (3, 4)',
    );
    for (const sql of ['SELECT * FROM t', 'SELECT id, "__proto__" FROM t']) {
      const expected = [null, Buffer.from([0]), 4].map((value, index) => {
        const row = { id: index + 1 };
        Object.defineProperty(row, '__proto__', {
          value,
          enumerable: true,
          writable: true,
          configurable: true,
        });
        return ownProperties(row);
      });
      const statement = open(db, sql);
      for (const at of [1, 1, 2]) {
        expect(ownProperties(statement.get([], at))).toEqual(expected[0]);
        expect(statement.all([], 10, at).map(ownProperties)).toEqual(expected);
      }
      expect([...statement.iterate([])].map(ownProperties)).toEqual(expected);
    }
  });

  it('gives large integers exactly, in every shape', () => {
    const db = openMemory('CREATE TABLE t(n INTEGER); INSERT INTO t VALUES (9007199254740993), (7)');
    for (const sql of ['SELECT n FROM t', 'SELECT * FROM t']) {
      const rows = [{ n: 9_007_199_254_740_993n }, { n: 7 }];
      const got = open(db, sql);
      for (const at of [1, 1, 2, 2]) expect(got.get([], at)).toEqual(rows[0]);
      const all = open(db, sql);
      for (const at of [1, 1, 2]) expect(all.all([], 10, at)).toEqual(rows);
      const statement = open(db, sql);
      expect(statement.allArrays([], 10).rows).toEqual(rows.map(({ n }) => [n]));
      expect(statement.all([], 10, 1)).toEqual(rows);
      // An integer that grows beyond 2^53 in a statement that was read with numbers before.
      const grown = open(db, `${sql} WHERE n <= ? ORDER BY n DESC`);
      for (const at of [1, 1]) expect(grown.get([7], at)).toEqual({ n: 7 });
      expect(grown.get([2n ** 60n], 1)).toEqual(rows[0]);
    }
  });

  it('gives reals that are as large as such integers, with them and without', () => {
    const db = openMemory(
      'CREATE TABLE t(n, "__proto__"); INSERT INTO t VALUES (1e21, 1), (9e999, 2), (2, 3)',
    );
    for (const sql of [
      'SELECT n FROM t',
      'SELECT n, 9007199254740993 AS i FROM t',
      'SELECT n AS "__proto__" FROM t',
    ]) {
      const bare = db.prepare(sql).raw().safeIntegers();
      const expected = (bare.all() as unknown[][]).map(row => row.map(v => (v === 2n ? 2 : v)));
      const statement = open(db, sql);
      for (const at of [1, 1, 2]) {
        expect(ownValues(statement.get([], at)!)).toEqual(expected[0]);
        expect(statement.all([], 10, at).map(ownValues)).toEqual(expected);
      }
      expect(statement.allArrays([], 10).rows).toEqual(expected);
      expect([...statement.iterate([])].map(ownValues)).toEqual(expected);
    }
  });

  it('keeps integers apart from reals for those who ask, and for them alone', () => {
    const db = openMemory('CREATE TABLE t(n); INSERT INTO t VALUES (5), (5.0), (9007199254740993)');
    const statement = open(db, 'SELECT n AS "N" FROM t WHERE n < ?');
    expect(statement.allArrays([2n ** 60n], 10, true)).toEqual({
      columns: ['N'],
      rows: [[5n], [5], [9007199254740993n]],
    });
    expect(statement.allArrays([6], 10).rows).toEqual([[5], [5]]);
    expect(statement.all([6], 10, 1)).toEqual([{ N: 5 }, { N: 5 }]);
  });

  it.each([
    ['CREATE TABLE t(Name, x)', 'ALTER TABLE t RENAME COLUMN Name TO NAME', 'SELECT name FROM t', ['NAME']],
    [
      'CREATE TABLE t(Name, x)',
      'ALTER TABLE t RENAME COLUMN Name TO other',
      'SELECT * FROM t',
      ['other', 'x'],
    ],
    ['CREATE TABLE t(a INTEGER PRIMARY KEY, x)', 'ALTER TABLE t RENAME a TO b', 'SELECT rowid FROM t', ['b']],
    ['CREATE TABLE t(a, x)', 'ALTER TABLE t ADD COLUMN z', 'SELECT * FROM t', ['a', 'x', 'z']],
    ['CREATE TABLE t(a, x)', 'ALTER TABLE t DROP COLUMN a', 'SELECT * FROM t', ['x']],
    [
      'CREATE TABLE t(a, x)',
      'DROP TABLE t; CREATE TABLE t(c, d, e); INSERT INTO t VALUES (1, 2, 3)',
      'SELECT * FROM t',
      ['c', 'd', 'e'],
    ],
    [
      'CREATE TABLE t(a, x); CREATE VIEW v AS SELECT a FROM t',
      'DROP VIEW v; CREATE VIEW v AS SELECT x AS A FROM t',
      'SELECT a FROM v',
      ['A'],
    ],
    [
      'CREATE TABLE t(a, x); CREATE VIEW v AS SELECT 1 AS p',
      'DROP VIEW v; CREATE VIEW v AS SELECT 2 AS q, 3 AS r',
      'SELECT * FROM v',
      ['q', 'r'],
    ],
    [
      'CREATE TABLE t(a, x)',
      'ALTER TABLE t RENAME a TO "constructor"; ALTER TABLE t RENAME x TO "__proto__"',
      'SELECT * FROM t',
      ['constructor', '__proto__'],
    ],
    [
      'CREATE TABLE t(a, "__proto__")',
      'ALTER TABLE t RENAME "__proto__" TO b',
      'SELECT * FROM t',
      ['a', 'b'],
    ],
  ])('%s; %s: %s has the new names from the next turn', (schema, change, sql, names) => {
    const db = openMemory(`${schema}; INSERT INTO t VALUES (1, 2)`);
    const [got, all, rows, later] = [open(db, sql), open(db, sql), open(db, sql), open(db, sql)];
    for (let warm = 0; warm < 3; warm++) {
      turn++;
      for (const statement of [got, all, rows, later]) {
        statement.get([], turn);
        statement.all([], 10, turn);
        statement.allArrays([], 10);
      }
    }
    db.exec(change);
    turn++;
    expect(Object.getOwnPropertyNames(got.get([], turn))).toEqual(names);
    expect(Object.getOwnPropertyNames(got.get([], turn))).toEqual(names);
    expect(Object.getOwnPropertyNames(all.all([], 10, turn)[0])).toEqual(names);
    expect(rows.allArrays([], 10).columns).toEqual(names);
    expect(Object.getOwnPropertyNames([...later.iterate([])][0])).toEqual(names);
  });
});
