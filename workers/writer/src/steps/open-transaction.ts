import type { DanglingRows } from '../batch/dangling-rows.ts';

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
  /** Set where it was begun without foreign keys: the rows that dangled then. */
  readonly dangling: DanglingRows | undefined;
  /** Whether they are off for its client when it has ended. */
  readonly foreignKeysOffAfter: boolean;
  /** The jobs whose steps ran in it, oldest first: any may be delivered again. At most {@link MAX_KNOWN_JOBS}. */
  readonly jobs: Set<string>;
  /** JSON of the newest job's results; '' where they are large. */
  results: string;
}

/** How many of an open transaction's newest jobs are remembered. */
export const MAX_KNOWN_JOBS = 10_000;
