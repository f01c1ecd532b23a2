import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ReadStatement } from './read-statement.ts';

function openMemory(script: string): Database.Database {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  return db.exec(script);
}

/** Also those that have a meaning of their own, in order. */
function ownProperties(row: unknown) {
  return row === undefined ? row : Object.entries(Object.getOwnPropertyDescriptors(row));
}

describe('ReadStatement', () => {
  it('gives the rows that better-sqlite3 gives, whatever the columns are called', () => {
    const db = openMemory(
      'CREATE TABLE t(id INTEGER, "a b" TEXT, "1" REAL); INSERT INTO t VALUES (1, NULL, 0.5)',
    );
    for (const sql of [
      'SELECT * FROM t',
      'SELECT "a b", id, "1" FROM t',
      'SELECT 1 AS twice, id AS twice FROM t',
      'SELECT id AS "__proto__" FROM t',
      "SELECT x'00ff' AS bytes, -1, 2.5, ''",
      'SELECT id FROM t WHERE id > 5',
    ]) {
      const bare = db.prepare(sql);
      const statement = new ReadStatement(db, sql, 0);
      expect(ownProperties(statement.get([])), sql).toEqual(ownProperties(bare.get()));
      expect(statement.all([], 10), sql).toEqual(bare.all());
      expect(statement.allArrays([], 10), sql).toEqual({
        columns: bare.columns().map(column => column.name),
        rows: bare.raw().all(),
      });
      // Afterwards as before.
      expect(statement.get([]), sql).toEqual(bare.raw(false).get());
    }
  });

  it('gives large integers exactly, in every shape', () => {
    const db = openMemory('CREATE TABLE t(n INTEGER); INSERT INTO t VALUES (9007199254740993), (7)');
    for (const sql of ['SELECT n FROM t', 'SELECT * FROM t']) {
      const rows = [{ n: 9_007_199_254_740_993n }, { n: 7 }];
      expect(new ReadStatement(db, sql, 0).get([])).toEqual(rows[0]);
      expect(new ReadStatement(db, sql, 0).all([], 10)).toEqual(rows);
      const statement = new ReadStatement(db, sql, 0);
      expect(statement.allArrays([], 10).rows).toEqual(rows.map(({ n }) => [n]));
      expect(statement.all([], 10)).toEqual(rows);
    }
  });

  it('keeps integers apart from reals for those who ask, and for them alone', () => {
    const db = openMemory('CREATE TABLE t(n); INSERT INTO t VALUES (5), (5.0), (9007199254740993)');
    const statement = new ReadStatement(db, 'SELECT n AS "N" FROM t WHERE n < ?', 0);
    expect(statement.allArrays([2n ** 60n], 10, true)).toEqual({
      columns: ['N'],
      rows: [[5n], [5], [9007199254740993n]],
    });
    expect(statement.allArrays([6], 10).rows).toEqual([[5], [5]]);
    expect(statement.all([6], 10)).toEqual([{ N: 5 }, { N: 5 }]);
  });

  it('follows a change of the schema: at once with a *, else the case of a name within a period', () => {
    const db = openMemory('CREATE TABLE t(Name TEXT); INSERT INTO t VALUES (1)');
    const all = new ReadStatement(db, 'SELECT * FROM t', 0);
    const named = new ReadStatement(db, 'SELECT name FROM t', 0);
    expect([all.get([]), named.get([])]).toEqual([{ Name: '1' }, { Name: '1' }]);
    db.exec('DROP TABLE t; CREATE TABLE t(NAME TEXT, more INTEGER); INSERT INTO t VALUES (2, 3)');
    expect(all.get([])).toEqual({ NAME: '2', more: 3 });
    named.get([]);
    named.refreshNames(1);
    expect(named.get([])).toEqual({ NAME: '2' });
  });
});
