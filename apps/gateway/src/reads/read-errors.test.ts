import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { toReadError } from './read-errors.ts';

describe('an error of a read', () => {
  it.each([
    ['SQLITE_CORRUPT_VTAB', 'SQL_ERROR'],
    ['SQLITE_CORRUPT', 'DATABASE_CORRUPT'],
    ['SQLITE_CORRUPT_INDEX', 'DATABASE_CORRUPT'],
    ['SQLITE_READONLY', 'SQL_ERROR'],
    ['SQLITE_READONLY_CANTINIT', 'TENANT_UNAVAILABLE'],
    ['SQLITE_CANTOPEN', 'TENANT_UNAVAILABLE'],
  ])('%s is %s', (sqliteCode, code) => {
    const error = new Database.SqliteError('as SQLite says', sqliteCode);
    expect(toReadError(error, 'acme')).toMatchObject({ code, details: { sqliteCode } });
  });

  it('says what to do about a write on a connection that reads, whatever made it one', () => {
    const error = new Database.SqliteError('as SQLite says', 'SQLITE_READONLY');
    expect(toReadError(error, 'acme').message).toMatch(
      /^as SQLite says: the statement writes, .*outside a read transaction.*not SELECT optimize/,
    );
  });
});
