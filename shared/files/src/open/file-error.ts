import { type ErrorCode, isLackOfRoom, OnewriterError, sqliteMessage } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** First match wins. Source: sqlite.org/rescode.html */
const CODES: readonly (readonly [prefix: string, code: ErrorCode, hint: string])[] = [
  ['SQLITE_BUSY', 'DATABASE_BUSY', ' Another process holds its lock.'],
  ['SQLITE_LOCKED', 'DATABASE_BUSY', ' Another process holds its lock.'],
  ['SQLITE_CORRUPT', 'DATABASE_CORRUPT', ''],
  ['SQLITE_NOTADB', 'DATABASE_CORRUPT', ''],
  ['SQLITE_FULL', 'DATABASE_FULL', ''],
  ['SQLITE_CONSTRAINT', 'CONSTRAINT_VIOLATION', ''],
  ['SQLITE_IOERR', 'DATABASE_IO_ERROR', ' The kernel log (dmesg) may say why.'],
  [
    'SQLITE_CANTOPEN',
    'TENANT_UNAVAILABLE',
    ' The file and its folder must be readable and writable for this user: run this as the user that the broker runs as.',
  ],
  ['SQLITE_READONLY', 'DATABASE_READONLY', ' Run this as the user that the broker runs as.'],
  ['SQLITE_PERM', 'DATABASE_READONLY', ' Run this as the user that the broker runs as.'],
];

/**
 * Turns what SQLite threw in a command into an OnewriterError.
 * @param what is being done: `Cannot open acme`
 * @param trouble why the file cannot be read, where that is known: `it is empty (0 bytes)`
 */
export function toFileError(error: unknown, what: string, trouble?: string | undefined): OnewriterError {
  if (error instanceof OnewriterError) return error;
  const message = sqliteMessage(error);
  if (error instanceof Database.SqliteError) {
    const row = CODES.find(([prefix]) => error.code.startsWith(prefix));
    const details = { sqliteCode: error.code };
    const reason = trouble === undefined ? message : `${trouble} (SQLite: ${message})`;
    return new OnewriterError(
      row?.[1] ?? 'SQL_ERROR',
      `${what}: ${reason}.${trouble === undefined ? (row?.[2] ?? '') : ''}`,
      details,
      error,
    );
  }
  const code = (error as NodeJS.ErrnoException).code;
  if (isLackOfRoom(error)) {
    return new OnewriterError('DATABASE_FULL', `${what}: the disk is full.`, { reason: code }, error);
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const hint = 'Run this as the user that the broker runs as.';
    return new OnewriterError('DATABASE_READONLY', `${what}: ${message}. ${hint}`, { reason: code }, error);
  }
  if (typeof code === 'string') {
    return new OnewriterError('DATABASE_IO_ERROR', `${what}: ${message}`, { reason: code }, error);
  }
  return new OnewriterError('INTERNAL', `${what}: ${message}`, {}, error);
}
