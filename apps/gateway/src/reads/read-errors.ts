import {
  DESCRIPTORS_RETRY_AFTER_MS,
  type ErrorCode,
  isOutOfDescriptors,
  OnewriterError,
  sqliteMessage,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** First match wins. Source: sqlite.org/rescode.html */
const CODES: readonly (readonly [prefix: string, code: ErrorCode])[] = [
  ['SQLITE_BUSY', 'DATABASE_BUSY'],
  ['SQLITE_LOCKED', 'DATABASE_BUSY'],
  // A virtual table's own complaint (a full-text index that does not match its content) is not a damaged file.
  ['SQLITE_CORRUPT_VTAB', 'SQL_ERROR'],
  ['SQLITE_CORRUPT', 'DATABASE_CORRUPT'],
  ['SQLITE_NOTADB', 'DATABASE_CORRUPT'],
  ['SQLITE_IOERR', 'DATABASE_IO_ERROR'],
  ['SQLITE_CANTOPEN', 'TENANT_UNAVAILABLE'],
  // Only with an extension it speaks of the file or its folder; see WRITE_IN_READ.
  ['SQLITE_READONLY_', 'TENANT_UNAVAILABLE'],
  ['SQLITE_PERM', 'TENANT_UNAVAILABLE'],
  ['SQLITE_AUTH', 'STATEMENT_NOT_ALLOWED'],
  ['SQLITE_TOOBIG', 'RESULT_TOO_LARGE'],
  ['SQLITE_NOMEM', 'RESULT_TOO_LARGE'],
];

/** SQLite's code of a write in a read transaction, and of a SELECT that writes, as one with `optimize()` of FTS4 does. */
const WRITE_IN_READ = 'SQLITE_READONLY';
const WRITE_IN_READ_REMEDY =
  ': the statement writes, and its connection only reads. Write outside a read transaction (BEGIN READONLY, the mode ' +
  '"read" of libSQL clients), and with a statement that is a write, not with a SELECT that calls a function which writes ' +
  "(not SELECT optimize(t), but INSERT INTO t(t) VALUES ('optimize'))";

/** Translates what a read-only connection threw. */
export function toReadError(error: unknown, tenant: string): OnewriterError {
  if (error instanceof OnewriterError) return error;
  if (isOutOfDescriptors(error)) {
    const details = { tenant, retryAfterMs: DESCRIPTORS_RETRY_AFTER_MS };
    return new OnewriterError('TOO_MANY_OPEN_FILES', 'The gateway may open no more files.', details, error);
  }
  const message = sqliteMessage(error);
  if (error instanceof Database.SqliteError) {
    const code = CODES.find(([prefix]) => error.code.startsWith(prefix))?.[1] ?? 'SQL_ERROR';
    const remedy = error.code === WRITE_IN_READ ? WRITE_IN_READ_REMEDY : '';
    return new OnewriterError(code, message + remedy, { tenant, sqliteCode: error.code }, error);
  }
  if (isOutOfMemory(error)) return tooMuchMemory(tenant, error);
  // better-sqlite3 throws these for parameters that do not fit the statement.
  if (error instanceof RangeError || error instanceof TypeError) {
    return new OnewriterError('INVALID_ARGUMENT', message, { tenant }, error);
  }
  return new OnewriterError('INTERNAL', `The read failed: ${message}`, { tenant }, error);
}

/** A value or result that does not fit into the memory a process of reads may take. */
export function tooMuchMemory(tenant: string, cause?: unknown): OnewriterError {
  const message = 'The read needs more memory than a read may take; ask for less at a time.';
  return new OnewriterError('RESULT_TOO_LARGE', message, { tenant }, cause);
}

function isOutOfMemory(error: unknown): boolean {
  return (
    error instanceof Error && /allocation failed|out of memory|longer than|Cannot create/i.test(error.message)
  );
}
