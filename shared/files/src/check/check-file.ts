import { shownName } from '@onewriter/protocol';
import {
  checkIntegrity,
  type IntegrityReport,
  inspected,
  isStatementError,
  sqliteCodeOf,
  type UncheckedTable,
} from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';
import type { Verification } from '../backup/manifest.ts';

/** Lines of damage that are listed. */
const MAX_PROBLEMS = 20;

/** Checks all pages, indexes and foreign keys of a file that is open. */
export function checkFile(db: Database.Database): IntegrityReport {
  return checkIntegrity(inspected(db), MAX_PROBLEMS);
}

/** What {@link checkAs} finds. */
export interface CheckedFile {
  readonly problems: readonly string[];
  /** Undefined: only pages were checked. */
  readonly report: IntegrityReport | undefined;
}

/**
 * Checks a file that is open, in full, or only its pages: not whether indexes and keys agree with rows. Where SQLite lacks
 * what a table needs, a quick check finds nothing about the others, so the full check runs instead.
 */
export function checkAs(verification: Verification, db: Database.Database): CheckedFile {
  if (verification === 'quick') {
    const problems = checkPages(db);
    if (problems !== undefined) return { problems, report: undefined };
  }
  const report = checkFile(db);
  return { problems: report.problems, report };
}

/** Undefined where SQLite lacks what a table needs. */
function checkPages(db: Database.Database): readonly string[] | undefined {
  try {
    const lines = db.prepare<[], string>(`PRAGMA quick_check(${MAX_PROBLEMS})`).pluck().all();
    return lines.flatMap(line => line.split('\n')).filter(line => line !== 'ok' && !line.startsWith('***'));
  } catch (error) {
    if (isStatementError(error)) return undefined;
    if (sqliteCodeOf(error) === undefined) throw error;
    return [`${sqliteCodeOf(error)}: ${(error as Error).message}`];
  }
}

/** Rows that refer to a row that is not there. */
export function countViolations({ violations }: IntegrityReport): number {
  return violations.reduce((sum, { rows }) => sum + rows, 0);
}

/** Tables that could not be checked, each once, with the first reason. */
export function mergeUnchecked(...lists: readonly (readonly UncheckedTable[])[]): readonly UncheckedTable[] {
  const byName = new Map<string, UncheckedTable>();
  for (const table of lists.flat()) if (!byName.has(table.name)) byName.set(table.name, table);
  return [...byName.values()];
}

/** `table a: no such collation sequence: x; table b: …`: for messages. */
export function describeUnchecked(tables: readonly UncheckedTable[]): string {
  return tables.map(({ name, error }) => `table ${shownName(name)}: ${error}`).join('; ');
}
