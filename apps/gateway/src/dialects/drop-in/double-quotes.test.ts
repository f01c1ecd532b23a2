import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findUnresolvedName, foldSqlName, type KnownNames, planQuotes } from './double-quotes.ts';

const SCHEMA = `
  CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, status TEXT, "odd name" TEXT);
  CREATE TABLE widget(a);
  INSERT INTO items(name, status, "odd name") VALUES ('Widget', 'open', 'x'), ('status', 'closed', 'y');
  CREATE VIEW broken AS SELECT "in view" FROM items;
  CREATE TRIGGER logged AFTER DELETE ON items BEGIN SELECT "name", "in trigger" FROM items; END;`;
const COLUMNS = new Set(['id', 'name', 'status', 'odd name', 'a']);
const KNOWN: KnownNames = {
  isColumn: name => COLUMNS.has(name),
  isInBody: name => ['in view', 'in trigger', 'name'].includes(name),
};

function openDatabase(): Database.Database {
  const db = new Database(':memory:');
  onTestFinished(() => void db.close());
  db.exec(SCHEMA);
  return db;
}

/** What SQLite says to a statement. */
function refusal(db: Database.Database, sql: string): string {
  try {
    db.prepare(sql).all();
  } catch (error) {
    return (error as Error).message;
  }
  return '';
}

/** Changes a statement as long as SQLite refuses it for a name in double quotes. */
function rewrite(sql: string): string {
  const db = openDatabase();
  for (let text = sql, changes = 0; ; changes++) {
    const name = findUnresolvedName(refusal(db, `EXPLAIN ${text}`));
    if (name === undefined) return text;
    const plan = planQuotes(text, name, KNOWN);
    if (plan.type === 'doubt') return 'doubt';
    if (plan.type === 'other' || changes > 5) return 'refused';
    text = plan.sql;
  }
}

describe('strings in double quotes', () => {
  it.each<[sql: string, rewritten: string]>([
    ['INSERT INTO items(name) VALUES ("Widget")', "INSERT INTO items(name) VALUES ('Widget')"],
    ['INSERT INTO items VALUES (9, "", "", "")', "INSERT INTO items VALUES (9, '', '', '')"],
    [
      'SELECT id FROM items WHERE name = "a ""b"" it\'s"',
      "SELECT id FROM items WHERE name = 'a \"b\" it''s'",
    ],
    [
      'UPDATE items SET name = "x", status = "x" WHERE status <> "gone"',
      "UPDATE items SET name = 'x', status = 'x' WHERE status <> 'gone'",
    ],
    [
      'SELECT "name" FROM items WHERE "name" = "Widget"',
      'SELECT "name" FROM items WHERE "name" = \'Widget\'',
    ],
    // A column in one place, and a string where there is no column of that name.
    ['INSERT INTO widget VALUES ("name")', 'doubt'], // a trigger has it
    ['INSERT INTO widget VALUES ("status")', "INSERT INTO widget VALUES ('status')"],
    // A table of that name is no column.
    ['INSERT INTO "widget" VALUES ("widget")', 'INSERT INTO "widget" VALUES (\'widget\')'],
    ['SELECT "foo" AS "foo" FROM items', 'SELECT \'foo\' AS "foo" FROM items'],
    [
      'SELECT id FROM items WHERE name IN ("p","q", "p")',
      "SELECT id FROM items WHERE name IN ('p','q', 'p')",
    ],
    [
      'SELECT id FROM items ORDER BY CASE WHEN status LIKE "o%" THEN "1" ELSE "2" END',
      "SELECT id FROM items ORDER BY CASE WHEN status LIKE 'o%' THEN '1' ELSE '2' END",
    ],
    [
      'CREATE TABLE t("a" TEXT CHECK ("a" IN ("x", "y")))',
      'CREATE TABLE t("a" TEXT CHECK ("a" IN (\'x\', \'y\')))',
    ],
    [
      'WITH c("b") AS (SELECT 1) SELECT "b", "x" FROM c',
      'WITH c("b") AS (SELECT 1) SELECT "b", \'x\' FROM c',
    ],
    ['SELECT "1 + 1", "x" FROM (SELECT 1 + 1)', 'SELECT "1 + 1", \'x\' FROM (SELECT 1 + 1)'],
    ['SELECT "column1", "x" FROM (VALUES (1))', 'SELECT "column1", \'x\' FROM (VALUES (1))'],
    ['SELECT "value", "x" FROM json_each(\'[1]\')', "SELECT \"value\", 'x' FROM json_each('[1]')"],
    ['SELECT id AS "n" FROM items WHERE "n" > "z"', 'SELECT id AS "n" FROM items WHERE "n" > \'z\''],
    ['SELECT "rowid", "x" FROM items', 'SELECT "rowid", \'x\' FROM items'],
    ['SELECT id, "é" FROM items -- "Widget"', 'SELECT id, \'é\' FROM items -- "Widget"'],
  ])('%s', (sql, rewritten) => {
    expect(rewrite(sql)).toBe(rewritten);
  });

  it.each([
    // Which of them SQLite means is not said.
    ['SELECT "foo" AS "foo" FROM items ORDER BY "foo"', 'doubt'],
    ['INSERT INTO widget SELECT "status" UNION SELECT "status" FROM items', 'doubt'],
    ['CREATE TABLE t(a CHECK (a <> "z"), b CHECK (b <> "z"))', 'doubt'],
    ['SELECT "value" FROM json_each(\'[1]\') UNION SELECT "value" FROM items', 'doubt'],
    ['SELECT "x y" FROM (SELECT 1 AS [x y]) UNION SELECT "x y" FROM items', 'doubt'],
    ['SELECT "1 + 1" FROM (SELECT 1 + 1) UNION SELECT "1 + 1" FROM items', 'doubt'],
    ['SELECT "column1" FROM (VALUES (1)) UNION SELECT "column1" FROM items', 'doubt'],
    ['WITH c("b") AS (SELECT 1) SELECT "b" FROM c UNION SELECT "b" FROM items', 'doubt'],
    // The name is in a view or a trigger.
    ['SELECT * FROM broken', 'refused'],
    ['SELECT "in view" FROM broken', 'refused'],
    ['DELETE FROM items WHERE "name" = 1', 'refused'],
    ['DELETE FROM items', 'refused'],
    ['SELECT items."foo" FROM items', 'kept'],
  ])('%s is left alone', (sql, outcome) => {
    const found = rewrite(sql);
    if (outcome === 'kept') expect(found).toBe(sql);
    else expect(found).toBe(outcome);
  });

  it('changes nothing that SQLite understands', () => {
    const db = openDatabase();
    for (const sql of ['SELECT "name", "odd name" FROM "items"', 'SELECT "rowid" FROM items']) {
      expect(refusal(db, sql)).toBe('');
      expect(rewrite(sql)).toBe(sql);
    }
  });

  it('leaves a statement with very many alone', () => {
    const sql = `INSERT INTO widget VALUES ${Array.from({ length: 1_100 }, (_, n) => `("v${n}")`).join()}`;
    expect(planQuotes(sql, 'v0', KNOWN)).toEqual({ type: 'other' });
    const fewer = `INSERT INTO widget VALUES ${Array.from({ length: 1_000 }, (_, n) => `("v${n}")`).join()}`;
    expect(planQuotes(fewer, 'v0', KNOWN)).toMatchObject({ type: 'rewritten' });
    const nested = `SELECT (SELECT 1)${Array.from({ length: 101 }, (_, n) => `, "v ${n}"`).join('')}`;
    expect(planQuotes(nested, 'v 0', KNOWN)).toEqual({
      type: 'rewritten',
      sql: nested.replace('"v 0"', "'v 0'"),
    });
  });

  it('folds names as SQLite does', () => {
    expect(foldSqlName('ÄBC')).toBe('Äbc');
  });
});
