import { copyFileSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { flushPath } from './flush-path.ts';

/*
 * Processes that have a database open keep reading it after it is moved away or replaced: SQLite looks at the path once.
 * Its last commit, the tombstone, makes the schema empty, so the next read of each of them fails ("no such table"), and
 * a reader that looks where the path leads opens the file that counts. A snapshot that is open stays whole.
 *
 * The file is kept, and must be whole for those who restore it. So the tombstone goes into a log that the kept file no
 * longer has:
 *
 *   write the log back ▸ commit the schema as it is, so that the log has each page that the tombstone changes ▸
 *   a copy of that log gets the log's name ▸ tombstone, into the log that has lost its name
 *
 * At each moment the database with the log of its name is whole. It stays so even if a process that had the file open for
 * writes ends later and has SQLite write the tombstone back: the kept log is applied over it.
 * A file that is not kept gets the tombstone itself. Reasons and limits: infra/adr/0026-a-name-for-each-incarnation.md.
 */

/** A connection of better-sqlite3, as far as it is used here. */
export interface RetiredConnection {
  pragma(source: string, options: { simple: true }): unknown;
  exec(sql: string): unknown;
  prepare(sql: string): { all(): unknown[] };
  unsafeMode(on: boolean): unknown;
  close(): unknown;
}

/** Opens a file that exists. @throws SQLite's own errors */
export type OpenRetired = (path: string, options: { readonly: boolean }) => RetiredConnection;

const HAS_SCHEMA = 'SELECT 1 FROM sqlite_schema LIMIT 1';
/** In a transaction of a connection that {@link prepareTombstone} has prepared. */
const DELETE_SCHEMA = 'DELETE FROM main.sqlite_schema';
/** All in SQL, so that each byte of it stays as it is. */
const REWRITE_SCHEMA = `
  CREATE TEMP TABLE kept AS SELECT rowid AS id, type, name, tbl_name, rootpage, sql FROM main.sqlite_schema;
  BEGIN IMMEDIATE;
  DELETE FROM main.sqlite_schema;
  INSERT INTO main.sqlite_schema(rowid, type, name, tbl_name, rootpage, sql)
    SELECT id, type, name, tbl_name, rootpage, sql FROM temp.kept ORDER BY id;
  COMMIT`;

/**
 * Makes all who have a database open notice that it does not count any more.
 *
 * @param path of a file that no tenant's path leads to any more; it must not be open for writes anywhere
 * @throws SQLite's errors, where the file is damaged, is not a database, or cannot be written: processes
 * that have it open then keep reading it. The file is left as it was.
 */
export function retireDatabase(path: string, open: OpenRetired): void {
  const db = open(path, { readonly: false });
  let guard: RetiredConnection | undefined;
  try {
    // An empty file has nothing that could be read from it.
    if (!hasSchema(db)) return;
    prepareTombstone(db);
    db.pragma('synchronous = FULL', { simple: true });
    // Closed last, and it cannot write: so SQLite neither writes the log back nor removes the file of its name.
    guard = open(path, { readonly: true });
    guard.prepare(HAS_SCHEMA).all();
    // Pages that cannot be written back stay in the kept log.
    writeBack(db);
    db.pragma('temp_store = MEMORY', { simple: true });
    // Each page of the schema, and of the free pages that become some of it, comes into the log with the content it has.
    db.exec(REWRITE_SCHEMA);
    keepLog(path);
    commitTombstone(db);
  } finally {
    db.close();
    guard?.close();
  }
}

/**
 * As {@link retireDatabase}, for a file that is not kept: the tombstone comes into the file, too, so that those notice it who have
 * opened the file and read nothing. Not where a process reads an older state at that moment, which has to stay whole.
 * @throws as {@link retireDatabase}
 */
export function endDatabase(path: string, open: OpenRetired): void {
  const db = open(path, { readonly: false });
  try {
    if (hasSchema(db)) {
      prepareTombstone(db);
      commitTombstone(db);
    }
    writeBack(db);
  } finally {
    db.close();
  }
}

/** Whether a database has anything that could be read from it; not so after its tombstone. */
export function hasSchema(db: RetiredConnection): boolean {
  return db.prepare(HAS_SCHEMA).all().length > 0;
}

/** @throws SQLite's errors; Error where it cannot be put into WAL mode */
export function prepareTombstone(db: RetiredConnection): void {
  const mode = db.pragma('journal_mode = WAL', { simple: true });
  if (mode !== 'wal') throw new Error(`The file cannot be put into WAL mode: ${String(mode)}.`);
  db.pragma('wal_autocheckpoint = 0', { simple: true });
  db.unsafeMode(true);
  db.pragma('writable_schema = ON', { simple: true });
}

/** @param begun whether a transaction is open, in which the caller has checked what it ends */
export function commitTombstone(db: RetiredConnection, begun = false): void {
  if (!begun) db.exec('BEGIN IMMEDIATE');
  const version = Number(db.pragma('schema_version', { simple: true }));
  db.exec(`${DELETE_SCHEMA}; PRAGMA schema_version = ${version + 1}; COMMIT`);
}

/** Writes the log back. @returns whether all of it: a process that reads an older state is not waited for */
export function writeBack(db: RetiredConnection): boolean {
  const [{ log, checkpointed }] = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').all() as [
    { readonly log: number; readonly checkpointed: number },
  ];
  return log === checkpointed;
}

/** Puts a copy in the log's place. The index is removed first: it belongs to the log that loses its name. */
function keepLog(path: string): void {
  const copy = `${path}-wal.kept`;
  try {
    // Opening and closing a log drops no lock of SQLite: those are on the database and the index.
    copyFileSync(`${path}-wal`, copy);
    flushPath(copy);
    rmSync(`${path}-shm`, { force: true });
    renameSync(copy, `${path}-wal`);
    flushPath(dirname(path));
  } catch (error) {
    rmSync(copy, { force: true });
    throw error;
  }
}
