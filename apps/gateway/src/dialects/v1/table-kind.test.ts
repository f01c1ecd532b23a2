import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import { isStrict, type SchemaTable, typesOf } from './table-kind.ts';

it('says of each table what PRAGMA table_list says', () => {
  const db = new Database(':memory:');
  db.exec(`
    CREATE TABLE plain(a);
    CREATE TABLE strict(a, "STRICT" TEXT);
    CREATE TABLE exact(a INT, b TEXT DEFAULT ')') STRICT;
    CREATE TABLE keyed(a INT PRIMARY KEY, CHECK (a > (1))) WITHOUT ROWID, strict;
    CREATE TABLE said(a PRIMARY KEY /* ) */) /* ) strict */ WITHOUT ROWID;
    CREATE TABLE said2(a INT) -- ) not yet
      STRICT;
    CREATE VIEW v AS SELECT a AS strict FROM plain;
    CREATE VIRTUAL TABLE "Using" USING fts5(body);
    CREATE VIRTUAL TABLE Notes USING "FTS4"(body);
    CREATE VIRTUAL TABLE old USING fts3(body);
    CREATE VIRTUAL TABLE boxes USING rtree(id, a, b);
    CREATE VIRTUAL TABLE whole USING rtree_i32(id, a, b);
    CREATE TABLE notes_other(a);
    CREATE TABLE plain_data(a);
  `);
  const tables = db
    .prepare<[], Omit<SchemaTable, 'hasPages'> & { pages: number }>(
      `SELECT name, type, sql, rootpage > 0 AS pages FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name`,
    )
    .all()
    .map(({ pages, ...table }) => ({ ...table, hasPages: pages === 1 }));
  const types = typesOf(tables);
  const found = tables.map(({ name, sql }, position) => ({
    name,
    type: types[position],
    strict: types[position] === 'table' && isStrict(sql) ? 1 : 0,
  }));
  const said = db
    .prepare(
      `SELECT name, type, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name`,
    )
    .all();
  expect(found).toEqual(said);
  expect(new Set(types)).toEqual(new Set(['table', 'view', 'virtual', 'shadow']));
});
