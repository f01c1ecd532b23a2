/**
 * Every error a caller can see. Adding an error is adding a row.
 *
 * - `status`: the HTTP status the gateway answers with.
 * - `retryable`: whether sending the same request again can succeed without a change by the caller. It says
 *   nothing about safety: every code except OUTCOME_UNKNOWN means that the write was not applied.
 */
export const ERROR_CODES = {
  // the request
  INVALID_ARGUMENT: { status: 400, retryable: false, meaning: 'The request is malformed.' },
  INVALID_TENANT: {
    status: 400,
    retryable: false,
    meaning: 'The tenant id does not match the allowed form.',
  },
  INVALID_VALUE: {
    status: 400,
    retryable: false,
    meaning:
      'A value cannot be stored exactly (NaN, lone surrogate, integer over 64 bits, unsupported type).',
  },
  UNSUPPORTED_VERSION: {
    status: 400,
    retryable: false,
    meaning: 'A message carries a protocol version this side does not know.',
  },
  STATEMENT_NOT_ALLOWED: {
    status: 400,
    retryable: false,
    meaning: 'The statement is refused by the statement rules.',
  },
  STATEMENT_TOO_LARGE: {
    status: 413,
    retryable: false,
    meaning: 'The SQL text, its parameters or the write is over its limit.',
  },
  PAYLOAD_TOO_LARGE: { status: 413, retryable: false, meaning: 'The request body is over its limit.' },
  IDEMPOTENCY_KEY_REUSED: {
    status: 422,
    retryable: false,
    meaning: 'The idempotency key was used before with another write.',
  },
  // access
  UNAUTHENTICATED: { status: 401, retryable: false, meaning: 'A valid bearer token is required.' },
  FORBIDDEN: { status: 403, retryable: false, meaning: 'The token does not allow this.' },
  NOT_FOUND: { status: 404, retryable: false, meaning: 'There is no such route or thing.' },
  METHOD_NOT_ALLOWED: { status: 405, retryable: false, meaning: 'The route does not know this method.' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, retryable: false, meaning: 'The request body is not JSON.' },
  TENANT_NOT_FOUND: {
    status: 404,
    retryable: false,
    meaning: 'The tenant has no database file and none may be created.',
  },
  RECEIPT_NOT_FOUND: {
    status: 404,
    retryable: false,
    meaning: 'The ledger does not know this receipt (never applied, or pruned).',
  },
  // SQL
  CONSTRAINT_VIOLATION: {
    status: 409,
    retryable: false,
    meaning: 'The write violates a constraint; details.sqliteCode says which.',
  },
  EXPECTATION_FAILED: {
    status: 409,
    retryable: false,
    meaning: 'A statement of the transaction did not meet its `expect`; nothing was applied.',
  },
  SQL_ERROR: {
    status: 422,
    retryable: false,
    meaning: 'SQLite refused the statement; details.sqliteCode says why.',
  },
  RESULT_TOO_LARGE: {
    status: 413,
    retryable: false,
    meaning: 'The result has more rows or bytes than the limit; a write that caused it was rolled back.',
  },
  STATEMENT_TIMEOUT: {
    status: 504,
    retryable: false,
    meaning: 'The statement ran past its deadline and was stopped; it was not applied.',
  },
  STATEMENT_TOO_COSTLY: {
    status: 413,
    retryable: false,
    meaning: 'The statement took more memory than a write may and was stopped; it was not applied.',
  },
  READ_TIMEOUT: {
    status: 504,
    retryable: false,
    meaning: 'The read ran past its deadline and was stopped.',
  },
  READ_TOO_COSTLY: {
    status: 413,
    retryable: false,
    meaning:
      'The read would hold up the writes of its tenant: the owner of the file does not run it. Read through a gateway on its machine, or from the file.',
  },
  FILE_IN_USE: {
    status: 409,
    retryable: false,
    meaning:
      "Another process has the tenant's file to itself, as the broker has each file that it opens on a network file system. What needs the file itself (a check, a copy, an export) is done while the tenant is paused.",
  },
  SNAPSHOT_ENDED: {
    status: 503,
    retryable: true,
    meaning:
      'The read held its snapshot while so much was written that the log reached its limit, or the index of the log was deleted, so it was ended. The message says what to do.',
  },
  COMMIT_SEQ_NOT_REACHED: {
    status: 412,
    retryable: true,
    meaning: 'The tenant has not committed what the read asked to see; details.commitSeq says how far it is.',
  },
  POISON_JOB: {
    status: 500,
    retryable: false,
    meaning: 'The write crashed its process repeatedly and was set aside; it was not applied.',
  },
  TRANSACTION_TIMEOUT: {
    status: 408,
    retryable: true,
    meaning:
      'The transaction is not open any more (it has ended, was open for too long while others waited, or its broker ended); without a COMMIT nothing of it was applied. Begin again.',
  },
  TRANSACTION_BUSY: {
    status: 503,
    retryable: true,
    meaning: 'The writer was not free for a transaction before the deadline; nothing was run.',
  },
  SNAPSHOT_STALE: {
    status: 409,
    retryable: true,
    meaning: 'The tenant has committed since the state that the request builds on; nothing was run.',
  },
  STREAM_EXPIRED: {
    status: 400,
    retryable: false,
    meaning:
      'The stream of the libSQL protocol is not known here (any more); this request was not run. Where a COMMIT was sent ' +
      'before, its outcome is not known: read what it would have written.',
  },
  // the tenant
  TENANT_OVERLOADED: {
    status: 429,
    retryable: true,
    meaning: 'The tenant has more queued writes than its limit; details.retryAfterMs says when to try again.',
  },
  TENANT_BUSY: {
    status: 409,
    retryable: true,
    meaning: 'The tenant has queued writes that this would lose.',
  },
  CONFIRMATION_REQUIRED: {
    status: 428,
    retryable: false,
    meaning: 'This destroys something and needs a confirmation; the message says which.',
  },
  TENANT_WAKING: {
    status: 503,
    retryable: true,
    meaning: 'The tenant was hibernated, and its file is on its way from the replica.',
  },
  TENANT_PAUSED: { status: 503, retryable: true, meaning: 'The tenant is paused.' },
  TENANT_UNAVAILABLE: {
    status: 503,
    retryable: true,
    meaning: 'The tenant cannot be opened now; details.reason says why.',
  },
  DATABASE_BUSY: {
    status: 503,
    retryable: true,
    meaning: 'Another process held the database lock past the busy timeout.',
  },
  DATABASE_FULL: {
    status: 503,
    retryable: true,
    meaning: 'The disk or the database is full; it recovers when there is space.',
  },
  DATABASE_CORRUPT: {
    status: 500,
    retryable: false,
    meaning: 'The file is damaged or not a database; the tenant is parked, nothing was changed.',
  },
  DATABASE_READONLY: {
    status: 503,
    retryable: true,
    meaning: 'The file or its file system cannot be written.',
  },
  DATABASE_IO_ERROR: { status: 503, retryable: true, meaning: 'Reading or writing the file failed.' },
  // the service
  TOO_MANY_OPEN_FILES: {
    status: 503,
    retryable: true,
    meaning:
      'The process may open no more files (ulimit -n), and none of its own could be closed; details.retryAfterMs says ' +
      'when to try again.',
  },
  BUFFER_FULL: {
    status: 429,
    retryable: true,
    meaning: "This client's own buffer is full; details.retryAfterMs says when to try again.",
  },
  RATE_LIMITED: {
    status: 429,
    retryable: true,
    meaning: 'Too many requests; details.retryAfterMs says when to try again.',
  },
  TIMEOUT: {
    status: 504,
    retryable: true,
    meaning: 'The deadline passed before anything was sent; nothing was applied.',
  },
  ABORTED: {
    status: 499,
    retryable: true,
    meaning: 'The caller aborted before anything was sent; nothing was applied.',
  },
  OUTCOME_UNKNOWN: {
    status: 504,
    retryable: false,
    meaning: 'The deadline passed while the write was on its way; ask later with details.receiptId.',
  },
  QUEUE_UNAVAILABLE: {
    status: 503,
    retryable: true,
    meaning: 'Redis does not answer, or did not accept the write; nothing was applied.',
  },
  QUEUE_FULL: { status: 503, retryable: true, meaning: 'Redis is full, or nearly; nothing was accepted.' },
  BROKER_UNAVAILABLE: { status: 503, retryable: true, meaning: 'No broker leads.' },
  KEYS_UNAVAILABLE: {
    status: 503,
    retryable: true,
    meaning: 'The public keys that tokens are checked with cannot be fetched now.',
  },
  FENCED: {
    status: 503,
    retryable: true,
    meaning: 'A newer broker has taken over this file; the older one committed nothing.',
  },
  REPLICA_UNAVAILABLE: {
    status: 503,
    retryable: true,
    meaning: 'The store of the replicas does not answer.',
  },
  REPLICA_REFUSED: {
    status: 502,
    retryable: false,
    meaning:
      'The store of the replicas refuses, or cannot be used: rights, its address, or conditions that it ignores.',
  },
  REPLICA_FENCED: {
    status: 503,
    retryable: true,
    meaning: 'Another broker writes to the store of the replicas; this one stored nothing more.',
  },
  POSITION_UNKNOWN: {
    status: 404,
    retryable: false,
    meaning: 'The replica has no such point of the tenant; the message names those nearest.',
  },
  CLOSED: {
    status: 503,
    retryable: false,
    meaning: 'The client, process or tenant is closed or shutting down.',
  },
  MISCONFIGURED: {
    status: 500,
    retryable: false,
    meaning: 'A setting makes safe operation impossible; the message says which.',
  },
  INTERNAL: { status: 500, retryable: false, meaning: 'Internal error; the log has the details.' },
} as const satisfies Record<string, ErrorCodeRow>;

/** One row of {@link ERROR_CODES}. */
export interface ErrorCodeRow {
  readonly status: number;
  readonly retryable: boolean;
  readonly meaning: string;
}

/** The union of all error codes. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** Whether `code` is an {@link ErrorCode}. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code);
}
