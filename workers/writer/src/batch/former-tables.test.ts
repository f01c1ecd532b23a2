import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { withReservedNames } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { FORMAT_2 } from '../../test-support/format-2.ts';
import { refused, TemporaryLane, writes } from '../../test-support/temporary-lane.ts';
import { takeEpoch } from './internal-tables.ts';

const JOBS = 40;
/** A tenant with rows in all tables, as a broker of format 2 left it. */
const IN_USE = `${FORMAT_2}
  CREATE TABLE t(a);
  WITH RECURSIVE job(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM job WHERE id < ${JOBS})
  INSERT INTO _onewriter_ledger SELECT id, 'w-' || id, id, 1000 + id, NULL, '[[1,' || id || ']]' FROM job;
  INSERT INTO _onewriter_jobs SELECT job_id, id FROM _onewriter_ledger WHERE id <= 32;
  INSERT INTO _onewriter_keys VALUES ('order-7', 'f', 'w-7', 0, 1007, '[1,7]');
  INSERT INTO _onewriter_marks VALUES (1, 'c', 1, 20, 0, 0);
  UPDATE _onewriter_state SET epoch = 3;
  ANALYZE;`;

const TABLES = ['state', 'ledger', 'jobs', 'keys', 'marks'];

function make(script = IN_USE): Database.Database {
  const db = new Database(':memory:');
  db.exec(script);
  return db;
}

const names = (db: Database.Database, like = '%onewriter%') =>
  db.prepare('SELECT name FROM sqlite_schema WHERE name LIKE ? ORDER BY 1').pluck().all(like);
const rowsOf = (db: Database.Database, prefix: string) =>
  TABLES.filter(name => name !== 'state').map(name =>
    db.prepare(`SELECT * FROM ${prefix}${name}`).raw().all(),
  );
const pagesOf = (db: Database.Database) =>
  db.prepare("SELECT rootpage FROM sqlite_schema WHERE name LIKE '%onewriter_ledger'").pluck().get();
const integrity = (db: Database.Database) => [
  db.pragma('integrity_check', { simple: true }),
  db.pragma('foreign_key_check'),
];

describe('the tables of format 2', () => {
  it('get the names of format 3 with the epoch, and keep their rows and pages', () => {
    const db = make();
    const before = rowsOf(db, '_onewriter_');
    const page = pagesOf(db);
    expect(takeEpoch(db, 4)).toBe(true);
    expect(names(db, '\\_onewriter%')).toEqual([]);
    expect(rowsOf(db, 'sqlite_onewriter_')).toEqual(before);
    expect(pagesOf(db)).toBe(page);
    expect(db.prepare('SELECT format, epoch FROM sqlite_onewriter_state').raw().get()).toEqual([3, 4]);
    expect(db.prepare("SELECT DISTINCT tbl FROM sqlite_stat1 WHERE tbl LIKE '%onewriter%'").all()).toEqual(
      [],
    );
    expect(integrity(db)).toEqual(['ok', []]);
    expect(takeEpoch(db, 4)).toBe(false);
    // As in a file that never had others.
    const made = new Database(':memory:');
    takeEpoch(made, 4);
    expect(names(db)).toEqual(names(made));
  });

  it('are brought over by a leader with the same epoch, and also without a row of state', () => {
    const db = make();
    expect(takeEpoch(db, 3)).toBe(true);
    expect(takeEpoch(db, 3)).toBe(false);
    const without = make(`${IN_USE}; DELETE FROM _onewriter_state`);
    expect(takeEpoch(without, 1)).toBe(true);
    expect(rowsOf(without, 'sqlite_onewriter_')).toEqual(rowsOf(db, 'sqlite_onewriter_'));
  });

  it('stay as they are for a leader that is not the newest, and of another format', () => {
    const db = make();
    expect(() => takeEpoch(db, 2)).toThrow(expect.objectContaining({ code: 'FENCED' }));
    db.exec('UPDATE _onewriter_state SET format = 1');
    expect(() => takeEpoch(db, 4)).toThrow(expect.objectContaining({ code: 'TENANT_UNAVAILABLE' }));
    db.exec('UPDATE _onewriter_state SET format = 2; DROP TABLE _onewriter_ledger');
    expect(() => takeEpoch(db, 4)).toThrow(/_onewriter_ledger was removed/);
    expect(names(db, 'sqlite\\_onewriter%')).toEqual([]);
  });

  it('stay as they are where a tool dropped the keys, and get the index of the jobs again', () => {
    const db = make(`${IN_USE}; DROP TABLE _onewriter_keys`);
    expect(() => takeEpoch(db, 4)).toThrow(/_onewriter_keys was removed/);
    const unindexed = make(`${IN_USE}; DROP TABLE _onewriter_jobs`);
    takeEpoch(unindexed, 4);
    expect(rowsOf(unindexed, 'sqlite_onewriter_')).toEqual(rowsOf(make(), '_onewriter_'));
  });

  it('stay as they are where they cannot be brought over, and the connection stays protected', () => {
    const db = make();
    withReservedNames(db, () => db.exec('CREATE TABLE sqlite_onewriter_marks(a)'));
    expect(() => takeEpoch(db, 4)).toThrow(/already/);
    expect(rowsOf(db, '_onewriter_')).toEqual(rowsOf(make(), '_onewriter_'));
    expect(() => db.exec('PRAGMA writable_schema = ON; DELETE FROM sqlite_schema')).toThrow(
      /may not be modified/,
    );
  });

  it('are not mixed with those of format 3', () => {
    const db = make();
    takeEpoch(db, 4);
    db.pragma('foreign_keys = OFF');
    db.exec(FORMAT_2);
    expect(() => takeEpoch(db, 5)).toThrow(/tables of two formats/);
  });

  it('are brought over with what others hung on them, and beside what is broken', () => {
    const db = make(`${IN_USE}
      CREATE INDEX theirs ON _onewriter_ledger(job_id);
      CREATE TRIGGER "on ""it" AFTER INSERT ON _OneWriter_keys BEGIN SELECT 1; END;
      CREATE VIEW seen AS SELECT max(commit_seq) FROM _onewriter_ledger;
      CREATE TRIGGER of_theirs AFTER INSERT ON t BEGIN SELECT * FROM _onewriter_state; END;
      CREATE VIEW broken AS SELECT * FROM gone;
      CREATE TABLE refers(k REFERENCES _onewriter_keys(key));
      CREATE VIRTUAL TABLE words USING fts5(w)`);
    withReservedNames(db, () =>
      db.exec(`INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING their_module(a)');
        UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a COLLATE theirs)' WHERE name = 't'`),
    );
    takeEpoch(db, 4);
    expect(names(db, 'theirs')).toEqual([]);
    expect(db.prepare('SELECT * FROM seen').pluck().get()).toBe(JOBS);
    db.exec('INSERT INTO t VALUES (1)');
    expect(
      db
        .prepare("SELECT sql FROM sqlite_schema WHERE sql LIKE '%\"_onewriter%' OR sql LIKE '% _onewriter%'")
        .pluck()
        .all(),
    ).toEqual([expect.stringContaining('newer_broker')]);
    expect(integrity(db)[1]).toEqual([]);
  });

  it('have their jobs known to the writer', () => {
    const lane = new TemporaryLane();
    mkdirSync(dirname(lane.file), { recursive: true });
    const db = new Database(lane.file);
    db.exec(IN_USE);
    db.close();
    for (const id of ['w-7', 'w-40']) {
      const job = { ...writes('INSERT INTO t VALUES (1)'), id };
      const [outcome] = (lane.run([job], { epoch: 4 }) as { jobs: readonly unknown[] }).jobs;
      expect(outcome).toMatchObject({ duplicate: true, commitSeq: Number(id.slice(2)) });
    }
    expect(lane.column('SELECT count(*) FROM t')).toEqual([0]);
    const [outcome] = (
      lane.run([writes('INSERT INTO t VALUES (1)')], { epoch: 4 }) as { jobs: readonly unknown[] }
    ).jobs;
    expect(outcome).toMatchObject({ commitSeq: JOBS + 1 });
    expect(refused(lane.run([writes('SELECT 1')], { epoch: 2 })).error.code).toBe('FENCED');
  });
});

describe('a file of format 3', () => {
  it('is refused by a broker of format 2, which makes nothing in it', () => {
    const db = new Database(':memory:');
    takeEpoch(db, 1);
    const before = names(db, '%');
    const asBefore = () => {
      db.exec('BEGIN IMMEDIATE');
      try {
        db.exec(FORMAT_2);
      } finally {
        db.exec('ROLLBACK');
      }
    };
    expect(asBefore).toThrow(/"sqlite_onewriter_needs_a_newer_broker" referencing "_onewriter_state"/);
    expect(names(db, '%')).toEqual(before);
  });
});
