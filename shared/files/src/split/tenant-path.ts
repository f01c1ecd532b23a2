import { quoteName } from '@onewriter/runtime/inspect';
import { fold } from './source-schema.ts';
import type { RuledTable } from './split-rules.ts';

/** How a statement gets from a row to its tenant. */
export interface TenantPath {
  readonly joins: string;
  /** An expression. */
  readonly value: string;
}

/** Finds a table by its name. */
export type FindTable = (name: string) => RuledTable;

export function tableFinder(tables: readonly RuledTable[]): FindTable {
  const byName = new Map(tables.map(table => [fold(table.name), table]));
  return name => byName.get(fold(name))!;
}

/** @param alias of the table in the statement; that of its parents begins with it */
export function pathToTenant(find: FindTable, { rule }: RuledTable, alias: string): TenantPath {
  if (rule.kind === 'column') return { joins: '', value: `${alias}.${quoteName(rule.column)}` };
  if (rule.kind !== 'parent') throw new TypeError('The table is not split.');
  const above = `${alias}_`;
  const { joins, value } = pathToTenant(find, find(rule.parent), above);
  const to = `${above}.${quoteName(rule.parentColumn)}`;
  const on = `${alias}.${quoteName(rule.column)} = ${to}`;
  return { joins: ` LEFT JOIN main.${quoteName(rule.parent)} AS ${above} ON ${on}${joins}`, value };
}

/**
 * A condition for the rows of one tenant, with one parameter. It compares as {@link pathToTenant} does; an index on each column of the way
 * serves it.
 */
export function conditionOf(find: FindTable, { rule }: RuledTable, schema: string): string {
  if (rule.kind === 'column') return `${quoteName(rule.column)} COLLATE BINARY = ?`;
  if (rule.kind !== 'parent') throw new TypeError('The table is not split.');
  const rows = `SELECT ${quoteName(rule.parentColumn)} FROM ${schema}.${quoteName(rule.parent)}`;
  return `${quoteName(rule.column)} IN (${rows} WHERE ${conditionOf(find, find(rule.parent), schema)})`;
}
