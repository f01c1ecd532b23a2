import { fileInUse, OnewriterError, sqliteMessage, toWireError } from '@onewriter/protocol';
import { checkIntegrity, inspected } from '@onewriter/runtime/inspect';
import Database from 'better-sqlite3';
import {
  checkTooLarge,
  type IntegrityCheckAnswer,
  type IntegrityCheckRequest,
  type IntegrityResult,
} from './integrity-check.ts';

/*
 * The process that checks one database file in full and ends. Its argument is an IntegrityCheckRequest as JSON; it
 * sends one IntegrityCheckAnswer. Its parent kills it when it takes too long.
 */

/** Lines of damage that are reported. */
const MAX_PROBLEMS = 100;
const OUT_OF_MEMORY = /: SQLITE_NOMEM: out of memory$/;

function check({ path, busyTimeoutMs }: IntegrityCheckRequest): IntegrityResult {
  const database = new Database(path, { readonly: true, fileMustExist: true, timeout: busyTimeoutMs });
  try {
    // A file that cannot be opened as a database throws here; damage that stops the check is a line of it.
    database.prepare('SELECT count(*) FROM sqlite_schema').get();
    const { problems, unchecked } = checkIntegrity(inspected(database), MAX_PROBLEMS);
    // No damage: this process may not take more.
    if (problems.some(problem => OUT_OF_MEMORY.test(problem))) throw checkTooLarge();
    return { integrity: problems.length === 0 ? 'ok' : problems.join('\n'), unchecked };
  } finally {
    database.close();
  }
}

/** A file that is not a database or too damaged to be read throws where one would expect a line of damage. */
function translate(error: unknown, tenant: string): OnewriterError {
  if (error instanceof OnewriterError) return error;
  const sqliteCode = error instanceof Database.SqliteError ? error.code : undefined;
  const details = { sqliteCode };
  if (sqliteCode?.startsWith('SQLITE_CANTOPEN')) {
    return new OnewriterError('TENANT_NOT_FOUND', 'The tenant has no database file.', details, error);
  }
  if (sqliteCode?.startsWith('SQLITE_CORRUPT') || sqliteCode?.startsWith('SQLITE_NOTADB')) {
    const reason = sqliteMessage(error);
    const message = `The file is damaged, or no database that can be read here (SQLite: ${reason}).`;
    return new OnewriterError('DATABASE_CORRUPT', message, details, error);
  }
  if (sqliteCode?.startsWith('SQLITE_NOMEM')) return checkTooLarge(error);
  if (sqliteCode?.startsWith('SQLITE_BUSY')) return fileInUse(tenant, error);
  return new OnewriterError('DATABASE_IO_ERROR', 'The file could not be read.', details, error);
}

function answer(): IntegrityCheckAnswer {
  const request = JSON.parse(process.argv[2]!) as IntegrityCheckRequest;
  try {
    return check(request);
  } catch (error) {
    // better-sqlite3 says in a TypeError that the folder does not exist.
    return error instanceof TypeError
      ? { error: toWireError(new OnewriterError('TENANT_NOT_FOUND', 'The tenant has no database file.')) }
      : { error: toWireError(translate(error, request.tenant)) };
  }
}

process.on('disconnect', () => process.exit(1));
process.send?.(answer(), undefined, undefined, () => process.disconnect());
