import { closeSync, fsyncSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { OnewriterError, SnapshotIndex } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly } from '../open/open-database.ts';
import { SnapshotPages } from './snapshot-pages.ts';

/** SQLite's largest number of pages in one step: a copy made in one step is never restarted because of a writer. */
const ALL_PAGES = 0x7fffffff;

/**
 * Copies a database that is in use, as it is at one moment, into a file of its own without a write-ahead log. `look` gets
 * the connection to the source, and its pages, while the moment is held, and the copy is complete: what it reads is exactly what was
 * copied.
 * Until it returns the source's write-ahead log grows.
 *
 * @param copy must not exist; it does not after an error, either
 * @param readMoment reads at that moment
 * @returns what `look` returned
 * @throws OnewriterError DATABASE_… with what could not be read or written
 */
export async function copyDatabase<M, T>(
  source: string,
  copy: string,
  busyTimeoutMs: number,
  readMoment: (db: Database.Database) => M,
  look: (db: Database.Database, moment: M, pages: SnapshotPages) => T,
): Promise<T> {
  const db = openReadOnly(source, busyTimeoutMs);
  const pages = new SnapshotPages(db.name);
  try {
    // The backup reads within this transaction, whose state the first read fixes (sqlite3_backup_step begins one of its
    // own only where there is none).
    pages.begin(db);
    const moment = readMoment(db);
    const index = new SnapshotIndex(db.name);
    const { totalPages } = await db.backup(copy, { progress: () => ALL_PAGES });
    // A source that is locked exclusively resolves with nothing.
    if (totalPages === 0)
      throw new OnewriterError('DATABASE_BUSY', `${source} is empty, or locked by its broker.`);
    settle(copy);
    const seen = look(db, moment, pages);
    index.assertKept();
    db.exec('COMMIT');
    return seen;
  } catch (error) {
    removeDatabase(copy);
    throw toFileError(error, `Cannot copy ${source} to ${copy}`);
  } finally {
    db.close();
    pages.close();
  }
}

/** Makes a copy one file that can be read anywhere, and flushes it. */
function settle(copy: string): void {
  const db = new Database(copy, { fileMustExist: true });
  try {
    // A file in WAL mode can only be read where its folder can be written.
    db.pragma('journal_mode = DELETE');
  } finally {
    db.close();
  }
  flush(copy);
  flush(dirname(copy));
}

/** Flushes a file, or the names in a folder. Not for a tenant's file that SQLite has open in this process. */
export function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Removes a database and what SQLite keeps beside it. */
export function removeDatabase(path: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${path}${suffix}`, { force: true });
}
