import type { ReadRoute, SqlRow, SqlRowArray, WaitOptions } from '../types.ts';
import type { BoundParameters } from '../write/parameters.ts';

/** A read: where, what, and how long the caller waits. */
export interface ReadRequest {
  readonly tenant: string;
  readonly sql: string;
  /** Checked: see bindParameters. */
  readonly params: BoundParameters;
  readonly options: WaitOptions;
  /** For allArrays(): every integer is a bigint. */
  readonly safeIntegers?: boolean | undefined;
}

/** Rows in column order. */
export interface RowsWithColumns {
  readonly columns: string[];
  readonly rows: SqlRowArray[];
}

/**
 * A way to read. An answer that is there at once is returned as it is, not as a promise: for a small read the
 * promise would cost a tenth of the time. Errors are thrown accordingly.
 */
export interface Reads {
  readonly route: ReadRoute;
  /** Files that are open. */
  readonly openReaders: number;
  get(request: ReadRequest): SqlRow | undefined | Promise<SqlRow | undefined>;
  all(request: ReadRequest): SqlRow[] | Promise<SqlRow[]>;
  allArrays(request: ReadRequest): RowsWithColumns | Promise<RowsWithColumns>;
  iterate(request: ReadRequest): AsyncGenerator<SqlRow, void, undefined>;
  close(): void;
}
