import { OnewriterError } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';

/** The layout of the tables below. A file of another format is refused, never guessed. */
export const FILE_FORMAT = 1;

/**
 * Our tables in a tenant's file, created when it is first opened.
 *
 * - `_onewriter_state`: one row. `epoch` is the newest leader that opened the file; `commit_seq` counts its write
 *   transactions without holes; `synchronous` is what they were committed with.
 * - `_onewriter_ledger`: one row per job. `next_op` is NULL when the whole job is done, else the index of the first
 *   write that was not tried yet; `results` is the JSON of the results so far; `committed_at` is in ms by the
 *   broker's clock.
 * - `_onewriter_keys`: one row per applied write with an idempotency key.
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
  job_id TEXT NOT NULL UNIQUE,
  commit_seq INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  next_op INTEGER,
  results TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS _onewriter_keys(
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  job_id TEXT NOT NULL,
  op INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  result TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO _onewriter_state VALUES (1, ${FILE_FORMAT}, 0, 0, 'full');
`;

interface FileState {
  readonly format: number;
  readonly epoch: number;
}

/**
 * Makes `epoch` the file's epoch, and our tables where they are missing. Writes only if something changes, so that
 * opening a file again costs no flush.
 *
 * @returns whether it wrote.
 * @throws OnewriterError FENCED with `details.fileEpoch` where the file has seen a newer leader; TENANT_UNAVAILABLE
 * for an unknown format. SQLite's own errors pass through.
 */
export function takeEpoch(db: Database, epoch: number): boolean {
  if (readState(db, epoch)?.epoch === epoch) return false;
  db.exec('BEGIN IMMEDIATE');
  try {
    // Between the look and the lock another broker may have come.
    if (readState(db, epoch) === undefined) db.exec(SCHEMA);
    db.prepare('UPDATE _onewriter_state SET epoch = ? WHERE id = 1').run(epoch);
    db.exec('COMMIT');
    return true;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** The file's state, checked; `undefined` where our tables are missing. */
function readState(db: Database, epoch: number): FileState | undefined {
  const exists = db
    .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_onewriter_state'")
    .get();
  if (exists === undefined) return undefined;
  const state = db.prepare('SELECT format, epoch FROM _onewriter_state WHERE id = 1').get() as
    | FileState
    | undefined;
  if (state === undefined) return undefined;
  if (state.format !== FILE_FORMAT) {
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `The file's tables have format ${state.format}; this broker knows format ${FILE_FORMAT}. Update the broker.`,
      { reason: 'unknown file format', fileFormat: state.format },
    );
  }
  if (state.epoch > epoch) throw fenced(state.epoch);
  return state;
}

/** The answer to a leader that is not the newest. */
export function fenced(fileEpoch: number): OnewriterError {
  return new OnewriterError('FENCED', 'A newer broker has taken over this file.', { fileEpoch });
}
