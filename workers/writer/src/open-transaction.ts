/** A transaction that stays open on the tenant's connection between two requests of its client. */
export interface OpenTransaction {
  readonly id: string;
  /** The client's savepoints, innermost last; as SQLite compares their names. */
  readonly savepoints: readonly string[];
  /** It was begun by SAVEPOINT, and ends when that is released. */
  readonly bySavepoint: boolean;
  readonly readOnly: boolean;
  /** A statement that writes was run in it. */
  readonly wrote: boolean;
  /** The job whose steps came last, and its results ('' where they are large): it may be delivered again. */
  readonly last?: { readonly jobId: string; readonly results: string } | undefined;
}
