import type { SqlValue, WireError, WireParameters } from '@onewriter/protocol';

/*
 * What the gateway and a reading process say to each other over IPC (structured clone, so values are exact).
 *
 *   gateway                         process
 *     ReadTask ───────────────────▶
 *            ◀─────────────────────  columns of statement 0
 *            ◀─────────────────────  rows, rows, …     (streamed: at most STREAM_WINDOW unacknowledged)
 *     more ───────────────────────▶
 *            ◀─────────────────────  columns of statement 1 …
 *            ◀─────────────────────  end, or error
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
}

/** What the gateway sends. */
export type ToReadProcess =
  | ReadTask
  /** One chunk was taken. */
  | { readonly type: 'more' }
  /** Nobody wants the rest of the stream. */
  | { readonly type: 'cancel' }
  /** The file is to be closed: it was moved away. */
  | { readonly type: 'forget'; readonly tenant: string };

/** What a process sends. */
export type FromReadProcess =
  | { readonly type: 'ready' }
  | { readonly type: 'columns'; readonly columns: readonly string[] }
  | { readonly type: 'rows'; readonly rows: SqlValue[][] }
  | { readonly type: 'end'; readonly commitSeq: number | undefined; readonly openFiles: number }
  | { readonly type: 'error'; readonly error: WireError; readonly openFiles: number };

/** What a process is told when it starts, as its argument (JSON). */
export interface ReadProcessSettings {
  readonly dataDir: string;
  readonly dbFile: string;
  readonly busyTimeoutMs: number;
  readonly maxOpenFiles: number;
}

/** Chunks of a stream that are under way at most. */
export const STREAM_WINDOW = 4;
