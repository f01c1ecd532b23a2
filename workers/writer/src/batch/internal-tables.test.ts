import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { refused, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';
import { takeEpoch } from './internal-tables.ts';

const INSERT = 'INSERT INTO t(a) VALUES (1)';

describe('internal tables', () => {
  it('are found again where the row of state is gone', () => {
    const lane = new TemporaryLane();
    const job = writes(INSERT);
    lane.apply(script('CREATE TABLE t(a)'), ...Array.from({ length: 20 }, () => writes(INSERT)), job);
    lane.lane.close();
    const db = new Database(lane.file);
    db.exec('DELETE FROM sqlite_onewriter_state; DELETE FROM sqlite_onewriter_jobs');
    db.close();
    expect(lane.applyOne(job)).toMatchObject({ duplicate: true, commitSeq: 1 });
    expect(lane.applyOne(writes(INSERT))).toMatchObject({ commitSeq: 2 });
    expect(lane.column('SELECT count(*) FROM sqlite_onewriter_jobs')).toEqual([16]);
  });

  it.each([
    [1, 'Export its data with the version that wrote it'],
    [2, 'Export its data with the version that wrote it'],
    [4, 'Update the broker'],
  ])('of format %i are refused, with the way out, and left as they are', (format, remedy) => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    lane.lane.close();
    const db = new Database(lane.file);
    db.exec(`UPDATE sqlite_onewriter_state SET format = ${format}`);
    const { error } = refused(lane.run([writes(INSERT)], { epoch: 2 }));
    expect(error).toMatchObject({ code: 'TENANT_UNAVAILABLE', details: { fileFormat: format } });
    expect(error.message).toContain(remedy);
    expect(db.prepare('SELECT format, epoch FROM sqlite_onewriter_state').raw().get()).toEqual([format, 1]);
    db.close();
  });

  it('are left alone by a leader that is not the newest', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    lane.lane.close();
    const db = new Database(lane.file);
    db.exec('UPDATE sqlite_onewriter_state SET epoch = 7');
    expect(refused(lane.run([writes(INSERT)])).error.code).toBe('FENCED');
    expect(db.prepare('SELECT epoch FROM sqlite_onewriter_state').pluck().get()).toBe(7);
    db.close();
  });

  it('are made in a file of an application, whose own tables stay', () => {
    const db = new Database(':memory:');
    db.exec('CREATE TABLE theirs(a)');
    expect(takeEpoch(db, 1)).toBe(true);
    expect(takeEpoch(db, 1)).toBe(false);
    expect(
      db.prepare('SELECT name FROM sqlite_schema WHERE type = ? ORDER BY name').pluck().all('table'),
    ).toEqual([
      'sqlite_onewriter_jobs',
      'sqlite_onewriter_keys',
      'sqlite_onewriter_ledger',
      'sqlite_onewriter_marks',
      'sqlite_onewriter_needs_a_newer_broker',
      'sqlite_onewriter_state',
      'theirs',
    ]);
    expect(db.prepare('SELECT name FROM sqlite_temp_schema').all()).toEqual([]);
  });

  it.each([
    'DROP TABLE sqlite_onewriter_ledger',
    'ALTER TABLE sqlite_onewriter_ledger RENAME TO x',
    'ALTER TABLE sqlite_onewriter_ledger ADD COLUMN x',
    'ALTER TABLE sqlite_onewriter_ledger DROP COLUMN next_op',
    'ALTER TABLE sqlite_onewriter_ledger RENAME COLUMN next_op TO x',
    'CREATE TRIGGER x AFTER INSERT ON sqlite_onewriter_ledger BEGIN SELECT 1; END',
    'CREATE INDEX x ON sqlite_onewriter_ledger(job_id)',
    'DROP INDEX sqlite_autoindex_sqlite_onewriter_keys_1',
    'CREATE TABLE sqlite_onewriter_x(a)',
    'CREATE VIRTUAL TABLE sqlite_onewriter USING fts5(a)',
    'UPDATE sqlite_schema SET sql = NULL',
    'PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = NULL',
  ])('are kept by SQLite itself from %s', sql => {
    const db = new Database(':memory:');
    takeEpoch(db, 1);
    expect(() => db.exec(sql)).toThrow(/may not be|cannot|reserved/);
    // What scripts with shadow tables are run with: see shadow-tables.ts.
    if (!sql.includes('sqlite_schema')) {
      db.unsafeMode(true);
      expect(() => db.exec(sql)).toThrow(/may not be|cannot|reserved/);
    }
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
  });

  it('hold the rows of a VACUUM, and of changes to the tables of the tenant', () => {
    const db = new Database(':memory:');
    db.exec('CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t');
    takeEpoch(db, 5);
    db.exec(
      'ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME COLUMN a TO b; DROP TABLE u; VACUUM; REINDEX; ANALYZE',
    );
    expect(db.prepare('SELECT epoch FROM sqlite_onewriter_state').pluck().get()).toBe(5);
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    expect(db.pragma('foreign_key_check')).toEqual([]);
  });
});
