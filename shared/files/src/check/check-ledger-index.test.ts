import { addLedgerNote, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import { checkLedgerIndex } from './check-ledger-index.ts';

let db: Database.Database;

beforeEach(() => {
  db = new Database(':memory:');
  takeEpoch(db, 1);
});

function fill(rows: number): void {
  for (let id = 1; id <= rows; id++) {
    addLedgerNote(db, { id, jobId: `w-${id}`, commitSeq: id, committedAtMs: 0 });
  }
}

describe('checking the index of the ledger', () => {
  it.each([0, 1, 15, 16, 17, 40])('finds nothing wrong in a ledger of %i rows that the writer made', rows => {
    fill(rows);
    expect(checkLedgerIndex(db)).toEqual([]);
  });

  it.each([
    [
      "DELETE FROM sqlite_onewriter_jobs WHERE job_id = 'w-3'",
      [/^1 row of the ledger is missing in its index/],
    ],
    [
      "UPDATE sqlite_onewriter_jobs SET id = 4 WHERE job_id = 'w-3'",
      [/^1 row of the ledger is missing/, /^1 entry of the ledger's index has no row/],
    ],
    ["INSERT INTO sqlite_onewriter_jobs VALUES ('w-99', 5)", [/^1 entry of the ledger's index has no row/]],
    [
      "INSERT INTO sqlite_onewriter_ledger(job_id, commit_seq, committed_at, results) VALUES ('w-3', 41, 0, '[]')",
      [/^1 row of the ledger is of a job that has another/],
    ],
  ])('finds what %s does', (spoil, expected) => {
    fill(40);
    db.exec(spoil);
    expect(checkLedgerIndex(db)).toEqual(expected.map(text => expect.stringMatching(text)));
  });
});
