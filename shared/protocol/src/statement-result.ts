import type { WireValue } from './value.ts';

/** Result of one statement: `[changes, lastInsertRowid]`, or with rows where the statement returns rows. */
export type WireStatementResult = WireChanges | WireRows;

/** The third is the commit, only of a write with an idempotency key: see WireOperationResult in write-job.ts. */
export type WireChanges =
  | readonly [changes: number, lastInsertRowid: WireValue]
  | readonly [changes: number, lastInsertRowid: WireValue, commitSeq: number];

export interface WireRows {
  /** Column names. */
  readonly c: readonly string[];
  /** Rows, values in column order, exact: `encodeExactValue`. */
  readonly r: readonly (readonly WireValue[])[];
  readonly n: number;
  readonly i: WireValue;
  /** As in WireOperationResult. */
  readonly seq?: number | undefined;
}
