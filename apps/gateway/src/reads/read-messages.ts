import type { SqlValue, WireError, WireParameters } from '@onewriter/protocol';
import type { StepColumn, StepCondition, StepError } from '../dialects/hrana/steps.ts';
import type { RowForm } from './row-json.ts';

/*
 * What the gateway and a reading process say to each other over IPC (structured clone, so values are exact).
 *
 *   gateway                         process
 *     ReadTask ───────────────────▶
 *            ◀─────────────────────  columns of statement 0
 *            ◀─────────────────────  rows, rows, …     (streamed: at most STREAM_WINDOW unacknowledged), or json, json, …
 *     more ───────────────────────▶
 *            ◀─────────────────────  columns of statement 1 …
 *            ◀─────────────────────  end, or error
 *
 * A StepsTask is answered by a step and rows and stepEnd or stepError for each step that runs, and by end or error.
 *
 * One task at a time.
 */

/** One statement of a {@link ReadTask}. */
export interface ReadStatementTask {
  readonly sql: string;
  readonly params?: WireParameters | undefined;
}

/** Statements to run on one state of one tenant's database. */
export interface ReadTask {
  readonly type: 'read';
  readonly tenant: string;
  readonly statements: readonly ReadStatementTask[];
  /** Rows of all statements together. */
  readonly maxRows: number;
  /** Estimated size of the result. */
  readonly maxBytes: number;
  /** Ends each statement after its first row, which is no error. */
  readonly firstRowOnly?: boolean | undefined;
  /** Wait for acknowledgements, for results of any length. */
  readonly streamed?: boolean | undefined;
  /** Run nothing unless the tenant has committed this. */
  readonly minCommitSeq?: number | undefined;
  /** Every integer is a bigint, so that it differs from a real. */
  readonly safeIntegers?: boolean | undefined;
  /** The rows come as JSON, the elements of an array. Not where it is streamed. */
  readonly json?: RowForm | undefined;
}

/** One step of a {@link StepsTask}. */
export interface ReadStepTask {
  readonly sql: string;
  readonly params?: WireParameters | undefined;
  /** `sql` is a script. */
  readonly script?: boolean | undefined;
  /** Prepare it only. */
  readonly describe?: boolean | undefined;
  /** false: the rows are not wanted. */
  readonly rows?: boolean | undefined;
  readonly condition?: StepCondition | undefined;
  /** It fails with this, if it runs. */
  readonly refused?: StepError | undefined;
}

/**
 * Steps on one read-only connection, each on the state of its time unless they begin a transaction. Values are exact:
 * integers are bigint.
 */
export interface StepsTask {
  readonly type: 'steps';
  readonly tenant: string;
  readonly steps: readonly ReadStepTask[];
  /** Continue the transaction that was kept under this name. */
  readonly resume?: string | undefined;
  /** Keep a transaction that is open at the end under this name; without it, it is rolled back. */
  readonly keep?: string | undefined;
  /** A tenant without a file has an empty database. */
  readonly emptyIfMissing: boolean;
  readonly maxRows: number;
  readonly maxBytes: number;
  readonly streamed?: boolean | undefined;
}

/** What the gateway sends. */
export type ToReadProcess =
  | ReadTask
  | StepsTask
  /** A transaction that was kept is over. */
  | { readonly type: 'release'; readonly name: string }
  /** One chunk was taken. */
  | { readonly type: 'more' }
  /** The rest of the stream is not wanted. */
  | { readonly type: 'cancel' }
  /** The file is to be closed: it was moved away. */
  | { readonly type: 'forget'; readonly tenant: string };

/** What a process sends. */
export type FromReadProcess =
  | { readonly type: 'ready' }
  | { readonly type: 'columns'; readonly columns: readonly string[] }
  | { readonly type: 'rows'; readonly rows: SqlValue[][] }
  | { readonly type: 'json'; readonly json: Uint8Array }
  | { readonly type: 'step'; readonly step: number; readonly columns: readonly StepColumn[] }
  | { readonly type: 'stepEnd'; readonly durationMs: number; readonly readonly?: boolean | undefined }
  | { readonly type: 'stepError'; readonly step: number; readonly error: StepError }
  | EndMessage
  | { readonly type: 'error'; readonly error: WireError; readonly openFiles: number };

/** A task is done. */
export interface EndMessage {
  readonly type: 'end';
  readonly commitSeq: number | undefined;
  /** The file that was read; see the protocol's DatabaseFile. */
  readonly incarnation?: string | undefined;
  readonly openFiles: number;
  /** For steps: whether no transaction is open. */
  readonly autocommit?: boolean | undefined;
}

/** Argument of a reading process (JSON). */
export interface ReadProcessSettings {
  readonly dataDir: string;
  readonly dbFile: string;
  readonly busyTimeoutMs: number;
  readonly maxOpenFiles: number;
}

/** Chunks of a stream that are under way at most. */
export const STREAM_WINDOW = 4;
