import { addLedgerNote, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import { checkLedger } from './check-ledger.ts';

let db: Database.Database;

beforeEach(() => {
  db = new Database(':memory:');
  takeEpoch(db, 1);
  for (let id = 1; id <= 40; id++)
    addLedgerNote(db, { id, jobId: `w-${id}`, commitSeq: id, committedAtMs: id });
});

const found = () => checkLedger(db, 'acme').map(finding => finding.found);

describe('checking the ledger', () => {
  it.each([
    ['nothing', 'SELECT 1'],
    [
      'rows that were pruned',
      'DELETE FROM _onewriter_ledger WHERE id < 17; DELETE FROM _onewriter_jobs WHERE id < 17',
    ],
    [
      'a job that was delivered again after later ones, in the middle of its commits',
      'UPDATE _onewriter_ledger SET commit_seq = 41, committed_at = 41 WHERE id = 20; UPDATE _onewriter_state SET commit_seq = 41',
    ],
    ['a clock that was set back', 'UPDATE _onewriter_ledger SET committed_at = 100 - id WHERE id > 20'],
    [
      'ids that a restore skipped',
      "INSERT INTO _onewriter_ledger VALUES (1000, 'restore-1', 41, 41, NULL, '[]'); INSERT INTO _onewriter_jobs SELECT job_id, id FROM _onewriter_ledger WHERE id > 32 AND id <= 992",
    ],
  ])('finds nothing wrong with %s', (_, sql) => {
    db.exec(sql);
    expect(found()).toEqual([]);
  });

  it.each([
    [
      'DELETE FROM _onewriter_ledger WHERE id IN (35, 36, 38)',
      /^3 rows of the ledger are missing \(id 35 to 36, 38\)/,
    ],
    ['UPDATE _onewriter_ledger SET commit_seq = 3 WHERE id = 39', /^1 row of the ledger has a lower commit/],
    ['DELETE FROM _onewriter_state', /_onewriter_state has no row/],
    ['DROP TABLE _onewriter_state', /_onewriter_state is missing/],
    ['DROP TABLE _onewriter_jobs', /_onewriter_jobs is missing/],
    ['UPDATE _onewriter_state SET format = 3', /format 3; this program knows format 2/],
    ["UPDATE _onewriter_ledger SET results = '{' WHERE id = 40", /^1 row of the ledger holds no results/],
  ])('finds what %s does', (sql, expected) => {
    db.exec(sql);
    expect(found()).toEqual([expect.stringMatching(expected)]);
  });
});
