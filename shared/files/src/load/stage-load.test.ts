import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addLedgerNote, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { numberCopy } from '../restore/file-numbers.ts';
import { stageLoad } from './stage-load.ts';

const place = { dataDir: '/nowhere', group: 'main', dbFile: 'tenant.db', busyTimeoutMs: 50 };
let source: string;
let draft: string;
let old: string;

beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-load-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  [source, draft, old] = [join(folder, 'source.db'), join(folder, 'draft'), join(folder, 'old.db')];
});

function change<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

/** A tenant's file, with a row and one job. */
function makeTenant(path: string, epoch: number, jobId: string): void {
  change(path, db => {
    db.exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');
    takeEpoch(db, epoch);
    db.transaction(() => addLedgerNote(db, { id: 1, jobId, commitSeq: 1, committedAtMs: 0 }))();
  });
}

/** The same, as a broker of format 2 would have left it. */
function makeFormer(path: string): void {
  change(path, db => {
    db.unsafeMode(true);
    db.pragma('writable_schema = ON');
    db.exec(`DELETE FROM sqlite_schema WHERE name LIKE '%newer_broker';
      UPDATE sqlite_schema SET name = replace(name, 'sqlite_onewriter', '_onewriter'),
        tbl_name = replace(tbl_name, 'sqlite_onewriter', '_onewriter'), sql = replace(sql, 'sqlite_onewriter', '_onewriter')`);
    db.pragma('writable_schema = RESET');
    db.exec('UPDATE _onewriter_state SET format = 2');
  });
}

const load = () => {
  const rest = { base: undefined, present: undefined, idempotencyKey: undefined, replace: true };
  return stageLoad(place, { kind: 'load', source, format: 'sqlite', draft, ...rest }, () => {});
};
const schemaOf = (path: string) =>
  change(path, db => db.prepare('SELECT name FROM sqlite_schema ORDER BY 1').pluck().all());

describe('the load of a database', () => {
  it('takes nothing that has a name of the writer, whatever it is', async () => {
    makeTenant(source, 7, 'theirs');
    change(source, db =>
      db.exec(`CREATE TRIGGER _onewriter_raise AFTER INSERT ON t BEGIN UPDATE sqlite_onewriter_state SET epoch = 9; END;
        CREATE VIEW _onewriter_all AS SELECT * FROM sqlite_onewriter_state`),
    );
    const { rows, leftOut } = await load();
    expect([rows, leftOut]).toEqual([1, ["Onewriter's own tables"]]);
    expect(schemaOf(draft)).toEqual(['t']);
  });

  it('is refused where something else writes to the writer’s tables', async () => {
    makeTenant(source, 7, 'theirs');
    change(source, db =>
      db.exec(`CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE sqlite_onewriter_state SET epoch = 9; END`),
    );
    await expect(load()).rejects.toThrow(/tr: .*belong to the writer/);
  });

  it.each([
    ['now', () => {}],
    ['by a broker of format 2', makeFormer],
  ])('keeps the ledger of the tenant that it replaces, written %s', async (_, asWritten) => {
    makeTenant(source, 7, 'theirs');
    makeTenant(old, 3, 'ours');
    asWritten(old);
    const { numbers } = await load();
    const job = { kind: 'number', draft, numbers, old, keepsLedger: true, epoch: 4 } as const;
    expect(numberCopy(place, 'acme', job)).toMatchObject({ old: { epoch: 3 }, commitSeq: 2 });
    change(draft, db => {
      const jobs = db.prepare('SELECT job_id FROM sqlite_onewriter_ledger ORDER BY id').pluck().all();
      expect(jobs).toEqual(['ours', expect.stringMatching(/^restore-/)]);
      expect(takeEpoch(db, 4)).toBe(false);
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    });
  });
});
