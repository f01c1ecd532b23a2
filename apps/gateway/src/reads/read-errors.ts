import { type ErrorCode, OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** First match wins. Source: sqlite.org/rescode.html */
const CODES: readonly (readonly [prefix: string, code: ErrorCode])[] = [
  ['SQLITE_BUSY', 'DATABASE_BUSY'],
  ['SQLITE_LOCKED', 'DATABASE_BUSY'],
  ['SQLITE_CORRUPT', 'DATABASE_CORRUPT'],
  ['SQLITE_NOTADB', 'DATABASE_CORRUPT'],
  ['SQLITE_IOERR', 'DATABASE_IO_ERROR'],
  ['SQLITE_CANTOPEN', 'TENANT_UNAVAILABLE'],
  ['SQLITE_READONLY', 'TENANT_UNAVAILABLE'],
  ['SQLITE_PERM', 'TENANT_UNAVAILABLE'],
  ['SQLITE_AUTH', 'STATEMENT_NOT_ALLOWED'],
  ['SQLITE_TOOBIG', 'RESULT_TOO_LARGE'],
  ['SQLITE_NOMEM', 'RESULT_TOO_LARGE'],
];

/** Translates what a read-only connection threw. */
export function toReadError(error: unknown, tenant: string): OnewriterError {
  if (error instanceof OnewriterError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Database.SqliteError) {
    const code = CODES.find(([prefix]) => error.code.startsWith(prefix))?.[1] ?? 'SQL_ERROR';
    return new OnewriterError(code, message, { tenant, sqliteCode: error.code }, error);
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
