import type { SqlValue, Tenant } from '@onewriter/sdk';
import { type SourceValue, STORAGE_CLASSES, storageClass, toSourceValue } from './column-value.ts';
import { ContentHash } from './content-hash.ts';
import { quoteName } from './import-table.ts';
import type { SourceRow } from './read-source.ts';
import { ROW_COLUMN, type TableDefinition } from './table-definition.ts';

/** What the source has against what the file has. */
export interface Verification {
  readonly sourceRows: number;
  readonly storedRows: number;
  /** SHA-256 of all values in row order, see ContentHash. */
  readonly sourceHash: string;
  readonly storedHash: string;
  /** Columns whose values have other storage classes in the file than they should. */
  readonly wrongTypes: readonly string[];
  readonly ok: boolean;
}

/** Reads the table back, row by row from the tenant's file, and compares it with the source. */
export async function verifyTable(
  tenant: Tenant,
  table: TableDefinition,
  rows: readonly SourceRow[],
): Promise<Verification> {
  const source = new ContentHash();
  for (const row of rows) source.add(row);
  const stored = new ContentHash();
  for await (const row of readStored(tenant, table)) stored.add(row);
  const wrongTypes = await findWrongTypes(tenant, table, rows);
  const result = {
    sourceRows: source.rows,
    storedRows: stored.rows,
    sourceHash: source.digest(),
    storedHash: stored.digest(),
    wrongTypes,
  };
  const ok =
    result.sourceRows === result.storedRows &&
    result.sourceHash === result.storedHash &&
    wrongTypes.length === 0;
  return { ...result, ok };
}

async function* readStored(tenant: Tenant, table: TableDefinition): AsyncGenerator<SourceValue[]> {
  const names = table.columns.map(column => quoteName(column.name));
  const select = tenant.prepare<[], Record<string, SqlValue>>(
    `SELECT ${names.join(', ')} FROM ${quoteName(table.name)} ORDER BY ${ROW_COLUMN}`,
  );
  for await (const row of select.iterate()) {
    yield table.columns.map(column => toSourceValue(row[column.name]!, column));
  }
}

/** JavaScript has one type of number, SQLite two: count the storage classes where they are. */
async function findWrongTypes(
  tenant: Tenant,
  table: TableDefinition,
  rows: readonly SourceRow[],
): Promise<string[]> {
  const wrong: string[] = [];
  for (const [index, column] of table.columns.entries()) {
    const found = await tenant
      .prepare<[], { type: string; count: number }>(
        `SELECT typeof(${quoteName(column.name)}) AS type, COUNT(*) AS count
           FROM ${quoteName(table.name)} GROUP BY 1`,
      )
      .all();
    const foundCounts = new Map(found.map(row => [row.type, row.count]));
    const expectedCounts = new Map<string, number>();
    for (const row of rows) {
      const type = storageClass(row[index]!, column);
      expectedCounts.set(type, (expectedCounts.get(type) ?? 0) + 1);
    }
    if (STORAGE_CLASSES.some(type => foundCounts.get(type) !== expectedCounts.get(type))) {
      wrong.push(column.name);
    }
  }
  return wrong;
}
