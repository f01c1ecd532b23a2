import {
  DESCRIPTORS_RETRY_AFTER_MS,
  isOutOfDescriptors,
  OnewriterError,
  readErrorCode,
  sqliteMessage,
  WRITE_IN_READ,
  WRITE_IN_READ_REMEDY,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** Translates what a read-only connection threw. */
export function toReadError(error: unknown, tenant: string): OnewriterError {
  if (error instanceof OnewriterError) return error;
  if (isOutOfDescriptors(error)) {
    const details = { tenant, retryAfterMs: DESCRIPTORS_RETRY_AFTER_MS };
    return new OnewriterError('TOO_MANY_OPEN_FILES', 'The gateway may open no more files.', details, error);
  }
  const message = sqliteMessage(error);
  if (error instanceof Database.SqliteError) {
    // Only here: a process of reads has a memory limit.
    const isOverLimit = error.code.startsWith('SQLITE_NOMEM');
    const code = isOverLimit ? 'RESULT_TOO_LARGE' : readErrorCode(error.code);
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
