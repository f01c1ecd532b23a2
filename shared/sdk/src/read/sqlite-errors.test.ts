import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { isUnreachable, toReadError } from './sqlite-errors.ts';

const sqliteError = (code: string) => new Database.SqliteError('as SQLite says', code);

describe('an error of a direct read', () => {
  it.each([
    // A virtual table's own complaint is not a damaged file, and must not look like one.
    ['SQLITE_CORRUPT_VTAB', 'SQL_ERROR'],
    ['SQLITE_CORRUPT', 'DATABASE_CORRUPT'],
    ['SQLITE_CORRUPT_INDEX', 'DATABASE_CORRUPT'],
    // A SELECT that writes, as with optimize() of FTS4: that says nothing about the folder, and trying again is useless.
    ['SQLITE_READONLY', 'SQL_ERROR'],
    ['SQLITE_READONLY_CANTINIT', 'TENANT_UNAVAILABLE'],
    ['SQLITE_READONLY_DIRECTORY', 'TENANT_UNAVAILABLE'],
    ['SQLITE_CANTOPEN', 'TENANT_UNAVAILABLE'],
  ])('%s is %s', (sqliteCode, code) => {
    const error = sqliteError(sqliteCode);
    expect(toReadError(error, 'acme')).toMatchObject({ code, details: { sqliteCode } });
    expect(isUnreachable(error)).toBe(code === 'TENANT_UNAVAILABLE');
  });

  it('says what to do about a write on a connection that reads, whatever made it one', () => {
    const { message } = toReadError(sqliteError('SQLITE_READONLY'), 'acme');
    expect(message).toMatch(
      /^as SQLite says: the statement writes, .*outside a read transaction.*not SELECT optimize/,
    );
  });
});
