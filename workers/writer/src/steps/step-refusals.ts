import { OnewriterError } from '@onewriter/protocol';

/* Why steps with transactions of their own refuse a statement that SQLite would run, or as SQLite does. */

export function noTransaction(what: 'commit' | 'rollback'): OnewriterError {
  return new OnewriterError('SQL_ERROR', `cannot ${what} - no transaction is active`, {
    sqliteCode: 'SQLITE_ERROR',
  });
}

export function nestedTransaction(): OnewriterError {
  return new OnewriterError('SQL_ERROR', 'cannot start a transaction within a transaction', {
    sqliteCode: 'SQLITE_ERROR',
  });
}

export function tooLate(): OnewriterError {
  return new OnewriterError(
    'STATEMENT_NOT_ALLOWED',
    'PRAGMA foreign_keys has no effect in a transaction that has written. Send it in front of BEGIN.',
  );
}

export function tooManyOpen(): OnewriterError {
  return new OnewriterError('TRANSACTION_BUSY', 'Too many transactions are open in this writer; try again.', {
    retryAfterMs: 500,
  });
}
