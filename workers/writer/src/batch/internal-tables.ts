import {
  FORMER_TABLE_PREFIX,
  fenced,
  INTERNAL_TABLE_PREFIX,
  isNotOwnTableSql,
  OnewriterError,
  withReservedNames,
} from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { INDEX_ALL_SQL } from '../ledger/ledger-index.ts';
import { MARKS_SCHEMA, MARKS_TABLE } from '../ledger/retention-marks.ts';
import { bringOver, FORMER_TABLES, OLD_BROKER_GUARD } from './former-tables.ts';

/** The layout of the tables below. Another one is refused, never guessed; {@link FORMER_FORMAT} is brought over. */
export const FILE_FORMAT = 3;

/** The same tables under the former prefix, which tools that compare schemas list and drop. */
export const FORMER_FORMAT = 2;

/**
 * The internal tables in a tenant's file, created when it is first opened. SQLite reserves their prefix: nothing can drop or
 * alter them, and tools do not list them (ADR 0057).
 *
 * - `sqlite_onewriter_state`: one row. `epoch` is the newest leader that opened the file; `commit_seq` counts its write
 *   transactions without holes, and is written only by those that add no row to the ledger (`NEWEST_COMMIT_SEQ_SQL` finds
 *   the newest); `synchronous` is what they were committed with.
 * - `sqlite_onewriter_ledger`: one row per job. `next_op` is NULL when the whole job is done, else the index of the first
 *   write that was not tried yet; `results` is the JSON of the results so far; `committed_at` is in ms by the
 *   broker's clock. Without an index, because that would be another page for every commit to write.
 * - `sqlite_onewriter_jobs`: the ledger's row of each job, except for the newest rows (`ledger-index.ts`).
 * - `sqlite_onewriter_keys`: one row per applied write with an idempotency key.
 * - `sqlite_onewriter_marks`: how old the rows of ledger and keys are (`retention-marks.ts`). Writers that do not know it leave it.
 * - `sqlite_onewriter_needs_a_newer_broker`: no rows; has brokers of format 2 refuse the file (`former-tables.ts`).
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS sqlite_onewriter_state(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  commit_seq INTEGER NOT NULL,
  synchronous TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sqlite_onewriter_ledger(
  id INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  commit_seq INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  next_op INTEGER,
  results TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sqlite_onewriter_jobs(
  job_id TEXT PRIMARY KEY,
  id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sqlite_onewriter_keys(
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  job_id TEXT NOT NULL,
  op INTEGER NOT NULL,
  committed_at INTEGER NOT NULL,
  result TEXT NOT NULL
) STRICT;
${MARKS_SCHEMA}
${OLD_BROKER_GUARD}
INSERT OR IGNORE INTO sqlite_onewriter_state VALUES (1, ${FILE_FORMAT}, 0, 0, 'full');
UPDATE sqlite_onewriter_state SET format = ${FILE_FORMAT};
`;

const STATE = `${INTERNAL_TABLE_PREFIX}state`;
const FORMER_STATE = `${FORMER_TABLE_PREFIX}state`;
const FIND_SQL = `SELECT name FROM sqlite_schema WHERE type = 'table' AND NOT ${isNotOwnTableSql('name')}`;

const USE_BACKUP = 'Put a backup in its place: onewriter restore <backup> <tenant> --replace.';

interface FileState {
  readonly format: number;
  readonly epoch: number;
}

/**
 * Makes `epoch` the file's epoch, makes the internal tables where they are missing, and brings those of the former format over,
 * all in one transaction. Writes only if something changes, so that opening a file again costs no flush.
 *
 * @returns whether it wrote.
 * @throws OnewriterError FENCED with `details.fileEpoch` where the file has seen a newer leader; TENANT_UNAVAILABLE
 * for an unknown format. SQLite's own errors pass through.
 */
export function takeEpoch(db: Database, epoch: number): boolean {
  const { state, isWhole } = look(db, epoch);
  if (isWhole && state?.epoch === epoch) return false;
  db.exec('BEGIN IMMEDIATE');
  try {
    // Between the look and the lock another broker may have changed it.
    const found = look(db, epoch);
    if (!found.isWhole) makeTables(db, found.isIndexed);
    db.prepare('UPDATE sqlite_onewriter_state SET epoch = ? WHERE id = 1').run(epoch);
    db.exec('COMMIT');
    return true;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function makeTables(db: Database, isIndexed: boolean): void {
  withReservedNames(db, () => {
    bringOver(db);
    db.exec(SCHEMA);
  });
  // A ledger without a state or an index was not left by this program; its rows must be found nevertheless.
  if (!isIndexed) db.exec(`DELETE FROM sqlite_onewriter_jobs; ${INDEX_ALL_SQL}`);
  // Before the commit: a schema that SQLite cannot read would make the file useless.
  db.prepare('SELECT 1 FROM sqlite_schema').get();
}

/** What a file has of the tables, checked: its state, its index of jobs, and whether all are there in the present format. */
function look(
  db: Database,
  epoch: number,
): { readonly state: FileState | undefined; readonly isIndexed: boolean; readonly isWhole: boolean } {
  const tables = findTables(db);
  const isFormer = !tables.has(STATE) && tables.has(FORMER_STATE);
  const table = isFormer ? FORMER_STATE : STATE;
  if (!tables.has(table)) return { state: undefined, isIndexed: false, isWhole: false };
  const state = db.prepare<[], FileState>(`SELECT format, epoch FROM ${table} WHERE id = 1`).get();
  if (state === undefined) return { state, isIndexed: false, isWhole: false };
  const known = isFormer ? FORMER_FORMAT : FILE_FORMAT;
  if (state.format !== known) {
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `The file's tables have format ${state.format}; this broker knows format ${FILE_FORMAT}. ${remedyFor(state.format)}`,
      { reason: 'unknown file format', fileFormat: state.format },
    );
  }
  if (state.epoch > epoch) throw fenced('file', state.epoch);
  const of = (part: string) => table.replace('state', part);
  const ledger = of('ledger');
  const lost = [ledger, of('keys')].find(name => !tables.has(name));
  if (lost !== undefined) {
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `The table ${lost} was removed from the file: it is not known which writes were applied. ${USE_BACKUP}`,
      { reason: 'no ledger' },
    );
  }
  const former = FORMER_TABLES.filter(name => tables.has(name));
  if (!isFormer && former.length > 0) {
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `The file has tables of two formats (${former.join(', ')} and ${ledger}): it is not known which of them has the writes that were applied. ${USE_BACKUP}`,
      { reason: 'two formats' },
    );
  }
  const isIndexed = tables.has(of('jobs'));
  return { state, isIndexed, isWhole: !isFormer && isIndexed && tables.has(MARKS_TABLE) };
}

function remedyFor(format: number): string {
  return format > FILE_FORMAT
    ? 'Update the broker.'
    : 'Export its data with the version that wrote it, and import them.';
}

/** The names of all tables with one of the writer's prefixes. */
function findTables(db: Database): ReadonlySet<string> {
  return new Set(db.prepare<[], string>(FIND_SQL).pluck().all());
}
