import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { newJobId } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { refused, script, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';
import type { QueuedJob } from '../thread/lane-task.ts';
import { takeEpoch } from './internal-tables.ts';

/** The tables as format 1 had them. */
const FORMAT_1 = `
CREATE TABLE _onewriter_state(
  id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, epoch INTEGER NOT NULL, commit_seq INTEGER NOT NULL,
  synchronous TEXT NOT NULL
) STRICT;
CREATE TABLE _onewriter_ledger(
  id INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE, commit_seq INTEGER NOT NULL, committed_at INTEGER NOT NULL,
  next_op INTEGER, results TEXT NOT NULL
) STRICT;
CREATE TABLE _onewriter_keys(
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job_id TEXT NOT NULL, op INTEGER NOT NULL,
  committed_at INTEGER NOT NULL, result TEXT NOT NULL
) STRICT;
INSERT INTO _onewriter_state VALUES (1, 1, 1, 0, 'full');
CREATE TABLE t(id INTEGER PRIMARY KEY, a);
`;
const INSERT = 'INSERT INTO t(a) VALUES (1)';
/** The first of them was pruned. */
const FIRST_ID = 8;
const COMMITTED_AT = 1_700_000_000_000;

interface OldFile {
  readonly lane: TemporaryLane;
  /** Applied before, each with two writes. */
  readonly jobs: readonly QueuedJob[];
  readonly db: Database.Database;
}

/** A tenant's file that a broker of format 1 has written. */
function oldFile(jobs = 45): OldFile {
  const lane = new TemporaryLane();
  mkdirSync(dirname(lane.file), { recursive: true });
  const db = new Database(lane.file);
  onTestFinished(() => void db.close());
  db.pragma('journal_mode = WAL');
  db.exec(FORMAT_1);
  const applied = Array.from({ length: jobs }, (_, index) => ({
    ...writes(INSERT, INSERT),
    id: newJobId(),
    index,
  }));
  const record = db.prepare(`INSERT INTO _onewriter_ledger VALUES (?, ?, ?, ${COMMITTED_AT}, NULL, ?)`);
  for (const { id, index } of applied) {
    db.exec(`${INSERT}; ${INSERT}`);
    record.run(FIRST_ID + index, id, 1 + index, `[[1,${index * 2 + 1}],[1,${index * 2 + 2}]]`);
  }
  db.exec(`UPDATE _onewriter_state SET commit_seq = ${jobs}`);
  return { lane, jobs: applied, db };
}

const ROWS =
  'SELECT id, job_id, commit_seq, committed_at, next_op, results FROM _onewriter_ledger ORDER BY id';

describe('a file of format 1', () => {
  it.each([0, 1, 7, 8, 9, 45])(
    'is brought to format 2 when it is opened, with its ledger of %i jobs',
    count => {
      const { lane, jobs, db } = oldFile(count);
      const before = db.prepare(ROWS).raw().all();
      expect(lane.run([writes('SELEC')])).toMatchObject({
        kind: 'applied',
        jobs: [{ commitSeq: count + 1 }],
      });
      expect(db.prepare(ROWS).raw().all().slice(0, -1)).toEqual(before);
      expect(db.prepare('SELECT format FROM _onewriter_state').pluck().all()).toEqual([2]);
      const last = (count === 0 ? 0 : FIRST_ID + count - 1) + 1;
      expect(db.prepare('SELECT id, job_id FROM _onewriter_jobs ORDER BY id').raw().all()).toEqual(
        db
          .prepare(`SELECT id, job_id FROM _onewriter_ledger WHERE id <= ${last - (last % 16)}`)
          .raw()
          .all(),
      );
      // Earlier commits are not applied again.
      for (const [index, job] of jobs.entries()) {
        expect(lane.applyOne(job)).toMatchObject({
          duplicate: true,
          commitSeq: 1 + index,
          results: `[[1,${index * 2 + 1}],[1,${index * 2 + 2}]]`,
        });
      }
      expect(lane.column('SELECT count(*) FROM t')).toEqual([count * 2]);
      expect(lane.commitSeq).toBe(count + 1);
    },
  );

  it('continues a job that was applied in part', () => {
    const { lane, jobs, db } = oldFile(20);
    const job = jobs[3]!;
    db.exec(`UPDATE _onewriter_ledger SET next_op = 1, results = '[[1,7]]' WHERE job_id = '${job.id}'`);
    expect(lane.applyOne(job)).toMatchObject({ duplicate: false, commitSeq: 21, results: '[[1,7],[1,41]]' });
    expect(lane.applyOne(job)).toMatchObject({ duplicate: true, commitSeq: 21 });
    expect(lane.applyOne(writes(INSERT))).toMatchObject({ commitSeq: 22 });
  });

  it('keeps the newest commit where that is not of the last row', () => {
    const { lane, db } = oldFile(20);
    db.exec('UPDATE _onewriter_state SET commit_seq = 33');
    expect(lane.applyOne(writes(INSERT))).toMatchObject({ commitSeq: 34 });
  });

  it('is brought to format 2 although one view of the application is broken, and one reads the ledger', () => {
    const { lane, jobs, db } = oldFile();
    db.exec(
      'CREATE VIEW broken AS SELECT * FROM nowhere; CREATE VIEW ours AS SELECT job_id FROM _onewriter_ledger',
    );
    expect(lane.applyOne(jobs[44]!)).toMatchObject({ duplicate: true });
    expect(lane.column('SELECT count(*) FROM ours')).toEqual([45]);
  });

  it('stays as it is where that did not come to its end', () => {
    const { lane, jobs, db } = oldFile();
    // In the middle, when the old ledger is gone, another table is in the way.
    db.exec('CREATE VIEW _onewriter_jobs AS SELECT 1');
    const look = () =>
      ['SELECT * FROM sqlite_schema', 'SELECT * FROM _onewriter_state', ROWS].map(sql =>
        db.prepare(sql).raw().all(),
      );
    const before = look();
    const other = new Database(lane.file);
    expect(() => takeEpoch(other, 2)).toThrow('use DROP VIEW');
    expect(other.inTransaction).toBe(false);
    expect(look()).toEqual(before);
    db.exec('DROP VIEW _onewriter_jobs');
    // The same connection may try again.
    expect(takeEpoch(other, 2)).toBe(true);
    other.close();
    expect(lane.run([jobs[0]!], { epoch: 2 })).toMatchObject({ jobs: [{ duplicate: true }] });
  });

  it('is left alone by a leader that is not the newest', () => {
    const { lane, db } = oldFile();
    db.exec('UPDATE _onewriter_state SET epoch = 7');
    expect(refused(lane.run([writes(INSERT)])).error.code).toBe('FENCED');
    expect(db.prepare('SELECT format FROM _onewriter_state').pluck().get()).toBe(1);
  });

  it('lets no broker of format 1 commit that has it open', () => {
    const { lane, db } = oldFile();
    const fence = db.prepare(
      'UPDATE _onewriter_state SET commit_seq = commit_seq + 1 WHERE id = 1 AND epoch = ? RETURNING commit_seq',
    );
    db.exec('BEGIN IMMEDIATE');
    expect(fence.all(1)).toEqual([{ commit_seq: 46 }]);
    db.exec('ROLLBACK');
    expect(lane.run([writes(INSERT)], { epoch: 2 })).toMatchObject({ kind: 'applied' });
    db.exec('BEGIN IMMEDIATE');
    expect(fence.all(1)).toEqual([]);
    db.exec('ROLLBACK');
    // One that opens it looks for format 1 and says that it must be updated.
    expect(db.prepare('SELECT format FROM _onewriter_state WHERE id = 1').pluck().get()).not.toBe(1);
  });
});

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
