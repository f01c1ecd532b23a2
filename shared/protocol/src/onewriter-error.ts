import { ERROR_CODES, type ErrorCode, isErrorCode } from './error-codes.ts';

/** Facts about an error, safe to show: names, limits and ids; never SQL values. */
export interface ErrorDetails {
  /** SQLite's extended result code, for example `SQLITE_CONSTRAINT_UNIQUE`. */
  readonly sqliteCode?: string | undefined;
  /** Index of the failing statement inside a transaction or script, from 0. */
  readonly statementIndex?: number | undefined;
  /** Milliseconds to wait before trying again. */
  readonly retryAfterMs?: number | undefined;
  /** Ask for the outcome later with this id. */
  readonly receiptId?: string | undefined;
  readonly tenant?: string | undefined;
  readonly reason?: string | undefined;
  readonly [name: string]: unknown;
}

/** What crosses a boundary instead of an Error, which would lose its class and code there. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly details?: ErrorDetails | undefined;
}

/** The one error class of the project. */
export class OnewriterError extends Error {
  override readonly name = 'OnewriterError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }

  /** Whether sending the same request again can succeed. Source: the error table. */
  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }

  /** The HTTP status of the code. Source: the error table. */
  get status(): number {
    return ERROR_CODES[this.code].status;
  }
}

/** Whether `error` is a {@link OnewriterError}, optionally with `code`. */
export function isOnewriterError(error: unknown, code?: ErrorCode): error is OnewriterError {
  return error instanceof OnewriterError && (code === undefined || error.code === code);
}

/** Encodes any thrown thing for a message. An error that is not ours becomes INTERNAL, without its stack. */
export function toWireError(error: unknown): WireError {
  if (error instanceof OnewriterError) {
    return Object.keys(error.details).length === 0
      ? { code: error.code, message: error.message }
      : { code: error.code, message: error.message, details: error.details };
  }
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) };
}

/** Restores an error from a message. A code this side does not know becomes INTERNAL and is kept in details. */
export function fromWireError(wire: WireError): OnewriterError {
  return isErrorCode(wire.code)
    ? new OnewriterError(wire.code, wire.message, wire.details ?? {})
    : new OnewriterError('INTERNAL', wire.message, { ...wire.details, unknownCode: wire.code });
}
