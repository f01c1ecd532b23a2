import {
  DESCRIPTORS_RETRY_AFTER_MS,
  type ErrorCode,
  isOutOfDescriptors,
  OnewriterError,
  sqliteMessage,
} from '@onewriter/protocol';

/*
 * Errors of direct reads. The writer's edge translates its own; a read can fail in fewer ways.
 */

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
];

/** SQLite's code of a write in a read transaction, and of a SELECT that writes, as one with `optimize()` of FTS4 does. */
const WRITE_IN_READ = 'SQLITE_READONLY';
const WRITE_IN_READ_REMEDY =
  ': the statement writes, and its connection only reads. Write outside a read transaction (BEGIN READONLY, the mode ' +
  '"read" of libSQL clients), and with a statement that is a write, not with a SELECT that calls a function which writes ' +
  "(not SELECT optimize(t), but INSERT INTO t(t) VALUES ('optimize'))";

/** SQLite's extended code of an error that better-sqlite3 threw, or undefined. */
export function sqliteCodeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined;
}

/** Whether another process held a lock: the same read can succeed a moment later. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCodeOf(error);
  return code !== undefined && (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED'));
}

/**
 * Whether the connection cannot reach its file. A read-only connection needs -wal and -shm to exist or to be
 * creatable: with a read-only mount that fails while the writer has the tenant closed.
 */
export function isUnreachable(error: unknown): boolean {
  const code = sqliteCodeOf(error);
  return code !== undefined && /^SQLITE_(CANTOPEN|READONLY_|PERM)/.test(code);
}

function remedyFor(code: ErrorCode, sqliteCode: string): string {
  if (sqliteCode === WRITE_IN_READ) return WRITE_IN_READ_REMEDY;
  return code === 'TENANT_UNAVAILABLE'
    ? '; the folder must be writable here, or give connect() a gatewayUrl to read through'
    : '';
}

/** The process has no descriptor left for a file, and no file of its own that could be closed. */
export function tooManyOpenFiles(tenant: string, cause: unknown): OnewriterError {
  return new OnewriterError(
    'TOO_MANY_OPEN_FILES',
    'This process may open no more files. Raise its limit (ulimit -n), or lower maxOpenReaders of its clients.',
    { tenant, retryAfterMs: DESCRIPTORS_RETRY_AFTER_MS },
    cause,
  );
}

/** Translates whatever a direct read threw. */
export function toReadError(error: unknown, tenant: string): OnewriterError {
  if (error instanceof OnewriterError) return error;
  if (isOutOfDescriptors(error)) return tooManyOpenFiles(tenant, error);
  const sqliteCode = sqliteCodeOf(error);
  const message = sqliteMessage(error);
  if (sqliteCode !== undefined) {
    const code = CODES.find(([prefix]) => sqliteCode.startsWith(prefix))?.[1] ?? 'SQL_ERROR';
    return new OnewriterError(code, message + remedyFor(code, sqliteCode), { tenant, sqliteCode }, error);
  }
  // better-sqlite3 throws these for parameters that do not fit the statement.
  if (error instanceof RangeError || error instanceof TypeError) {
    return new OnewriterError('INVALID_ARGUMENT', message, { tenant }, error);
  }
  return new OnewriterError('INTERNAL', `The read failed: ${message}`, { tenant }, error);
}
