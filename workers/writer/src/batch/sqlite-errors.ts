import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';
import {
  DESCRIPTORS_RETRY_AFTER_MS,
  type ErrorCode,
  findLackOfRoom,
  isLackOfRoom,
  isOutOfDescriptors,
  OnewriterError,
  sqliteMessage,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';

/*
 * The one place that turns SQLite's errors into this project's. details.sqliteCode keeps the extended code, the cause is the
 * original error; messages name no values.
 */

/** Result codes of SQLite, without their extensions, that have a code of their own. The rest is SQL_ERROR. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  CONSTRAINT: 'CONSTRAINT_VIOLATION',
  BUSY: 'DATABASE_BUSY',
  LOCKED: 'DATABASE_BUSY',
  FULL: 'DATABASE_FULL',
  CORRUPT: 'DATABASE_CORRUPT',
  NOTADB: 'DATABASE_CORRUPT',
  READONLY: 'DATABASE_READONLY',
  IOERR: 'DATABASE_IO_ERROR',
  CANTOPEN: 'DATABASE_IO_ERROR',
  PERM: 'DATABASE_IO_ERROR',
};

/** Messages of better-sqlite3 itself about parameters and SQL texts, as TypeError or RangeError; they name no values. */
const REFUSED_BY_DRIVER = /parameter|can only bind|too big|SQL string/;

/**
 * Turns an error of running a statement or opening a file into an OnewriterError: SQLite's codes by the table above, refused
 * parameters into INVALID_ARGUMENT, an error of the file system into DATABASE_FULL, DATABASE_READONLY or TENANT_UNAVAILABLE,
 * all others into INTERNAL.
 */
export function translateError(error: unknown): OnewriterError {
  if (error instanceof OnewriterError) return error;
  if (isOutOfDescriptors(error)) return tooManyOpenFiles(error);
  if (error instanceof Database.SqliteError) return translateSqliteError(error);
  if (isSystemError(error)) return translateSystemError(error);
  if ((error instanceof TypeError || error instanceof RangeError) && REFUSED_BY_DRIVER.test(error.message)) {
    return new OnewriterError('INVALID_ARGUMENT', `${sqliteMessage(error)}.`, {}, error);
  }
  return new OnewriterError('INTERNAL', 'The writer failed with an unexpected error.', {}, error);
}

/** The file is unharmed: try again when another was closed. */
function tooManyOpenFiles(cause: unknown): OnewriterError {
  return new OnewriterError(
    'TOO_MANY_OPEN_FILES',
    'The writer may open no more files. Raise the limit of open files (ulimit -n) of the broker.',
    { retryAfterMs: DESCRIPTORS_RETRY_AFTER_MS },
    cause,
  );
}

function translateSqliteError(error: InstanceType<typeof Database.SqliteError>): OnewriterError {
  const sqliteCode = error.code;
  const primary = /^SQLITE_([A-Z]+)/.exec(sqliteCode)?.[1] ?? '';
  // An error of a virtual table (a full-text index that does not match its content) is not a damaged file.
  const code = sqliteCode === 'SQLITE_CORRUPT_VTAB' ? undefined : CODES[primary];
  return new OnewriterError(code ?? 'SQL_ERROR', withoutValues(sqliteMessage(error)), { sqliteCode }, error);
}

function translateSystemError(error: NodeJS.ErrnoException): OnewriterError {
  const reason = error.code ?? 'unknown';
  const code: ErrorCode = isLackOfRoom(error)
    ? 'DATABASE_FULL'
    : reason === 'EROFS'
      ? 'DATABASE_READONLY'
      : 'TENANT_UNAVAILABLE';
  return new OnewriterError(
    code,
    `The tenant's folder or file cannot be used (${reason}).`,
    { reason },
    error,
  );
}

/**
 * Explains an error of opening a database: finds out whether the file system has no room for another file.
 * @param path of the database, whose log and index are made beside it
 */
export function explainOpenError(error: unknown, path: string): unknown {
  const translated = translateError(error);
  // Only this error shows it: once another file is closed, a second look would find nothing.
  if (translated.code === 'TOO_MANY_OPEN_FILES') return translated;
  if (translated.code !== 'DATABASE_IO_ERROR') return error;
  return findLackOfRoom(dirname(path), error) ?? findMissingRight(path, error) ?? error;
}

/** Finds the part of a database that this process may not use; SQLite says only that it cannot open it. */
function findMissingRight(path: string, cause: unknown): OnewriterError | undefined {
  for (const part of [dirname(path), path, `${path}-wal`, `${path}-shm`]) {
    try {
      accessSync(part, constants.R_OK | constants.W_OK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') continue;
      const message = `${part} cannot be read and written by the broker (${code}): ${REMEDY[code ?? ''] ?? 'look at its folder and disk'}.`;
      return new OnewriterError(
        code === 'EROFS' ? 'DATABASE_READONLY' : 'TENANT_UNAVAILABLE',
        message,
        { reason: code },
        cause,
      );
    }
  }
  return undefined;
}

const REMEDY: Readonly<Record<string, string>> = {
  EACCES: "give it to the broker's user",
  EROFS: 'its file system is mounted read-only',
  ENOTDIR: 'a file is in the place of a folder',
};

/** Whether it is the error of a file system call. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

/** Errors of the file, not of the write: to continue would risk undamaged data. */
export function isFileError(error: OnewriterError): boolean {
  return (
    error.code === 'DATABASE_IO_ERROR' ||
    error.code === 'DATABASE_CORRUPT' ||
    error.code === 'DATABASE_READONLY' ||
    error.code === 'TOO_MANY_OPEN_FILES'
  );
}

/** SQLite quotes the place of a syntax error or a bad path; names and operators may stay, literals must not. */
function withoutValues(message: string): string {
  return message
    .replace(/(near|token:) "((?:[^"]|"(?!:|$))*)"/s, (whole, where: string, token: string) =>
      /^([A-Za-z_][\w$]*|[^\w\s'"]{1,3})$/.test(token) ? whole : `${where} "?"`,
    )
    .replace(/(path:?) '.*'/s, "$1 '?'");
}
