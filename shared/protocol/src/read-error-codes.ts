import type { ErrorCode } from './error-codes.ts';

/** By the beginning of SQLite's extended code; the first match wins. Source: sqlite.org/rescode.html */
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
];

/** SQLite's code of a write in a read transaction, and of a SELECT that writes, as one with `optimize()` of FTS4 does. */
export const WRITE_IN_READ = 'SQLITE_READONLY';
/** What to do about {@link WRITE_IN_READ}; goes behind SQLite's message. */
export const WRITE_IN_READ_REMEDY =
  ': the statement writes, and its connection only reads. Write outside a read transaction (BEGIN READONLY, the mode ' +
  '"read" of libSQL clients), and with a statement that is a write, not with a SELECT that calls a function which writes ' +
  "(not SELECT optimize(t), but INSERT INTO t(t) VALUES ('optimize'))";

/** What an error of a read-only connection means. @param sqliteCode SQLite's extended code, `SQLITE_…` */
export function readErrorCode(sqliteCode: string): ErrorCode {
  return CODES.find(([prefix]) => sqliteCode.startsWith(prefix))?.[1] ?? 'SQL_ERROR';
}
