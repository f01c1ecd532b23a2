import {
  checkIntegrity,
  type IntegrityReport,
  inspected,
  type UncheckedTable,
} from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';

/** Lines of damage that are listed. */
const MAX_PROBLEMS = 20;

/** Checks all pages, indexes and foreign keys of a file that is open. */
export function checkFile(db: Database.Database): IntegrityReport {
  return checkIntegrity(inspected(db), MAX_PROBLEMS);
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
  return tables.map(({ name, error }) => `table ${name}: ${error}`).join('; ');
}
