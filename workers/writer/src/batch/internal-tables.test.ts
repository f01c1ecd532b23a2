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
    db.exec('DELETE FROM _onewriter_state; DROP TABLE _onewriter_jobs');
    db.close();
    expect(lane.applyOne(job)).toMatchObject({ duplicate: true, commitSeq: 1 });
    expect(lane.applyOne(writes(INSERT))).toMatchObject({ commitSeq: 2 });
    expect(lane.column('SELECT count(*) FROM _onewriter_jobs')).toEqual([16]);
  });

  it.each([
    [1, 'Export its data with the version that wrote it'],
    [3, 'Update the broker'],
  ])('of format %i are refused, with the way out, and left as they are', (format, remedy) => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    lane.lane.close();
    const db = new Database(lane.file);
    db.exec(`UPDATE _onewriter_state SET format = ${format}`);
    const { error } = refused(lane.run([writes(INSERT)], { epoch: 2 }));
    expect(error).toMatchObject({ code: 'TENANT_UNAVAILABLE', details: { fileFormat: format } });
    expect(error.message).toContain(remedy);
    expect(db.prepare('SELECT format, epoch FROM _onewriter_state').raw().get()).toEqual([format, 1]);
    db.close();
  });

  it('are left alone by a leader that is not the newest', () => {
    const lane = new TemporaryLane();
    lane.applyOne(script('CREATE TABLE t(a)'));
    lane.lane.close();
    const db = new Database(lane.file);
    db.exec('UPDATE _onewriter_state SET epoch = 7');
    expect(refused(lane.run([writes(INSERT)])).error.code).toBe('FENCED');
    expect(db.prepare('SELECT epoch FROM _onewriter_state').pluck().get()).toBe(7);
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
      '_onewriter_jobs',
      '_onewriter_keys',
      '_onewriter_ledger',
      '_onewriter_marks',
      '_onewriter_state',
      'theirs',
    ]);
    expect(db.prepare('SELECT name FROM sqlite_temp_schema').all()).toEqual([]);
  });
});
