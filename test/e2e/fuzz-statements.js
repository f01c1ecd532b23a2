/* Random statements of all kinds and random changes of the schema that they are compiled under. */

/** Numbers from 0 to below `count`; the same for the same seed (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return count => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * count);
  };
}

export const SCHEMA = [
  'CREATE TABLE IF NOT EXISTS t1(a, b UNIQUE)',
  'CREATE TABLE IF NOT EXISTS t2(a, b)',
  'CREATE VIEW IF NOT EXISTS v AS SELECT a FROM t1',
];

export const READS = [
  'SELECT * FROM t1',
  'SELECT a FROM t1 JOIN t2 USING (b) ORDER BY 1',
  'SELECT * FROM v',
  'WITH c AS (SELECT a, count(*) AS n FROM t2 GROUP BY a) SELECT * FROM c WHERE n > 0',
  "SELECT name, sql FROM sqlite_schema WHERE name LIKE 't%'",
  "SELECT * FROM pragma_table_info('t1')",
  'PRAGMA table_info(t1)',
  'PRAGMA index_list(t1)',
];

export const WRITES = [
  'INSERT INTO t1 SELECT * FROM t2',
  'INSERT INTO t2(a) VALUES (1)',
  'INSERT OR REPLACE INTO t1(a, b) VALUES (1, 2)',
  'INSERT INTO t1(a, b) VALUES (1, 2) ON CONFLICT (b) DO UPDATE SET a = excluded.a',
  'UPDATE t1 SET a = (SELECT max(a) FROM t2)',
  'UPDATE t1 SET a = 2 RETURNING *',
  'DELETE FROM t1 WHERE a IN (SELECT a FROM t2)',
];

const CHANGES = [
  [
    'DROP TABLE t1',
    count => `CREATE TABLE IF NOT EXISTS x${count % 7}(q, w, e)`,
    () => 'CREATE TABLE t1(a, b UNIQUE)',
  ],
  [
    'DROP TABLE t2',
    count => `CREATE TABLE IF NOT EXISTS y${count % 7}(q)`,
    count => `CREATE TABLE t2(a, b, c${count})`,
  ],
  [count => `DROP TABLE IF EXISTS x${count % 7}`, count => `DROP TABLE IF EXISTS y${count % 7}`],
  [count => `ALTER TABLE t1 ADD COLUMN n${count}`],
  ['DROP INDEX IF EXISTS i', 'CREATE INDEX i ON t1(a, b)'],
  ['DROP VIEW v', 'CREATE VIEW v AS SELECT b AS a FROM t1'],
  [
    'DROP TRIGGER IF EXISTS r',
    'CREATE TRIGGER r AFTER INSERT ON t1 BEGIN DELETE FROM t2 WHERE a = new.a; END',
  ],
  ['DROP TABLE IF EXISTS f', 'CREATE VIRTUAL TABLE f USING fts5(a)'],
];

/** A statement: plain, or its program, or its plan. */
export function pickStatement(random, kinds) {
  const sql = kinds[random(kinds.length)];
  const prefix = ['', 'EXPLAIN ', '/* x */ explain ', 'EXPLAIN QUERY PLAN '][random(4)];
  return sql.startsWith('PRAGMA') ? sql : prefix + sql;
}

/** Statements that change the schema, and leave t1, t2 and v there. */
export function pickChange(random, count) {
  return CHANGES[random(CHANGES.length)].map(step => (typeof step === 'string' ? step : step(count)));
}
