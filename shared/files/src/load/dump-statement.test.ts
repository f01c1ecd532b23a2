import { describe, expect, it } from 'vitest';
import { judgeDumpStatement } from './dump-statement.ts';

describe('a statement of a dump', () => {
  it.each([
    ['CREATE TABLE t(a)', 'run'],
    ['INSERT INTO t VALUES(1)', 'run'],
    ["INSERT INTO t VALUES('_onewriter_state')", 'run'],
    [`INSERT INTO t VALUES(X'${'00'.repeat(2_000_000)}')`, 'run'],
    ["CREATE TABLE IF NOT EXISTS 'ft_data'(id INTEGER PRIMARY KEY, block BLOB)", 'run'],
    ['INSERT INTO sqlite_sequence VALUES(1,2)', 'sequences'],
    ["INSERT INTO main.'sqlite_sequence' (\"name\", seq) VALUES('t',2)", 'sequences'],
    ['/* all */ delete from "sqlite_sequence" ', 'sequences'],
    ["DELETE FROM sqlite_sequence WHERE name = 't'", 'run'],
    ['PRAGMA user_version=7', 'run'],
    ['PRAGMA legacy_alter_table=ON', 'run'],
    ['begin transaction', 'begin'],
    ['/* a comment */ COMMIT', 'commit'],
    ['END', 'commit'],
    ['SAVEPOINT a', 'skip'],
    ['PRAGMA defer_foreign_keys=TRUE', 'skip'],
    ['PRAGMA journal_mode=DELETE', 'skip'],
    ['PRAGMA main.page_size=1024', 'skip'],
    ['PRAGMA writable_schema=ON', 'skip'],
    ['PRAGMA recursive_triggers=0', 'run'],
    ['CREATE TABLE sqlite_sequence(name,seq)', 'skip'],
    ['CREATE TABLE _onewriter_state(id INTEGER)', 'leaveOut'],
    ['INSERT INTO "_onewriter_ledger" VALUES(1)', 'leaveOut'],
    ["INSERT INTO main.'_onewriter_ledger'(a) VALUES(1)", 'leaveOut'],
    ["PRAGMA encoding='UTF-16'", 'leaveOut'],
  ])('%.60s: %s', (sql, type) => {
    expect(judgeDumpStatement(sql).type).toBe(type);
  });

  it('turns foreign keys off and on where it stands', () => {
    expect(judgeDumpStatement('PRAGMA foreign_keys=OFF')).toEqual({ type: 'foreignKeys', on: false });
    expect(judgeDumpStatement('pragma foreign_keys(1)')).toEqual({ type: 'foreignKeys', on: true });
  });

  it('makes a virtual table by its own statement where the shell writes it into the schema', () => {
    const sql = 'CREATE VIRTUAL TABLE "it\'\'s" USING fts5(x)';
    const dumped = `INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table','it''s','it''s',0,'${sql.replaceAll("'", "''")}')`;
    expect(judgeDumpStatement(dumped)).toEqual({ type: 'virtualTable', name: "it''s", sql, filled: true });
    const plain = 'CREATE VIRTUAL TABLE IF NOT EXISTS main.ft USING fts5(x)';
    expect(judgeDumpStatement(plain)).toEqual({
      type: 'virtualTable',
      name: 'ft',
      sql: plain,
      filled: false,
    });
  });

  it.each([
    ["ATTACH 'x.db' AS x"],
    ["VACUUM INTO 'x.db'"],
    ['CREATE TEMP TABLE t(a)'],
    ['ROLLBACK'],
    ['ROLLBACK TO a'],
    ['PRAGMA ignore_check_constraints=ON'],
    ['PRAGMA temp_store_directory = "/tmp"'],
    ["INSERT INTO sqlite_master VALUES('view','v','v',0,'CREATE VIEW v AS SELECT 1')"],
    [
      "INSERT INTO sqlite_schema VALUES('table','_onewriter','_onewriter',0,'CREATE VIRTUAL TABLE _onewriter USING fts5(x)')",
    ],
    ['CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM _onewriter_ledger; END'],
    ['INSERT INTO t SELECT file FROM pragma_database_list'],
  ])('%.60s: refused', sql => {
    expect(() => judgeDumpStatement(sql)).toThrowError(
      expect.objectContaining({ code: 'STATEMENT_NOT_ALLOWED' }),
    );
  });
});
