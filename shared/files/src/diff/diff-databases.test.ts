import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeValue } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hashContent } from '../own/content-hash.ts';
import { bringBack } from './bring-back.ts';
import { diffDatabases } from './diff-databases.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'onewriter-diff-'));
});
afterAll(() => rmSync(directory, { recursive: true }));
let count = 0;
let [present, former] = ['', ''];

beforeEach(() => {
  [present, former] = ['present', 'former'].map(name => join(directory, `${name}${++count}.db`)) as [
    string,
    string,
  ];
});

function make(path: string, ...scripts: readonly string[]): void {
  const db = new Database(path);
  for (const script of scripts) db.exec(script);
  db.close();
}

const diff = (options: Partial<Parameters<typeof diffDatabases>[2]> = {}) =>
  diffDatabases(present, former, { maxRows: 100, busyTimeoutMs: 0, ...options });

const SCHEMA = `CREATE TABLE orders(id INTEGER PRIMARY KEY, who TEXT COLLATE NOCASE, cents, note BLOB, twice AS (cents * 2));
  CREATE TABLE pairs(a TEXT, b INTEGER, v, PRIMARY KEY (a, b)) WITHOUT ROWID;
  CREATE TABLE bag(v);`;
const ROWS = `INSERT INTO orders(id, who, cents, note) VALUES (1, 'ann', 100, x'00'), (2, 'bob', 9007199254740993, NULL), (3, 'cid', 1.0, 'n');
  INSERT INTO pairs VALUES ('x', 1, 'p'), ('x', 2, 'q');
  INSERT INTO bag VALUES ('one'), ('two');`;

describe('diffDatabases', () => {
  it('finds nothing in two files with the same rows', () => {
    make(present, SCHEMA, ROWS);
    make(former, SCHEMA, ROWS);
    expect(diff()).toEqual({ tables: [], tablesFormer: [], tablesPresent: [], skipped: [] });
  });

  it('finds rows that were removed, added and changed, by their keys', () => {
    make(former, SCHEMA, ROWS);
    make(
      present,
      SCHEMA,
      ROWS,
      `DELETE FROM orders WHERE id = 2; INSERT INTO orders(id, who) VALUES (4, 'dan'); UPDATE orders SET who = 'ANN' WHERE id = 1;
       UPDATE orders SET cents = CAST(1 AS INTEGER) WHERE id = 3; UPDATE pairs SET v = NULL WHERE b = 2; DELETE FROM bag WHERE v = 'one'`,
    );
    const { tables } = diff();
    expect(tables.map(({ rows, ...rest }) => rest)).toEqual([
      {
        table: 'bag',
        key: ['rowid'],
        removed: 1,
        added: 0,
        changed: 0,
        columnsFormer: [],
        columnsPresent: [],
      },
      {
        table: 'orders',
        key: ['id'],
        removed: 1,
        added: 1,
        changed: 2,
        columnsFormer: [],
        columnsPresent: [],
      },
      {
        table: 'pairs',
        key: ['a', 'b'],
        removed: 0,
        added: 0,
        changed: 1,
        columnsFormer: [],
        columnsPresent: [],
      },
    ]);
    const [removed] = tables[1]!.rows;
    expect(removed).toMatchObject({ kind: 'removed', present: null });
    expect(decodeValue(removed!.former!['cents']!)).toBe(9007199254740993n);
    expect(
      tables[1]!.rows.filter(({ kind }) => kind === 'changed').map(row => [row.former, row.present]),
    ).toEqual([
      [
        { id: { i: '1' }, who: 'ann' },
        { id: { i: '1' }, who: 'ANN' },
      ],
      [
        { id: { i: '3' }, cents: 1 },
        { id: { i: '3' }, cents: { i: '1' } },
      ],
    ]);
  });

  it('lists as many rows as asked, and counts all', () => {
    make(former, SCHEMA, ROWS);
    make(present, SCHEMA);
    const { tables } = diff({ maxRows: 1, tables: ['orders'] });
    expect(tables).toMatchObject([{ table: 'orders', removed: 3 }]);
    expect(tables[0]!.rows).toHaveLength(1);
  });

  it('names what only one of the two has, and what cannot be compared', () => {
    make(
      former,
      'CREATE TABLE a(id INTEGER PRIMARY KEY, old, v); CREATE TABLE was(v); CREATE TABLE k(a PRIMARY KEY, b)',
    );
    make(
      present,
      'CREATE TABLE a(id INTEGER PRIMARY KEY, v, new); INSERT INTO a VALUES (1, 2, 3); CREATE TABLE "is"(v); CREATE TABLE k(a, b PRIMARY KEY)',
      'CREATE VIRTUAL TABLE f USING fts5(t)',
    );
    const { tables, tablesFormer, tablesPresent, skipped } = diff();
    expect(tables).toMatchObject([{ table: 'a', added: 1, columnsFormer: ['old'], columnsPresent: ['new'] }]);
    expect([tablesFormer, tablesPresent]).toEqual([['was'], ['f', 'is']]);
    expect(skipped).toEqual([{ table: 'k', why: 'it has another key now' }]);
  });

  it('does not take rows without a key for other rows', () => {
    const rows = "CREATE TABLE n(a TEXT, b, v, PRIMARY KEY (a, b)); INSERT INTO n VALUES ('x', NULL, 1)";
    make(former, rows);
    make(present, rows);
    expect(diff()).toMatchObject({
      tables: [],
      skipped: [{ table: 'n', why: 'it has rows whose key is NULL' }],
    });
  });

  it('lists what is asked for, however much of the rest comes first', () => {
    make(former, SCHEMA, ROWS);
    make(
      present,
      SCHEMA,
      ROWS,
      "DELETE FROM orders WHERE id = 1; UPDATE orders SET cents = 7 WHERE id > 1; INSERT INTO orders(who) VALUES ('a'), ('b'), ('c')",
    );
    const { tables } = diff({ maxRows: 2, kinds: ['changed'] });
    expect(tables).toMatchObject([{ removed: 1, added: 3, changed: 2 }]);
    expect(tables[0]!.rows.map(({ kind }) => kind)).toEqual(['changed', 'changed']);
  });

  it('lists only as many large rows as can be written at a time, of all tables, and at least one', () => {
    const schema = 'CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE b(id INTEGER PRIMARY KEY, v)';
    make(present, schema);
    const rows = (megabytes: number) =>
      `INSERT INTO a SELECT n.value, printf('%.*c', ${megabytes * 1e6}, 'x') FROM json_each('[1,2,3]') AS n; INSERT INTO b VALUES (1, 1)`;
    make(former, schema, rows(1.5));
    const listed = () => diff().tables.map(({ removed, rows: some }) => [removed, some.length]);
    expect(listed()).toEqual([
      [3, 2],
      [1, 0],
    ]);
    make(former, 'DELETE FROM a; DELETE FROM b', rows(6));
    expect(listed()).toEqual([
      [3, 1],
      [1, 0],
    ]);
  });
});

it('lists tables before those that refer to them', () => {
  const schema = `CREATE TABLE a(id INTEGER PRIMARY KEY, b REFERENCES b(id)); CREATE TABLE b(id INTEGER PRIMARY KEY, C REFERENCES C(id));
    CREATE TABLE C(id INTEGER PRIMARY KEY, c REFERENCES c(id)); CREATE TABLE x(id INTEGER PRIMARY KEY, y REFERENCES y(id));
    CREATE TABLE y(id INTEGER PRIMARY KEY, x REFERENCES x(id))`;
  make(present, schema);
  make(
    former,
    schema,
    'INSERT INTO C VALUES (1, 1); INSERT INTO b VALUES (1, 1); INSERT INTO a VALUES (1, 1); INSERT INTO x VALUES (1, NULL); INSERT INTO y VALUES (1, 1)',
  );
  const names = diff().tables.map(({ table }) => table);
  expect(names.filter(name => 'abC'.includes(name))).toEqual(['C', 'b', 'a']);
  expect(names).toHaveLength(5);
});

describe('bringBack', () => {
  it('makes the rows what they were, and leaves those that were added', () => {
    make(former, SCHEMA, ROWS);
    make(
      present,
      SCHEMA,
      ROWS,
      "DELETE FROM orders WHERE id < 3; DELETE FROM bag WHERE rowid = 1; UPDATE pairs SET v = 'other'; INSERT INTO bag VALUES ('new')",
    );
    const db = new Database(present);
    for (const table of diff().tables)
      for (const { sql, params } of bringBack(table, { removed: true, changed: true }))
        expect(db.prepare(sql).run(...params.map(decodeValue)).changes).toBe(1);
    db.exec("DELETE FROM bag WHERE v = 'new'");
    const before = new Database(former);
    expect(hashContent(db)).toBe(hashContent(before));
    before.close();
    db.close();
  });

  it('changes no row that was written since it was compared', () => {
    make(former, SCHEMA, ROWS);
    make(present, SCHEMA, ROWS, 'UPDATE orders SET cents = 5 WHERE id = 1');
    const [statement] = diff().tables.flatMap(table => bringBack(table, { removed: true, changed: true }));
    const db = new Database(present);
    db.exec('UPDATE orders SET cents = 6 WHERE id = 1');
    expect(db.prepare(statement!.sql).run(...statement!.params.map(decodeValue)).changes).toBe(0);
    db.close();
  });
});
