import type { SqlParameters, SqlValue } from '@onewriter/protocol';
import type { RowForm } from './row-json.ts';

/** A statement that only reads. */
export interface ReadStatement {
  readonly sql: string;
  readonly params?: SqlParameters | undefined;
}

/** What and where to read, and how long the caller waits. */
export interface ReadRequest {
  readonly tenant: string;
  /** Run on one state of the database. */
  readonly statements: readonly ReadStatement[];
  /** The read is stopped then. Default: the gateway's own. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The token of several tenants that asks, where it is to have no more than a tenant. */
  readonly owner?: string | undefined;
  readonly firstRowOnly?: boolean | undefined;
  /** Waits until the tenant has committed this. */
  readonly minCommitSeq?: number | undefined;
  /** Every integer is a bigint, so that it differs from a real. */
  readonly safeIntegers?: boolean | undefined;
  /** Rows are wanted as JSON: those that a process reads come as `json`. Not for {@link TenantReads.stream}. */
  readonly json?: RowForm | undefined;
}

/** Rows of one statement, values in column order; integers are bigint beyond 2^53, or with `safeIntegers` always. */
export interface ReadResult {
  readonly columns: readonly string[];
  readonly rows: SqlValue[][];
  /** In place of the rows: the elements of an array, in pieces. */
  readonly json?: readonly Uint8Array[] | undefined;
}

/** Result of a read. */
export interface ReadAnswer {
  /** One per statement. */
  readonly results: readonly ReadResult[];
  /** The newest commit that the read saw; undefined for a file that no writer has opened. */
  readonly commitSeq: number | undefined;
  /** The file that was read; see the protocol's DatabaseFile. */
  readonly incarnation?: string | undefined;
}

/** A result that comes in pieces. */
export interface ReadStream {
  readonly columns: readonly string[];
  /** Ends with an error where the read did. Leaving the loop ends the read. */
  readonly chunks: AsyncIterable<SqlValue[][]>;
}

/** Reads tenants' files. */
export interface TenantReads {
  /**
   * Reads and returns all rows.
   * @throws OnewriterError READ_TIMEOUT (stopped), TIMEOUT (never begun), ABORTED, RESULT_TOO_LARGE, RATE_LIMITED,
   * COMMIT_SEQ_NOT_REACHED, SQL_ERROR, TENANT_NOT_FOUND, DATABASE_…
   */
  read(request: ReadRequest): Promise<ReadAnswer>;
  /** Reads one statement whose result may be of any length. @throws as {@link read} */
  stream(request: ReadRequest): Promise<ReadStream>;
  /** Closes a tenant's file, which was moved away. */
  forget(tenant: string): void;
  /** Files that are open, about. */
  readonly openFiles: number;
}
