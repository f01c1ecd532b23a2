import type { SqlValue, Tenant } from '@onewriter/sdk';
import { toStoredValue } from './column-value.ts';
import type { SourceRow } from './read-source.ts';
import { ROW_COLUMN, type TableDefinition } from './table-definition.ts';
import { type WriteBoundedOptions, writeBounded } from './write-bounded.ts';

/**
 * Creates the table again in the tenant and writes all rows into it, each as a write of its own.
 * @throws what the SDK throws; Error where a value does not fit its column.
 */
export async function importTable(
  tenant: Tenant,
  table: TableDefinition,
  rows: readonly SourceRow[],
  options: Partial<WriteBoundedOptions> = {},
): Promise<void> {
  const columns = table.columns.map(column => `${quoteName(column.name)} ${sqlType(column.type)}`);
  await tenant.exec(`
    DROP TABLE IF EXISTS ${quoteName(table.name)};
    CREATE TABLE ${quoteName(table.name)} (${ROW_COLUMN} INTEGER PRIMARY KEY, ${columns.join(', ')}) STRICT;
  `);
  const marks = ['?', ...table.columns.map(() => '?')].join(', ');
  const insert = tenant.prepare<SqlValue[]>(`INSERT INTO ${quoteName(table.name)} VALUES (${marks})`);
  const write = ([index, row]: [number, SourceRow]) =>
    insert.run(index + 1, ...row.map((value, column) => toStoredValue(value, table.columns[column]!)));
  await writeBounded(tenant, rows.entries(), write, options);
}

/** A name in SQL, whatever characters it has. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function sqlType(type: TableDefinition['columns'][number]['type']): string {
  return type === 'date' ? 'TEXT' : type.toUpperCase();
}
