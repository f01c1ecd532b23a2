import { OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { translateError } from './sqlite-errors.ts';

describe('translateError', () => {
  it.each([
    ['SQLITE_CONSTRAINT_CHECK', 'CONSTRAINT_VIOLATION'],
    ['SQLITE_CONSTRAINT', 'CONSTRAINT_VIOLATION'],
    ['SQLITE_BUSY', 'DATABASE_BUSY'],
    ['SQLITE_BUSY_SNAPSHOT', 'DATABASE_BUSY'],
    ['SQLITE_LOCKED', 'DATABASE_BUSY'],
    ['SQLITE_FULL', 'DATABASE_FULL'],
    ['SQLITE_CORRUPT', 'DATABASE_CORRUPT'],
    ['SQLITE_CORRUPT_INDEX', 'DATABASE_CORRUPT'],
    ['SQLITE_CORRUPT_VTAB', 'SQL_ERROR'],
    ['SQLITE_NOTADB', 'DATABASE_CORRUPT'],
    ['SQLITE_READONLY_DBMOVED', 'DATABASE_READONLY'],
    ['SQLITE_IOERR_FSYNC', 'DATABASE_IO_ERROR'],
    ['SQLITE_CANTOPEN', 'DATABASE_IO_ERROR'],
    ['SQLITE_ERROR', 'SQL_ERROR'],
    ['SQLITE_MISMATCH', 'SQL_ERROR'],
    ['SQLITE_NOMEM', 'SQL_ERROR'],
    ['UNKNOWN_SQLITE_ERROR_4711', 'SQL_ERROR'],
  ])('makes %s %s', (sqliteCode, code) => {
    const cause = new Database.SqliteError('message', sqliteCode);
    expect(translateError(cause)).toMatchObject({ code, message: 'message', details: { sqliteCode }, cause });
  });

  it.each([
    [Object.assign(new Error('x'), { syscall: 'mkdir', code: 'ENOSPC' }), 'DATABASE_FULL'],
    [Object.assign(new Error('x'), { syscall: 'mkdir', code: 'EROFS' }), 'DATABASE_READONLY'],
    [Object.assign(new Error('x'), { syscall: 'open', code: 'EACCES' }), 'TENANT_UNAVAILABLE'],
    [new RangeError('Too few parameter values were provided'), 'INVALID_ARGUMENT'],
    [new TypeError('undefined is not a function'), 'INTERNAL'],
    [new OnewriterError('FENCED', 'x'), 'FENCED'],
    ['thrown', 'INTERNAL'],
  ])('makes %o %s', (thrown, code) => {
    expect(translateError(thrown).code).toBe(code);
  });

  it('quotes a bounded part of the statement, and no value', () => {
    const messageOf = (text: string) =>
      translateError(new Database.SqliteError(text, 'SQLITE_ERROR')).message;
    const long = 'x'.repeat(500_000);
    expect(messageOf(`no such column: ${long}`)).toHaveLength(1_000);
    expect(messageOf(`near "${long}": syntax error`)).toBe('near "?": syntax error');
    expect(messageOf(`unrecognized token: "'${long}"`)).toBe('unrecognized token: "?"');
    expect(translateError(new RangeError(`Missing named parameter "${long}"`)).message).toHaveLength(1_001);
  });
});
