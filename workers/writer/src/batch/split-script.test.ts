import { classifyStatement, splitScript } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';

/*
 * The statement rules of shared/protocol against SQLite itself: one statement for them is one that SQLite
 * compiles.
 */

const PIECES = [
  'CREATE TABLE IF NOT EXISTS t(a, b DEFAULT (1))',
  "INSERT INTO t VALUES (';', 'it''s; --')",
  'INSERT INTO t(a) VALUES (1) /* ; */ -- ;\n',
  '/* a;b */ UPDATE t SET a = a || \';\' WHERE "b" = 1',
  'CREATE TRIGGER IF NOT EXISTS r AFTER INSERT ON t BEGIN UPDATE t SET b = CASE WHEN 1 THEN 2 ELSE 3 END; DELETE FROM t WHERE a = 7; END',
  "CREATE TRIGGER IF NOT EXISTS s BEFORE DELETE ON t WHEN old.a = 'END;' BEGIN SELECT CASE WHEN 1 THEN RAISE(IGNORE) END; END",
  'DROP TRIGGER IF EXISTS r',
  'CREATE VIEW IF NOT EXISTS w AS WITH c AS (SELECT 1 AS "x;y") SELECT * FROM c',
  'EXPLAIN CREATE TRIGGER q AFTER INSERT ON t BEGIN SELECT 1; END',
  'EXPLAIN QUERY PLAN SELECT * FROM t',
  "INSERT INTO t VALUES (x'3b', .5e-3)",
  'SELECT [a], `b` FROM t WHERE a <> 1;;',
  '\uFEFFDELETE FROM t WHERE a = 0x1F',
  '',
];
const SEPARATORS = [';', ' ;\n', ';-- next;\n', ';/*;*/;\t'];

function run(script: string, how: (db: Database.Database) => void): unknown {
  const db = new Database(':memory:');
  try {
    how(db);
    return [
      db.serialize().length,
      db.prepare('SELECT * FROM sqlite_schema').all(),
      db.prepare('SELECT * FROM t').all(),
    ];
  } catch (error) {
    throw new Error(`${(error as Error).message} in ${JSON.stringify(script)}`);
  } finally {
    db.close();
  }
}

describe('splitScript', () => {
  it('finds the statements that SQLite finds, in scripts of many shapes', () => {
    // A fixed walk through orders and separators, the same in every run.
    let seed = 1;
    const next = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    for (let round = 0; round < 300; round++) {
      let script = `${PIECES[0]}${SEPARATORS[next(4)]}`;
      for (let count = next(8); count >= 0; count--)
        script += PIECES[next(PIECES.length)]! + SEPARATORS[next(4)];
      const whole = run(script, db => db.exec(script));
      const pieces = run(script, db => {
        for (const piece of splitScript(script)) {
          classifyStatement(piece);
          const statement = db.prepare(piece);
          if (statement.reader) statement.all();
          else statement.run();
        }
      });
      expect(pieces).toEqual(whole);
    }
  });
});

describe('classifyStatement', () => {
  it.each([
    'SELECT 1',
    'WITH a AS (SELECT 1) SELECT * FROM a',
    'VALUES (1)',
    'PRAGMA table_info(t)',
    'INSERT INTO t VALUES (1, 2)',
    'WITH a AS (SELECT 1) DELETE FROM t',
    'WITH replace AS (SELECT 1) UPDATE t SET a = 1',
    'REPLACE INTO t VALUES (1, 2)',
    'CREATE TABLE u(a)',
    'DROP TABLE t',
    'PRAGMA user_version = 1',
    'ANALYZE',
  ])('calls %j what SQLite calls it', sql => {
    const db = new Database(':memory:');
    db.exec('CREATE TABLE t(a, b)');
    expect(classifyStatement(sql).kind).toBe(db.prepare(sql).readonly ? 'read' : 'write');
    db.close();
  });
});
