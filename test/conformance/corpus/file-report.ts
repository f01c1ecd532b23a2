import type { InterfaceName } from './interfaces.ts';

/** One difference. */
export interface Difference {
  readonly through: InterfaceName;
  /** Name of the file in the corpus. */
  readonly file: string;
  readonly line: number;
  readonly kind: string;
  /** Shortened, as the answers are. */
  readonly sql: string;
  readonly here: string;
  readonly plain: string;
  /** Whether the database had a difference before: then this one may follow from it. */
  readonly follows: boolean;
}

/** Result of one file through one interface. */
export interface FileReport {
  readonly through: InterfaceName;
  readonly file: string;
  readonly statements: number;
  readonly equal: number;
  /** By reason: cannot be had of the file, or not run. */
  readonly skipped: Readonly<Record<string, number>>;
  /** By rule. */
  readonly refused: Readonly<Record<string, number>>;
  /** By reason. */
  readonly documented: Readonly<Record<string, number>>;
  readonly different: number;
  /** At most MAX_DIFFERENCES of them. */
  readonly differences: readonly Difference[];
}

/** Differences of one file that are kept in full: what follows from one fault can be thousands. */
export const MAX_DIFFERENCES = 500;

/** Adds one to a count. */
export function count(counts: Record<string, number>, key: string, by = 1): void {
  counts[key] = (counts[key] ?? 0) + by;
}
