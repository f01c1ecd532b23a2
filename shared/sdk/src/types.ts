import type {
  MetricRegistry,
  OnewriterError,
  SqlParameter,
  SqlParameters,
  SqlValue,
  StatementExpectation,
} from '@onewriter/protocol';
import type { TenantHolder } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import type { TenantReplica } from './replica/replica-types.ts';
import type { StepsAnswer, StepsOptions, StepsRequest } from './steps-types.ts';
import type { WaitOptions } from './wait-options.ts';
import type { ImportPiece, ImportPieceResult } from './write/import-types.ts';

export type { WaitOptions } from './wait-options.ts';

/*
 * The public API, top down: ConnectOptions → Onewriter → Tenant → Statement, Receipt → their results.
 * Everything that waits accepts WaitOptions; every failure is an OnewriterError with a code, except mistakes in
 * the calling program (a read given to run(), a wrong type), which are TypeErrors.
 */

/** Where Onewriter is, and how this client behaves. */
export interface ConnectOptions {
  /**
   * `redis://` or `rediss://` URL, `redis+sentinel://host:port,host:port/name` for a primary that Sentinels name, or an
   * ioredis instance whose settings are copied (the instance itself is neither used nor closed). The client opens two connections: one for commands, one that waits for results.
   */
  readonly redis: string | Redis;
  /**
   * Folder that holds `tenants/<tenant>/<file>`, for direct reads. Without it, or where it is on a network file
   * system or not mounted, reads go through the gateway, or through the owner of the files.
   */
  readonly dataDir?: string | undefined;
  /** Base URL of the gateway, for reads where the files cannot be opened. */
  readonly gatewayUrl?: string | undefined;
  /** Bearer token for the gateway. */
  readonly token?: string | undefined;
  /**
   * `auto` (default): direct where that is safe, else through the gateway if one is given, else through the owner: the broker, by the
   * queue. `file`, `gateway` or `owner`: always this way.
   */
  readonly reads?: ReadRoute | 'auto' | undefined;
  /** Placement group; default `default`. */
  readonly group?: string | undefined;
  /** Name of the database file in a tenant's folder; default `tenant.db`. */
  readonly dbFile?: string | undefined;
  /**
   * Records spans of each write with the tracer provider that is registered with `@opentelemetry/api`, as children of the
   * caller's span, and sends its context along, so that the broker's spans join the trace. Default false: then nothing of
   * it runs.
   */
  readonly tracing?: boolean | undefined;
  /** Receives what the operator should know; silent by default. */
  readonly logger?: SdkLogger | undefined;
  /** `connect()` waits this long for Redis' first answer; default 5,000 ms, which is also the most. */
  readonly connectTimeoutMs?: number | undefined;
  /** Deadline of a write whose caller names none; default LIMITS.writeTimeoutMs (30 s). */
  readonly writeTimeoutMs?: number | undefined;
  /** How long a read waits for SQLite's lock; default LIMITS.busyTimeoutMs. */
  readonly busyTimeoutMs?: number | undefined;
  /** Tenant files kept open for reading; default: what a quarter of `ulimit -n` and a sixteenth of the memory allow. */
  readonly maxOpenReaders?: number | undefined;
  /** Rows that all() returns at most; default LIMITS.maxResultRows. */
  readonly maxResultRows?: number | undefined;
  /** Bytes of jobs that may wait for one tenant; default LIMITS.maxQueueBytes (64 MiB). Beyond it: TENANT_OVERLOADED. */
  readonly maxQueueBytes?: number | undefined;
  /** What Redis may use where it has no `maxmemory`; default 0: half of its machine's memory. At 90 % of it: QUEUE_FULL. */
  readonly maxRedisBytes?: number | undefined;
  /**
   * An iteration of a file is ended (SNAPSHOT_ENDED) when so much was written to the tenant since it began: until it ends
   * the write-ahead log only grows. Default LIMITS.maxSnapshotLogBytes (256 MiB).
   */
  readonly maxSnapshotLogBytes?: number | undefined;
}

/** How reads reach a tenant's file. */
export type ReadRoute = 'file' | 'gateway' | 'owner';

/** The part of pino's interface that is used: an object of facts, then a sentence. */
export interface SdkLogger {
  info?(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** How a write is sent. */
export interface WriteOptions extends WaitOptions {
  /**
   * Among writes of a tenant with the same key only the first is applied; the others get its result and its
   * commitSeq. 1 to LIMITS.maxIdempotencyKeyLength characters; kept for LIMITS.idempotencyRetentionMs. The same key
   * with another write is IDEMPOTENCY_KEY_REUSED.
   */
  readonly idempotencyKey?: string | undefined;
  /** Shown in the broker's log lines about this write; 1 to LIMITS.maxRequestIdLength characters. */
  readonly requestId?: string | undefined;
  /**
   * Who sent it, for a service that writes for others who may write several tenants each: where writes of one of them end processes,
   * the broker runs all of its writes apart. As `SENDER_PATTERN` of the protocol.
   */
  readonly sender?: string | undefined;
  /**
   * `replica`: answered when the replica has the commit, too. REPLICA_UNAVAILABLE: nothing was applied, its store does not answer.
   * OUTCOME_UNKNOWN with the reason `not replicated`: committed, and not known to be in the replica.
   */
  readonly durable?: 'replica' | undefined;
}

/** {@link WriteOptions} of enqueue(); the deadline is that of the queue's acceptance. Its receipt waits for the replica. */
export interface EnqueueOptions extends WriteOptions {}

/** The shape of rows. */
export interface RowOptions<Mode extends RowMode = RowMode> {
  /** `object` (default): one property per name; of equal names the last column counts. `array`: values in column order, all. */
  readonly rowMode?: Mode | undefined;
  /** Every integer in the rows is a bigint, so that it differs from a real; default false. */
  readonly safeIntegers?: boolean | undefined;
}

/** {@link WriteOptions}, and the shape of the rows. */
export interface ExecuteOptions<Mode extends RowMode = RowMode> extends WriteOptions, RowOptions<Mode> {}

/** {@link WaitOptions}, and the shape of the rows. */
export interface OutcomeOptions<Mode extends RowMode = RowMode> extends WaitOptions, RowOptions<Mode> {}

export type RowMode = 'object' | 'array';

/** A row as an object; integers beyond 2^53 are bigint, blobs are Buffers. */
export interface SqlRow {
  [column: string]: SqlValue;
}

/** A row as an array, in column order. */
export type SqlRowArray = SqlValue[];

/** A row in the mode asked for. */
export type RowOf<Mode extends RowMode> = Mode extends 'array' ? SqlRowArray : SqlRow;

/** A client: one per process is enough for any number of tenants. */
export interface Onewriter extends AsyncDisposable {
  /** `c-<uuidv7>`: whose inbox the results come to. */
  readonly clientId: string;
  /** How reads are done, decided at connect(). */
  readonly readRoute: ReadRoute;
  /** A tenant's database; cheap, nothing is opened yet. @throws OnewriterError INVALID_TENANT */
  tenant(id: string): Tenant;
  /** What the client holds in memory now. */
  stats(): ClientStats;
  /**
   * Adds this client's metrics (`onewriter_client_…`) to a registry of prom-client, 14 or newer; once per registry.
   * @example onewriter.exposeMetrics(register); // import { register } from 'prom-client'
   */
  exposeMetrics(registry: MetricRegistry): void;
  /**
   * Resolves when Redis has answered: for the readiness probe of an app.
   * @throws OnewriterError QUEUE_UNAVAILABLE where it does not, by `timeoutMs` (default 1,000) at the latest; CLOSED
   */
  ping(options?: CloseOptions): Promise<void>;
  /**
   * Accepts no more writes, waits for the outstanding ones up to `timeoutMs` (default `writeTimeoutMs`), settles
   * the rest truthfully (CLOSED where never sent, else OUTCOME_UNKNOWN) and closes all connections. Idempotent.
   */
  close(options?: CloseOptions): Promise<void>;
}

export interface CloseOptions {
  readonly timeoutMs?: number | undefined;
}

/** Writes that are held, by stage, and open files. */
export interface ClientStats {
  /** Not sent yet. */
  readonly bufferedWrites: number;
  /** Sent, not settled yet. */
  readonly outstandingWrites: number;
  readonly outstandingJobs: number;
  /** Encoded size of all these writes. */
  readonly heldBytes: number;
  readonly openReaders: number;
}

/** One tenant's database. Writes are queued to its single writer, reads are done directly. */
export interface Tenant extends TenantReplica {
  readonly id: string;
  /**
   * A statement to run many times; nothing is sent or opened yet.
   *
   * @throws OnewriterError STATEMENT_NOT_ALLOWED, STATEMENT_TOO_LARGE, INVALID_ARGUMENT (none, or more than one
   *   statement)
   * @example db.prepare<[id: string], Task>('SELECT * FROM tasks WHERE id = ?').get('t1')
   * @example db.prepare<{ id: string; title: string }>('INSERT INTO tasks VALUES (@id, @title)').run({ … })
   */
  prepare<Params extends readonly unknown[] | object = SqlParameters, Row = SqlRow>(
    sql: string,
    options?: WriteOptions,
  ): Statement<Params, Row>;
  /**
   * Any one statement, for callers that do not know what it is: a read is done directly, a write goes to the
   * writer.
   *
   * @throws OnewriterError as {@link Tenant.prepare}, {@link Statement.run} and {@link Statement.all}
   */
  execute<Mode extends RowMode = 'object'>(
    sql: string,
    params?: SqlParameters,
    options?: ExecuteOptions<Mode>,
  ): Promise<ExecuteResult<RowOf<Mode>>>;
  /**
   * A script of any number of statements, applied as a whole or not at all. One with `PRAGMA foreign_keys=OFF`, as dumps and
   * the rebuild of a table have it, runs alone and without foreign keys. References that it breaks are
   * CONSTRAINT_VIOLATION. Pairs of BEGIN and COMMIT, SAVEPOINT and RELEASE add nothing; with a ROLLBACK they are refused.
   */
  exec(script: string, options?: WriteOptions): Promise<ScriptResult>;
  /**
   * Statements applied as a whole or not at all; reads among them see the writes before them. With `PRAGMA
   * foreign_keys=OFF` among them as {@link Tenant.exec}.
   *
   * @param statements 1 to LIMITS.maxTransactionStatements
   * @returns one result per statement
   * @throws OnewriterError with `details.statementIndex`; EXPECTATION_FAILED where an `expect` is not met
   */
  transaction<Mode extends RowMode = 'object'>(
    statements: readonly TransactionStatement[],
    options?: ExecuteOptions<Mode>,
  ): Promise<StatementResult<RowOf<Mode>>[]>;
  /**
   * Reads a pragma, for example `pragma('table_info(tasks)')`.
   * @returns the rows; with `simple` the first column of the first row, or undefined.
   * @throws OnewriterError STATEMENT_NOT_ALLOWED for one that changes something
   */
  pragma(sql: string, options?: PragmaOptions): Promise<unknown>;
  /**
   * Sends a write without waiting for its commit. A write that then fails is set aside in the dead-letter queue.
   * @returns a receipt as soon as the queue has accepted the write
   */
  enqueue(sql: string, params?: SqlParameters, options?: EnqueueOptions): Promise<Receipt>;
  /**
   * Advanced: runs statements one after the other on the tenant's writer connection, conditions and transaction control
   * among them; a step that fails does not end the others. It is what the libSQL protocol needs. An interactive
   * transaction holds up all other writes of its tenant; where transaction() will do, use that.
   *
   * @throws OnewriterError as run(). SNAPSHOT_STALE: see `expectCommitSeq`. TRANSACTION_BUSY: others had the writer until
   *   the deadline, nothing was run. A step's own error is in its result; TRANSACTION_TIMEOUT there: the transaction is
   *   gone, and nothing but ROLLBACK will do.
   */
  steps(request: StepsRequest, options?: StepsOptions): Promise<StepsAnswer>;
  /**
   * Advanced: applies a piece of an import, if it begins where the import is. The gateway's import does the rest. Where the
   * client's buffer is full it waits for room until the deadline, so that pieces keep their order.
   * @throws OnewriterError as run(); IDEMPOTENCY_KEY_REUSED; an error that is not about one row. Nothing of the piece was
   *   applied then.
   */
  importRows(piece: ImportPiece, options?: WaitOptions): Promise<ImportPieceResult>;
  /**
   * Advanced: sends a write that another thread has encoded (`@onewriter/sdk/sealed`), and waits for its commit.
   * @throws OnewriterError as run()
   */
  sendSealed<Mode extends RowMode = 'object'>(
    sealed: SealedWrite,
    options?: OutcomeOptions<Mode>,
  ): Promise<SealedResult<RowOf<Mode>>>;
  /** Advanced: as sendSealed(), without waiting for its commit; it was sealed with the flag `detached`. */
  enqueueSealed(sealed: SealedWrite, options?: WaitOptions): Promise<Receipt>;
  /** The receipt of a write of any process. @throws OnewriterError INVALID_ARGUMENT */
  receipt(id: string): Receipt;
}

/**
 * A large write whose part of the message was made elsewhere, in bytes: the event loop that sends it copies it, and does nothing else
 * with it. It can be passed between threads.
 */
export interface SealedWrite {
  readonly kind: 'statement' | 'transaction' | 'script';
  /** What people see of it. */
  readonly description: string;
  /** How many SQL texts it has. */
  readonly texts: number;
  /** Its caller is answered when the replica has it. */
  readonly durable?: true | undefined;
  /** The end of the message's JSON, from its SQL texts on, in UTF-8. */
  readonly tail: Uint8Array<ArrayBuffer>;
}

/** What a sealed write did: one result per statement, none of a script. */
export interface SealedResult<Row> {
  readonly results: readonly StatementResult<Row>[];
  readonly commitSeq: number;
  readonly replicatedAt?: number | undefined;
}

export interface PragmaOptions extends WaitOptions {
  readonly simple?: boolean | undefined;
}

/** What may be passed for `Params`: its elements or one array of them, or one object of named parameters. */
export type BindArguments<Params> = Params extends readonly unknown[]
  ? Params | readonly [Params]
  : readonly [Params];

/** A prepared statement. */
export interface Statement<Params extends readonly unknown[] | object = SqlParameters, Row = SqlRow> {
  readonly source: string;
  /** Whether a read-only connection runs it; else it goes to the writer. */
  readonly readonly: boolean;
  /**
   * Runs a write that returns no rows, and waits for its commit.
   *
   * @throws TypeError for a statement that returns rows: a read, or a write with RETURNING
   * @throws OnewriterError CONSTRAINT_VIOLATION, SQL_ERROR, …: not applied. TIMEOUT, ABORTED, BUFFER_FULL,
   *   TENANT_OVERLOADED, QUEUE_UNAVAILABLE, QUEUE_FULL: not applied, try again. OUTCOME_UNKNOWN: ask
   *   `tenant.receipt(error.details.receiptId)` later.
   */
  run(...params: BindArguments<Params>): Promise<RunResult>;
  /**
   * The first row, or undefined.
   * @throws TypeError for a statement that returns no rows
   * @throws OnewriterError as run(); reads: TENANT_NOT_FOUND, SQL_ERROR, DATABASE_BUSY, DATABASE_IO_ERROR, …
   */
  get(...params: BindArguments<Params>): Promise<Row | undefined>;
  /** All rows. @throws as get(), and OnewriterError RESULT_TOO_LARGE beyond `maxResultRows` (use iterate()) */
  all(...params: BindArguments<Params>): Promise<Row[]>;
  /**
   * Rows of a read, a bounded number at a time. All are of one state of the database; it is held until the loop
   * ends, so end it. A write with RETURNING is sent when the loop begins, and its rows come after the commit.
   */
  iterate(...params: BindArguments<Params>): AsyncIterableIterator<Row>;
  /** The same statement with other options. */
  withOptions(options: WriteOptions): Statement<Params, Row>;
}

/** What a committed write did. */
export interface RunResult {
  /** Rows inserted, updated or deleted. */
  readonly changes: number;
  /** Row id of an insert that changed something, else 0; bigint beyond 2^53. */
  readonly lastInsertRowid: number | bigint;
  /** The tenant's commit that holds it: rises by one per commit. 0 for a PRAGMA that changes nothing: no commit was needed. */
  readonly commitSeq: number;
  /** When the replica had it, ms since the epoch; set where that was waited for: `durable`, or a tenant with the durability `sync`. */
  readonly replicatedAt?: number | undefined;
}

/** {@link RunResult}, with the rows of a statement that returns rows. */
export interface StatementResult<Row = SqlRow> extends RunResult {
  /** Defined exactly if the statement returns rows (also if there are none). */
  readonly columns?: readonly string[] | undefined;
  readonly rows?: Row[] | undefined;
}

/** Result of {@link Tenant.execute}. */
export interface ExecuteResult<Row = SqlRow> {
  /** Which way it went. A read has no commitSeq, and 0 for changes and lastInsertRowid. */
  readonly kind: 'read' | 'write';
  /** Defined exactly if the statement returns rows (also if there are none). */
  readonly columns?: readonly string[] | undefined;
  readonly rows?: Row[] | undefined;
  readonly changes: number;
  readonly lastInsertRowid: number | bigint;
  readonly commitSeq?: number | undefined;
  readonly replicatedAt?: number | undefined;
}

export interface ScriptResult {
  readonly commitSeq: number;
  readonly replicatedAt?: number | undefined;
}

/** A statement of {@link Tenant.transaction}. */
export interface TransactionStatement {
  readonly sql: string;
  readonly params?: SqlParameters | undefined;
  /** What must be true of its result, else nothing is applied. */
  readonly expect?: StatementExpectation | undefined;
}

/** A handle on a write that was sent; holds nothing open. */
export interface Receipt {
  /** Keep it to ask from any process, for LIMITS.ledgerRetentionMs. */
  readonly id: string;
  readonly tenant: string;
  /**
   * Waits until the write is committed.
   * @throws OnewriterError the write's own error where it failed; OUTCOME_UNKNOWN at the deadline;
   *   RECEIPT_NOT_FOUND where neither queue nor ledger know it
   */
  committed<Mode extends RowMode = 'object'>(
    options?: OutcomeOptions<Mode>,
  ): Promise<WriteOutcome<RowOf<Mode>>>;
  /**
   * Where the write is now.
   * @throws OnewriterError QUEUE_UNAVAILABLE where neither Redis nor the ledger says it by `timeoutMs` (default
   *   LIMITS.busyTimeoutMs)
   */
  status<Mode extends RowMode = 'object'>(
    options?: OutcomeOptions<Mode>,
  ): Promise<ReceiptStatus<RowOf<Mode>>>;
}

/** Result of a write of any kind. */
export interface WriteOutcome<Row = SqlRow> extends StatementResult<Row> {
  /** For a transaction: one per statement; `changes` is then their sum. */
  readonly statements?: readonly StatementResult<Row>[] | undefined;
  /**
   * Set where the replica was waited for in vain: the write is committed, and not known to be there. Of writes of long ago neither
   * this nor `replicatedAt` is known.
   */
  readonly replicated?: false | undefined;
}

/**
 * - `pending`: queued, or being applied.
 * - `unknown`: neither queue nor ledger know it: never accepted, or older than the ledger.
 */
export type ReceiptStatus<Row = SqlRow> =
  | { readonly state: 'committed'; readonly result: WriteOutcome<Row> }
  | { readonly state: 'failed'; readonly error: OnewriterError }
  /** `holders`: who keeps the tenant still, which is why the write waits; missing where nothing does. */
  | { readonly state: 'pending'; readonly holders?: readonly TenantHolder[] | undefined }
  /** `reason` where the write was set aside, because it may have been applied before. */
  | { readonly state: 'unknown'; readonly reason?: string | undefined };

export type { SqlParameter, SqlParameters, SqlValue, StatementExpectation, TenantHolder };
