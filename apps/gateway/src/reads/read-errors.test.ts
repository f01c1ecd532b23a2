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

  it('quotes a bounded part of the statement', () => {
    const db = new Database(':memory:');
    const prepare = (sql: string) => {
      try {
        db.prepare(sql).all({});
        return '';
      } catch (error) {
        return toReadError(error, 'acme').message;
      }
    };
    const long = 'x'.repeat(500_000);
    expect(prepare(`SELECT "${long}`)).toMatch(/^unrecognized token: "/);
    for (const sql of [`SELECT "${long}`, `SELECT ${long}`, `SELECT 1 1${long}`, `SELECT @${long}`])
      expect([sql.slice(0, 20), prepare(sql).length]).toEqual([sql.slice(0, 20), 1_000]);
    db.close();
  });
});
