import { fenced, OnewriterError } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { INDEX_ALL_SQL } from '../ledger/ledger-index.ts';
import { MARKS_SCHEMA, MARKS_TABLE } from '../ledger/retention-marks.ts';

/** The layout of the tables below. Another one is refused, never guessed. */
export const FILE_FORMAT = 2;

/**
 * The internal tables in a tenant's file, created when it is first opened.
 *
 * - `_onewriter_state`: one row. `epoch` is the newest leader that opened the file; `commit_seq` counts its write
 *   transactions without holes, and is written only by those that add no row to the ledger (`NEWEST_COMMIT_SEQ_SQL` finds
 *   the newest); `synchronous` is what they were committed with.
 * - `_onewriter_ledger`: one row per job. `next_op` is NULL when the whole job is done, else the index of the first
 *   write that was not tried yet; `results` is the JSON of the results so far; `committed_at` is in ms by the
 *   broker's clock. Without an index, because that would be another page for every commit to write.
 * - `_onewriter_jobs`: the ledger's row of each job, except for the newest rows (`ledger-index.ts`).
 * - `_onewriter_keys`: one row per applied write with an idempotency key.
 * - `_onewriter_marks`: how old the rows of ledger and keys are (`retention-marks.ts`). Writers that do not know it leave it.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS _onewriter_state(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  commit_seq INTEGER NOT NULL,
  synchronous TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS _onewriter_ledger(
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  commit_seq INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  next_op INTEGER,
  results TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS _onewriter_jobs(
  job_id TEXT PRIMARY KEY,
  id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _onewriter_keys(
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  job_id TEXT NOT NULL,
  op INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  result TEXT NOT NULL
) STRICT;
${MARKS_SCHEMA}
INSERT OR IGNORE INTO _onewriter_state VALUES (1, ${FILE_FORMAT}, 0, 0, 'full');
`;

interface FileState {
  readonly format: number;
  readonly epoch: number;
}

/**
 * Makes `epoch` the file's epoch, and makes the internal tables where they are missing. Writes only if
 * something changes, so that opening a file again costs no flush.
 *
 * @returns whether it wrote.
 * @throws OnewriterError FENCED with `details.fileEpoch` where the file has seen a newer leader; TENANT_UNAVAILABLE
 * for an unknown format. SQLite's own errors pass through.
 */
export function takeEpoch(db: Database, epoch: number): boolean {
  const state = readState(db, epoch);
  if (state?.epoch === epoch && hasTable(db, MARKS_TABLE)) return false;
  db.exec('BEGIN IMMEDIATE');
  try {
    // Between the look and the lock another broker may have changed it.
    const { format } = readState(db, epoch) ?? {};
    if (format === undefined) {
      db.exec(SCHEMA);
      // A ledger without a state was not left by this program; its rows must be found nevertheless.
      db.exec(`DELETE FROM _onewriter_jobs; ${INDEX_ALL_SQL}`);
    } else db.exec(MARKS_SCHEMA);
    db.prepare('UPDATE _onewriter_state SET epoch = ? WHERE id = 1').run(epoch);
    db.exec('COMMIT');
    return true;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** The file's state, checked; `undefined` where the internal tables are missing. */
function readState(db: Database, epoch: number): FileState | undefined {
  if (!hasTable(db, '_onewriter_state')) return undefined;
  const state = db.prepare('SELECT format, epoch FROM _onewriter_state WHERE id = 1').get() as
    | FileState
    | undefined;
  if (state === undefined) return undefined;
  if (state.format !== FILE_FORMAT) {
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `The file's tables have format ${state.format}; this broker knows format ${FILE_FORMAT}. ${remedyFor(state.format)}`,
      { reason: 'unknown file format', fileFormat: state.format },
    );
  }
  if (state.epoch > epoch) throw fenced('file', state.epoch);
  if (!hasTable(db, '_onewriter_ledger')) {
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      'The table _onewriter_ledger was removed from the file: it is not known which writes were applied. Put a backup in its place: onewriter restore <backup> <tenant> --replace.',
      { reason: 'no ledger' },
    );
  }
  return state;
}

function remedyFor(format: number): string {
  return format > FILE_FORMAT
    ? 'Update the broker.'
    : 'Export its data with the version that wrote it, and import them.';
}

function hasTable(db: Database, name: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== undefined;
}
