import { statSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { isHot } from '../adopt/inspect-file.ts';
import { describeOpeners, findOpeners } from '../adopt/open-elsewhere.ts';
import { toFileError } from '../open/file-error.ts';

/**
 * Opens a file that no other process has open, and runs `work` in a transaction that is committed at the end. What a killed process
 * left is settled before: a hot journal is undone, a log is written back. Afterwards the database is one file.
 *
 * @param after runs on the connection after the COMMIT: what SQLite does only outside of transactions
 * @throws OnewriterError DATABASE_BUSY (a process has it open), DATABASE_…; what `work` throws. The content is as it was then.
 */
export function exclusively<T>(
  path: string,
  busyTimeoutMs: number,
  work: (db: Database.Database) => T,
  after: (db: Database.Database) => void = () => {},
): T {
  let result: T;
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { fileMustExist: true, timeout: busyTimeoutMs });
    // Before the first access: a file in WAL mode is then locked against all who have it open.
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('foreign_keys = OFF');
    db.pragma('synchronous = FULL');
    db.exec('BEGIN EXCLUSIVE');
    result = work(db);
    db.exec('COMMIT');
    // Before the mode may change: SQLite refuses a checkpoint right after that.
    db.pragma('wal_checkpoint(TRUNCATE)');
    after(db);
  } catch (error) {
    if (db?.inTransaction) db.exec('ROLLBACK');
    throw explain(error, path);
  } finally {
    db?.close();
  }
  assertAlone(path);
  return result;
}

function explain(error: unknown, path: string): OnewriterError {
  if (error instanceof OnewriterError) return error;
  const failure = toFileError(error, `Cannot open ${path} for this process alone`);
  if (failure.code !== 'DATABASE_BUSY') return failure;
  const openers = findOpeners().of(path);
  const who = openers.length === 0 ? 'another process' : describeOpeners(openers);
  return new OnewriterError(
    'DATABASE_BUSY',
    `${path} is open in ${who}: stop it first. Nothing was changed.`,
    { openers },
    error,
  );
}

/** @throws OnewriterError DATABASE_BUSY where something is left that belongs to the database */
export function assertAlone(path: string): void {
  const left = findLog(path);
  if (left === undefined) return;
  throw new OnewriterError(
    'DATABASE_BUSY',
    `${left} is still there: another process has opened the file. Nothing was moved.`,
  );
}

/** A log or a hot journal that belongs to the database under this name. */
export function findLog(path: string): string | undefined {
  const isWritten = (log: string) => (statSync(log, { throwIfNoEntry: false })?.size ?? 0) > 0;
  if (isWritten(`${path}-wal`)) return `${path}-wal`;
  return isHot(`${path}-journal`) ? `${path}-journal` : undefined;
}
