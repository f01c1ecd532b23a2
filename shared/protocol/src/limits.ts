/**
 * Every bound and default that two parts must agree on, in one place. Units are in the names; a bound that is
 * reached is an error with a code, never silence.
 */
export const LIMITS = Object.freeze({
  /** SQL text of one statement or script. */
  maxStatementBytes: 1024 * 1024,
  /** Parameters of one statement; SQLite's own limit (SQLITE_MAX_VARIABLE_NUMBER). */
  maxParameters: 32_766,
  /** Statements of one transaction. Source: libSQL's clients send 4,000 in their own tests. */
  maxTransactionStatements: 5_000,
  /** Steps of one request: as many, and what clients put around them (BEGIN, COMMIT, ROLLBACK, a look at autocommit). */
  maxSteps: 5_010,
  /** One write: its parameters, encoded. */
  maxOperationBytes: 8 * 1024 * 1024,
  /** Writes that share one job. */
  maxJobOperations: 500,
  /** Bytes of a body that came packed (gzip), when it is unpacked. */
  maxUnpackedBytes: 16 * 1024 * 1024 * 1024,
  /** Rows in one piece of an import. */
  maxImportPieceRows: 500,
  /** Refused rows of an import that are remembered; more end it. */
  maxImportRefused: 1_000,
  /** One job, encoded; a single larger write (up to maxOperationBytes) travels alone. */
  maxJobBytes: 1024 * 1024,
  /** Writes per job whose traces get the broker's spans; the others have only the SDK's spans. */
  maxTracedWrites: 16,
  /** A request id's length in characters. */
  maxRequestIdLength: 128,
  /** Jobs that one transaction of the writer applies together. */
  maxBatchJobs: 32,
  /** Rows returned by one statement, read or RETURNING. */
  maxResultRows: 100_000,
  /** Encoded bytes of the results of one write. */
  maxResultBytes: 4 * 1024 * 1024,
  /** A completion event larger than this carries no results; the client reads them from the ledger. */
  maxEventBytes: 64 * 1024,
  /** Entries kept in a client's inbox. Events are a hint; the ledger is the truth. */
  maxInboxEvents: 10_000,
  /** An inbox that its client stops refreshing is deleted after this. */
  inboxTtlMs: 10 * 60_000,
  /** A client whose presence key was not renewed for this long is gone; it renews it four times in that time. */
  presenceTtlMs: 3_000,
  /** Jobs waiting in one tenant's queue before producers are refused. */
  maxQueueDepth: 1_000,
  /** Bytes of their data; a job that finds none waiting may be larger. */
  maxQueueBytes: 64 * 1024 * 1024,
  /** Writes a client holds in memory (buffered, or sent and not yet settled), per tenant and in all. */
  maxClientTenantOperations: 20_000,
  maxClientOperations: 100_000,
  /** Bytes of writes that the queue has not accepted, per tenant and in all. */
  maxClientTenantBytes: 16 * 1024 * 1024,
  maxClientBytes: 64 * 1024 * 1024,
  /** A caller is settled after this at the latest, unless it says otherwise. */
  writeTimeoutMs: 30_000,
  /** The longest deadline a caller may ask for; the ledger is never pruned younger than this. */
  maxTimeoutMs: 60 * 60_000,
  /** Ledger rows younger than this are kept; older ones are pruned by age, then by count. */
  ledgerRetentionMs: 24 * 60 * 60_000,
  maxLedgerRows: 100_000,
  /** Idempotency keys are kept this long. */
  idempotencyRetentionMs: 24 * 60 * 60_000,
  /** An idempotency key's length in characters. */
  maxIdempotencyKeyLength: 255,
  /** Finished jobs kept in Redis for people to look at, without their data. */
  keepCompletedJobs: 20,
  keepDeadLetters: 10_000,
  /** Total size of a group's dead letters; each holds its write, up to maxOperationBytes. */
  keepDeadLetterBytes: 256 * 1024 * 1024,
  /** A finished job is kept this long at most, and a look of the broker (finishedLookMs) longer. */
  keepFinishedMs: 10 * 60_000,
  finishedLookMs: 60_000,
  /** Reads through the owner share the thread that writes: one of them returns so many rows and bytes, and a job of them so many. */
  maxOwnerReadRows: 10_000,
  maxOwnerReadBytes: 1024 * 1024,
  maxOwnerJobBytes: 4 * 1024 * 1024,
  /** One that runs longer is stopped at its next row, and refused for a while where that was repeated. */
  ownerReadMs: 250,
  /** One that may visit each row of a table runs only in a database up to this size. */
  maxOwnerScanBytes: 16 * 1024 * 1024,
  /** An answer that is too large for an event waits so long in Redis for its client, and all of them have so many bytes. */
  ownerAnswerTtlMs: 10_000,
  maxOwnerAnswerBytes: 64 * 1024 * 1024,
  /** A statement that runs longer than this is stopped by the watchdog. */
  statementTimeoutMs: 10_000,
  /** Highest crash count at which a job still runs, alone in its process; one more and it is set aside as poison. */
  maxJobStarts: 4,
  /** An Onewriter reader's snapshot is ended when the write-ahead log has grown by this much since it began. */
  maxSnapshotLogBytes: 256 * 1024 * 1024,
  /** Compiled statements kept per connection. */
  maxCachedStatements: 200,
  /** An open transaction may be rolled back for other writers once it is this old, or idle for this long. */
  transactionTimeoutMs: 5_000,
  transactionIdleMs: 10_000,
  /** An open transaction is rolled back at this age, even if no other write waits. */
  transactionMaxMs: 60_000,
  /** Answers of an open transaction are kept in Redis this long: no ledger has them. */
  transactionAnswerTtlMs: 60_000,
  /** SQLite waits this long for a lock held by another process. */
  busyTimeoutMs: 5_000,
});

/**
 * How a broker ends that is replaced because of a statement that never ends: like an alarm clock, no crash. Whatever
 * supervises it starts it again at once (`128 + 14` as an exit code).
 */
export const REPLACED_SIGNAL = 'SIGALRM';
