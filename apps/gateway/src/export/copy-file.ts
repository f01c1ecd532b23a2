import { closeSync, fstatSync, openSync, readSync, unlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** SQLite's largest number of pages in one step: a copy made in one step is never restarted because of a writer. */
const ALL_PAGES = 0x7fffffff;
const BACKUP_TRIES = 20;
const BACKUP_PAUSE_MS = 50;
/** Lines that a check may answer; enough to find damage behind lines about single rows. */
const MAX_PROBLEMS = 200;
/**
 * Lines of a check about what rows hold or a full-text index has, which a copy keeps as it is; all others are damage.
 * Source: integrity_check in SQLite's pragma.c, xIntegrity in its fts3.c and fts5_main.c.
 */
const NO_DAMAGE =
  /^(ok$|NULL value in |CHECK constraint failed in |(NUMERIC|TEXT|non-\w+) value in |missing value |malformed inverted index|unable to validate the inverted index)/;

/** Copies the database by SQLite's backup API, in one consistent state. @param path must not exist */
export async function copyFile(db: Database.Database, path: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { totalPages } = await db.backup(path, { progress: () => ALL_PAGES });
    // A source that is locked is no error: nothing was copied.
    if (totalPages > 0) return;
    if (tries === BACKUP_TRIES) {
      throw new OnewriterError('DATABASE_BUSY', 'Another process holds the database lock.');
    }
    await pause(BACKUP_PAUSE_MS);
  }
}

/**
 * Makes a copy one file that can be opened anywhere, without a write-ahead log beside it, and checks whether its pages are
 * sound: a backup copies damaged ones as they are.
 * @param look gets the copy
 * @throws OnewriterError DATABASE_CORRUPT
 */
export function settleCopy<T>(path: string, look: (copy: Database.Database) => T): T {
  const copy = new Database(path);
  try {
    copy.pragma('journal_mode = DELETE');
    assertSound(copy);
    return look(copy);
  } finally {
    copy.close();
  }
}

function assertSound(copy: Database.Database): void {
  let problems: string[];
  try {
    problems = copy.prepare<[], string>(`PRAGMA quick_check(${MAX_PROBLEMS})`).pluck().all();
  } catch (error) {
    // A schema that names what is not there (a collation) ends the check, and is no damage.
    if (error instanceof Database.SqliteError && error.code === 'SQLITE_ERROR') return;
    throw error;
  }
  const damage = problems.find(problem => !NO_DAMAGE.test(problem));
  if (damage === undefined) return;
  throw new OnewriterError(
    'DATABASE_CORRUPT',
    `The file is damaged (${damage.split('\n')[0]}), so no copy of it was made.`,
  );
}

/** The bytes of a copy, which is gone when this process is, however that ends. */
export interface CopiedFile {
  readonly bytes: number;
  read(): Generator<Uint8Array, void, undefined>;
}

const PIECE_BYTES = 256 * 1024;

/** Opens a copy to be sent, and takes its name away. */
export function openCopy(path: string): CopiedFile {
  const file = openSync(path, 'r');
  unlinkSync(path);
  return {
    bytes: fstatSync(file).size,
    *read() {
      const buffer = Buffer.alloc(PIECE_BYTES);
      for (let bytes = readSync(file, buffer); bytes > 0; bytes = readSync(file, buffer)) {
        yield buffer.subarray(0, bytes);
      }
      closeSync(file);
    },
  };
}
