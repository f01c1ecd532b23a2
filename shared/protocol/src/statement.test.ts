import { describe, expect, it } from 'vitest';
import { isOnewriterError } from './onewriter-error.ts';
import { classifyStatement } from './statement.ts';

/** The class in one word, or the code of the refusal. */
function verdict(sql: string): string {
  try {
    const { kind, keyword, explain, inserts, answer } = classifyStatement(sql);
    return `${kind} ${keyword}${inserts ? ' inserts' : ''}${explain ? ' explain' : ''}${answer ? ' answered' : ''}`;
  } catch (error) {
    return isOnewriterError(error) ? error.code : String(error);
  }
}

const NOT_ALLOWED = 'STATEMENT_NOT_ALLOWED';

describe('classifyStatement', () => {
  it.each([
    // reads
    ['SELECT 1', 'read SELECT'],
    ['select 1', 'read SELECT'],
    [' \t\r\n\f SELECT 1 ; ; -- done', 'read SELECT'],
    [';;; SELECT 1', 'read SELECT'],
    ['\uFEFFSELECT 1', 'read SELECT'],
    ['/* INSERT */ SELECT 1', 'read SELECT'],
    ['/*/ INSERT */ SELECT 1', 'read SELECT'],
    ['-- DELETE FROM t\nSELECT 1', 'read SELECT'],
    ['SELECT 1 -- ; ATTACH x', 'read SELECT'],
    ['SELECT 1 /* ; ATTACH x', 'read SELECT'],
    ["SELECT '; ATTACH ''x'''", 'read SELECT'],
    ['SELECT "a;b", [c;d], `e;f` FROM t', 'read SELECT'],
    ['VALUES (1), (2)', 'read VALUES'],
    ['WITH a AS (SELECT 1) SELECT * FROM a', 'read SELECT'],
    ['WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM a LIMIT 3) SELECT x FROM a', 'read SELECT'],
    ['WITH a AS NOT MATERIALIZED (SELECT 1), b AS (SELECT 2) VALUES (1)', 'read VALUES'],
    ['WITH "insert" AS (SELECT 1) SELECT * FROM "insert"', 'read SELECT'],
    ['SELECT * FROM _onewriter_ledger', 'read SELECT'],
    ['SELECT * FROM sqlite_onewriter_ledger', 'read SELECT'],
    ["INSERT INTO t VALUES ('sqlite_onewriter_ledger')", 'write INSERT inserts'],
    ["SELECT * FROM pragma_table_info('t')", 'read SELECT'],
    ['SELECT * FROM temp.sqlite_schema', 'read SELECT'],
    // EXPLAIN
    ['EXPLAIN SELECT 1', 'read SELECT explain'],
    ['explain /**/ query -- x\n plan DELETE FROM t', 'read DELETE explain'],
    ['EXPLAIN INSERT INTO t VALUES (1)', 'read INSERT explain'],
    ['EXPLAIN CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;', 'read CREATE explain'],
    ['EXPLAIN ATTACH ? AS x', NOT_ALLOWED],
    ['EXPLAIN QUERY PLAN VACUUM', NOT_ALLOWED],
    ['EXPLAIN', 'INVALID_ARGUMENT'],
    // writes
    ['INSERT INTO t VALUES (1)', 'write INSERT inserts'],
    ['\uFEFF;-- x\n/* y */insert or rollback into t values (1)', 'write INSERT inserts'],
    ['REPLACE INTO t VALUES (1)', 'write REPLACE inserts'],
    ['UPDATE t SET a = 1 RETURNING *', 'write UPDATE'],
    ['DELETE FROM t', 'write DELETE'],
    ['WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a', 'write INSERT inserts'],
    ['WITH a(x) AS (SELECT 1), b AS (SELECT 2) DELETE FROM t', 'write DELETE'],
    ['WITH replace AS (SELECT 1) UPDATE t SET a = 1', 'write UPDATE'],
    ['WITH a AS (SELECT (1)) /* SELECT */ REPLACE INTO t VALUES (1)', 'write REPLACE inserts'],
    ['CREATE TABLE t(a, trigger)', 'write CREATE'],
    ['CREATE TABLE temp(a)', 'write CREATE'],
    ['CREATE TABLE t(a DEFAULT (1)); ;', 'write CREATE'],
    ['CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; END', 'write CREATE'],
    ['CREATE VIRTUAL TABLE f USING fts5(a)', 'write CREATE'],
    ['DROP TABLE t', 'write DROP'],
    ['ALTER TABLE t RENAME TO u', 'write ALTER'],
    ['REINDEX', 'write REINDEX'],
    ['ANALYZE t', 'write ANALYZE'],
    ["INSERT INTO t VALUES ('_onewriter_ledger')", 'write INSERT inserts'],
    ['CREATE TABLE t(_onewriter)', 'write CREATE'],
    ['CREATE VIRTUAL TABLE t USING fts5(_onewriter)', 'write CREATE'],
    ["UPDATE t SET a = 'x' WHERE b LIKE '_onewriter_%'", 'write UPDATE'],
    ['UPDATE t SET a = temp.b FROM u AS temp WHERE temp.id = t.id', 'write UPDATE'],
    ['INSERT INTO t SELECT b.x FROM temp JOIN b ON temp.id = b.id', 'write INSERT inserts'],
    // SQLite refuses these
    ['SELEC 1', 'write SELEC'],
    ['(SELECT 1)', 'write '],
    ["'x'", 'write '],
    ['\u00a0SELECT 1', 'write \u00a0SELECT'],
    ['EXPLAIN EXPLAIN SELECT 1', 'read EXPLAIN explain'],
    ['WITH a AS (SELECT 1)', 'write WITH'],
    // transaction control
    ['BEGIN', NOT_ALLOWED],
    ['begin immediate transaction', NOT_ALLOWED],
    ['  /* */ -- x\n ; \uFEFF BeGiN', NOT_ALLOWED],
    ['COMMIT', NOT_ALLOWED],
    ['END', NOT_ALLOWED],
    ['END TRANSACTION', NOT_ALLOWED],
    ['ROLLBACK', NOT_ALLOWED],
    ['ROLLBACK TO x', NOT_ALLOWED],
    ['SAVEPOINT x', NOT_ALLOWED],
    ['RELEASE x', NOT_ALLOWED],
    // other files
    ["ATTACH '/data/tenants/other/tenant.db' AS x", NOT_ALLOWED],
    ["aTtAcH/**/DATABASE/**/'x' AS y", NOT_ALLOWED],
    ['\vATTACH x AS y', NOT_ALLOWED],
    [' \vATTACH x AS y', NOT_ALLOWED],
    ['DETACH x', NOT_ALLOWED],
    ['VACUUM', NOT_ALLOWED],
    ["VACUUM INTO '/tmp/x'", NOT_ALLOWED],
    ['SELECT file FROM pragma_database_list', NOT_ALLOWED],
    ['SELECT file FROM "PRAGMA_database_list"', NOT_ALLOWED],
    ["SELECT 1 FROM t, 'pragma_database_list'", NOT_ALLOWED],
    // TEMP
    ['CREATE TEMP TABLE t(a)', NOT_ALLOWED],
    ['CREATE/**/TEMPORARY VIEW v AS SELECT 1', NOT_ALLOWED],
    ['CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END', NOT_ALLOWED],
    ['CREATE TABLE temp.t(a)', NOT_ALLOWED],
    ['CREATE TABLE IF NOT EXISTS "Temp" . t(a)', NOT_ALLOWED],
    ["CREATE VIEW 'temp'.v AS SELECT 1", NOT_ALLOWED],
    ['CREATE UNIQUE INDEX [temp].i ON t(a)', NOT_ALLOWED],
    ['INSERT INTO `temp`/**/.t VALUES (1)', NOT_ALLOWED],
    ['UPDATE OR IGNORE temp.t SET a = 1', NOT_ALLOWED],
    ['DELETE FROM temp.t', NOT_ALLOWED],
    ['DROP TRIGGER temp.x', NOT_ALLOWED],
    ['DELETE FROM sqlite_temp_master', NOT_ALLOWED],
    // the writer's own tables
    ['DELETE FROM _onewriter_ledger', NOT_ALLOWED],
    ['DELETE FROM sqlite_onewriter_ledger', NOT_ALLOWED],
    ['UPDATE main."SQLite_OneWriter_State" SET epoch = 0', NOT_ALLOWED],
    ["INSERT INTO 'sqlite_onewriter_keys' DEFAULT VALUES", NOT_ALLOWED],
    ['CREATE TABLE sqlite_onewriter_x(a)', NOT_ALLOWED],
    ['CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM sqlite_onewriter_keys; END', NOT_ALLOWED],
    ['CREATE TABLE t(k REFERENCES sqlite_onewriter_keys(key))', NOT_ALLOWED],
    ['CREATE VIRTUAL TABLE sqlite_onewriter USING fts5(a)', NOT_ALLOWED],
    ['WITH a AS (SELECT 1) DELETE FROM [sqlite_onewriter_ledger]', NOT_ALLOWED],
    ['CREATE VIRTUAL TABLE _onewriter USING fts5(a)', NOT_ALLOWED],
    ['CREATE VIRTUAL TABLE main."_OneWriter" USING rtree(id, a, b)', NOT_ALLOWED],
    ['ALTER TABLE a RENAME TO _onewriter', NOT_ALLOWED],
    ['UPDATE "_ONEWRITER_state" SET epoch = 0', NOT_ALLOWED],
    ['UPDATE main._onewriter_state SET epoch = 0', NOT_ALLOWED],
    ["INSERT INTO '_onewriter_keys' DEFAULT VALUES", NOT_ALLOWED],
    ["UPDATE OR FAIL '_onewriter_state' SET epoch = 0", NOT_ALLOWED],
    ["DELETE FROM main.'_onewriter_state'", NOT_ALLOWED],
    ['DROP TABLE IF EXISTS [_onewriter_state]', NOT_ALLOWED],
    ['ALTER TABLE t RENAME TO `_onewriter_x`', NOT_ALLOWED],
    ['CREATE TABLE t(k REFERENCES _onewriter_keys(key))', NOT_ALLOWED],
    ["CREATE TABLE t(k REFERENCES '_onewriter_keys'(key))", NOT_ALLOWED],
    ["CREATE INDEX i ON '_onewriter_ledger'(results)", NOT_ALLOWED],
    ['CREATE TRIGGER x AFTER INSERT ON _onewriter_ledger BEGIN SELECT 1; END', NOT_ALLOWED],
    ['CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM _onewriter_keys; END', NOT_ALLOWED],
    ['WITH a AS (SELECT 1) DELETE FROM _onewriter_ledger', NOT_ALLOWED],
    // PRAGMA
    ['PRAGMA table_info(t)', 'read PRAGMA'],
    ["pragma main.index_list ( 't' ) ;", 'read PRAGMA'],
    ['PRAGMA table_list', 'read PRAGMA'],
    ['PRAGMA foreign_key_check', 'read PRAGMA'],
    ['PRAGMA integrity_check(5)', 'read PRAGMA'],
    ['PRAGMA journal_mode', 'read PRAGMA'],
    ['PRAGMA foreign_keys', 'read PRAGMA'],
    ['PRAGMA user_version', 'read PRAGMA'],
    ['PRAGMA user_version = 5', 'write PRAGMA'],
    ['PRAGMA main.user_version(-5)', 'write PRAGMA'],
    ['PRAGMA application_id = 0x10', 'write PRAGMA'],
    ['PRAGMA optimize', 'write PRAGMA'],
    ['EXPLAIN PRAGMA user_version = 5', 'read PRAGMA explain'],
    ['PRAGMA journal_mode = DELETE', NOT_ALLOWED],
    ['PRAGMA/**/journal_mode(memory)', NOT_ALLOWED],
    ['PRAGMA foreign_keys = OFF', NOT_ALLOWED],
    ['PRAGMA synchronous = OFF', NOT_ALLOWED],
    ['PRAGMA writable_schema = 1', NOT_ALLOWED],
    ['PRAGMA schema_version = 1', NOT_ALLOWED],
    ['PRAGMA defer_foreign_keys = 1', NOT_ALLOWED],
    ['PRAGMA wal_checkpoint(TRUNCATE)', NOT_ALLOWED],
    ['PRAGMA locking_mode = EXCLUSIVE', NOT_ALLOWED],
    ['PRAGMA database_list(main)', NOT_ALLOWED],
    ['EXPLAIN PRAGMA database_list', NOT_ALLOWED],
    ['EXPLAIN PRAGMA foreign_keys = ON', NOT_ALLOWED],
    ['PRAGMA foreign_keys = maybe', NOT_ALLOWED],
    ['PRAGMA foreign_keys = -1', NOT_ALLOWED],
    ['PRAGMA foreign_keys = ?', NOT_ALLOWED],
    ['PRAGMA foreign_keys = ON OFF', NOT_ALLOWED],
    ['PRAGMA busy_timeout = 0', NOT_ALLOWED],
    ['PRAGMA cache_size = -64000', NOT_ALLOWED],
    ['PRAGMA temp_store = MEMORY', NOT_ALLOWED],
    ['PRAGMA query_only = ON', NOT_ALLOWED],
    ['PRAGMA database_list', 'read PRAGMA answered'],
    ['PRAGMA foreign_keys = ON', 'read PRAGMA answered'],
    ["pragma main.foreign_keys('yes')", 'read PRAGMA answered'],
    ['PRAGMA journal_mode = "WAL"', 'read PRAGMA answered'],
    ['PRAGMA synchronous', 'read PRAGMA answered'],
    ['PRAGMA temp.user_version', NOT_ALLOWED],
    ['PRAGMA other.user_version', NOT_ALLOWED],
    ['PRAGMA "user_version"', NOT_ALLOWED],
    ['PRAGMA', NOT_ALLOWED],
    ['PRAGMA __proto__', NOT_ALLOWED],
    ['EXPLAIN PRAGMA journal_mode = DELETE', NOT_ALLOWED],
    // more than one, and none
    ['SELECT 1; SELECT 2', NOT_ALLOWED],
    ['SELECT 1;;/**/ATTACH x AS y', NOT_ALLOWED],
    ['SELECT $a(;) ATTACH x AS y', NOT_ALLOWED],
    ['CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END; DROP TABLE t', NOT_ALLOWED],
    ['', 'INVALID_ARGUMENT'],
    [' ;; -- nothing', 'INVALID_ARGUMENT'],
    ['/* SELECT 1', 'INVALID_ARGUMENT'],
    ['SELECT 1\0; ATTACH x AS y', 'INVALID_ARGUMENT'],
    ["SELECT '\ud800'", 'INVALID_VALUE'],
    [`SELECT '${'é'.repeat(600_000)}'`, 'STATEMENT_TOO_LARGE'],
  ])('%j is %s', (sql, expected) => {
    expect(verdict(sql)).toBe(expected);
  });

  it('refuses what is not a string', () => {
    expect(verdict(undefined as unknown as string)).toBe('INVALID_ARGUMENT');
  });

  it('answers the same from its cache, and the cache is bounded', () => {
    const first = classifyStatement('SELECT 42');
    expect(classifyStatement('SELECT 42')).toBe(first);
    for (let index = 0; index < 1_000; index++) classifyStatement(`SELECT ${index} AS other`);
    expect(classifyStatement('SELECT 42')).not.toBe(first);
    expect(classifyStatement('SELECT 42')).toEqual(first);
  });

  it.each([
    ['INSERT INTO t VALUES (1) RETURNING *', true],
    ['WITH a AS (SELECT 1) UPDATE t SET x = 1 returning id', true],
    ['DELETE FROM t /* returning */ RETURNING "returning"', true],
    ["INSERT INTO t VALUES ('returning') -- returning", false],
    ['UPDATE t SET x = "returning"', false],
    ['CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u RETURNING id; END', false],
    ['EXPLAIN DELETE FROM t RETURNING id', false],
    ['SELECT 1', false],
  ])('knows whether a write returns rows: %s', (sql, returning) => {
    expect(classifyStatement(sql).returning).toBe(returning);
  });
});
