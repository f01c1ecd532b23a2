/**
 * - `error`: data is damaged or missing, or will be.
 * - `warning`: look at it.
 * - `note`: what people may want to know.
 */
export type FindingLevel = 'error' | 'warning' | 'note';

/** One thing that a check found. */
export interface Finding {
  readonly level: FindingLevel;
  /** Null for what belongs to none. */
  readonly tenant: string | null;
  /** Short name, for programs: `integrity`, `schema`, `foreign-keys`, `ledger`, `committed-jobs`, `wal`, `orphan` … */
  readonly check: string;
  readonly found: string;
  /** What to do about it. */
  readonly next: string;
}

/** `1 row is`, `2 rows are`: the beginning of what was found. */
export function countOf(count: number, one: string, verbs: readonly [one: string, many: string]): string {
  return count === 1 ? `1 ${one} ${verbs[0]}` : `${count} ${one}s ${verbs[1]}`;
}
