import { withReservedNames } from '@onewriter/protocol';
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

/** SQLite does not let go of such a table; one without its name cannot be found. */
const hide = (table: string) =>
  `UPDATE sqlite_schema SET name = 'x', tbl_name = 'x', sql = replace(sql, name, 'x') WHERE name = '${table}'`;

/** The same, as a broker of format 2 would have written it. */
function ofFormat2(from: Database.Database): Database.Database {
  const to = new Database(':memory:');
  const tables = from
    .prepare<[], { name: string; sql: string }>(
      "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%newer_broker'",
    )
    .all();
  for (const { name, sql } of tables) {
    const former = name.replace('sqlite_', '_');
    to.exec(sql.replaceAll(name, former));
    for (const row of from.prepare<[], unknown[]>(`SELECT * FROM ${name}`).raw().all()) {
      to.prepare(`INSERT INTO ${former} VALUES (${row.map(() => '?').join(', ')})`).run(row);
    }
  }
  to.exec('UPDATE _onewriter_state SET format = 2');
  return to;
}

const found = () => checkLedger(db, 'acme').map(finding => finding.found);

describe('checking the ledger', () => {
  it.each([
    ['nothing', 'SELECT 1'],
    [
      'rows that were pruned',
      'DELETE FROM sqlite_onewriter_ledger WHERE id < 17; DELETE FROM sqlite_onewriter_jobs WHERE id < 17',
    ],
    [
      'a job that was delivered again after later ones, in the middle of its commits',
      'UPDATE sqlite_onewriter_ledger SET commit_seq = 41, committed_at = 41 WHERE id = 20; UPDATE sqlite_onewriter_state SET commit_seq = 41',
    ],
    ['a clock that was set back', 'UPDATE sqlite_onewriter_ledger SET committed_at = 100 - id WHERE id > 20'],
    [
      'ids that a restore skipped',
      "INSERT INTO sqlite_onewriter_ledger VALUES (1000, 'restore-1', 41, 41, NULL, '[]'); INSERT INTO sqlite_onewriter_jobs SELECT job_id, id FROM sqlite_onewriter_ledger WHERE id > 32 AND id <= 992",
    ],
  ])('finds nothing wrong with %s', (_, sql) => {
    db.exec(sql);
    expect(found()).toEqual([]);
  });

  it('reads the tables of format 2', () => {
    db = ofFormat2(db);
    expect(found()).toEqual([]);
    db.exec('DELETE FROM _onewriter_ledger WHERE id = 35');
    expect(found()).toEqual([expect.stringMatching(/^1 row of the ledger is missing/)]);
    db.exec('DROP TABLE _onewriter_jobs');
    expect(found()).toContain('The table _onewriter_jobs is missing.');
  });

  it.each([
    [
      'DELETE FROM sqlite_onewriter_ledger WHERE id IN (35, 36, 38)',
      /^3 rows of the ledger are missing \(id 35 to 36, 38\)/,
    ],
    [
      'UPDATE sqlite_onewriter_ledger SET commit_seq = 3 WHERE id = 39',
      /^1 row of the ledger has a lower commit/,
    ],
    ['DELETE FROM sqlite_onewriter_state', /sqlite_onewriter_state has no row/],
    [hide('sqlite_onewriter_state'), /sqlite_onewriter_state is missing/],
    [hide('sqlite_onewriter_jobs'), /sqlite_onewriter_jobs is missing/],
    ['UPDATE sqlite_onewriter_state SET format = 4', /format 4; this program knows format 3/],
    [
      "UPDATE sqlite_onewriter_ledger SET results = '{' WHERE id = 40",
      /^1 row of the ledger holds no results/,
    ],
  ])('finds what %s does', (sql, expected) => {
    withReservedNames(db, () => db.exec(sql));
    expect(found()).toEqual([expect.stringMatching(expected)]);
  });
});
