import {
  DESCRIPTORS_RETRY_AFTER_MS,
  type ErrorCode,
  isOutOfDescriptors,
  OnewriterError,
  readErrorCode,
  sqliteMessage,
  WRITE_IN_READ,
  WRITE_IN_READ_REMEDY,
} from '@onewriter/protocol';

/*
 * Errors of direct reads. The writer's edge translates its own; a read can fail in fewer ways.
 */

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
    const code = readErrorCode(sqliteCode);
    return new OnewriterError(code, message + remedyFor(code, sqliteCode), { tenant, sqliteCode }, error);
  }
  // better-sqlite3 throws these for parameters that do not fit the statement.
  if (error instanceof RangeError || error instanceof TypeError) {
    return new OnewriterError('INVALID_ARGUMENT', message, { tenant }, error);
  }
  return new OnewriterError('INTERNAL', `The read failed: ${message}`, { tenant }, error);
}
