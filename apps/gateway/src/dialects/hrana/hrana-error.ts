import { type ErrorCode, type ErrorDetails, OnewriterError } from '@onewriter/protocol';
import type { StepError } from './steps.ts';

/** An error in an answer. */
export interface HranaError {
  readonly message: string;
  /** The base code, `SQLITE_CONSTRAINT`; always a string: some clients decode strictly. */
  readonly code: string;
  /** The extended code, `SQLITE_CONSTRAINT_PRIMARYKEY`, where it says more. */
  readonly extended_code?: string | undefined;
}

/** What is wrong with one request of a pipeline; reported in its place. */
export class RequestError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** What makes a whole HTTP request wrong: nothing of it runs. */
export class StaticError extends OnewriterError {
  constructor(message: string, code: ErrorCode = 'INVALID_ARGUMENT', details: ErrorDetails = {}) {
    super(code, message, details);
  }
}

/** libSQL's names of some errors; the others keep their name. */
const CODES: Readonly<Record<string, string>> = {
  STATEMENT_NOT_ALLOWED: 'SQLITE_AUTH',
  STATEMENT_TOO_LARGE: 'SQLITE_TOOBIG',
  RESULT_TOO_LARGE: 'RESPONSE_TOO_LARGE',
  INVALID_ARGUMENT: 'ARGS_INVALID',
  INVALID_VALUE: 'ARGS_INVALID',
  TENANT_PAUSED: 'BLOCKED',
  DATABASE_BUSY: 'SQLITE_BUSY',
  SNAPSHOT_STALE: 'SQLITE_BUSY',
  SNAPSHOT_ENDED: 'SQLITE_BUSY',
  DATABASE_FULL: 'SQLITE_FULL',
  DATABASE_READONLY: 'SQLITE_READONLY',
  DATABASE_CORRUPT: 'SQLITE_CORRUPT',
  DATABASE_IO_ERROR: 'SQLITE_IOERR',
};

/** What SQLite's parser says. */
const PARSER = /syntax error|incomplete input|unrecognized token/;

/** Errors that concern the statement, and are reported in its place; the others fail the whole request. */
const IN_BAND = new Set([
  ...[
    'STATEMENT_NOT_ALLOWED',
    'STATEMENT_TOO_LARGE',
    'INVALID_ARGUMENT',
    'INVALID_VALUE',
    'RESULT_TOO_LARGE',
    'STATEMENT_TOO_COSTLY',
    'READ_TOO_COSTLY',
  ],
  ...['CONSTRAINT_VIOLATION', 'EXPECTATION_FAILED', 'SQL_ERROR', 'STATEMENT_TIMEOUT', 'READ_TIMEOUT'],
  ...['TRANSACTION_TIMEOUT', 'TRANSACTION_BUSY', 'SNAPSHOT_STALE', 'SNAPSHOT_ENDED', 'TENANT_PAUSED'],
  'POISON_JOB',
  ...['DATABASE_BUSY', 'DATABASE_FULL', 'DATABASE_READONLY', 'DATABASE_CORRUPT', 'DATABASE_IO_ERROR'],
]);

/** Whether an error is reported as the result of a step, with HTTP status 200. */
export function isInBand(error: OnewriterError): boolean {
  return IN_BAND.has(error.code);
}

/** A step's error, in the form of libSQL servers. */
export function toHranaError({ code, message, sqliteCode }: StepError): HranaError {
  if (sqliteCode?.startsWith('SQLITE_')) {
    if (sqliteCode === 'SQLITE_ERROR' && PARSER.test(message)) return { message, code: 'SQL_PARSE_ERROR' };
    const base = /^SQLITE_[A-Z]+/.exec(sqliteCode)![0];
    return base === sqliteCode ? { message, code: base } : { message, code: base, extended_code: sqliteCode };
  }
  if (code === 'INTERNAL') return { message: 'Something went wrong; the log has it.', code };
  return { message, code: CODES[code] ?? code };
}

/** An OnewriterError as the error of a step. */
export function toStepError(error: OnewriterError): StepError {
  return { code: error.code, message: error.message, sqliteCode: error.details.sqliteCode };
}
