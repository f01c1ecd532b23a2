import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { csvParseRows } from 'd3-dsv';
import { parseCsvField, type SourceValue } from './column-value.ts';
import type { TableDefinition } from './table-definition.ts';

/** One row of the source, in column order. */
export type SourceRow = readonly SourceValue[];

/**
 * Reads all rows of a table from the npm package. The largest file has 10 MB, so it is read at once; what is
 * bounded is what waits to be written.
 *
 * @throws Error where the file does not have exactly the columns of the definition.
 */
export async function readSource(table: TableDefinition): Promise<SourceRow[]> {
  const text = await readFile(join(dataFolder(), table.file), 'utf8');
  return table.file.endsWith('.json') ? readJson(text, table) : readCsv(text, table);
}

function readCsv(text: string, table: TableDefinition): SourceRow[] {
  const [header, ...rows] = csvParseRows(text);
  assertColumns(header ?? [], table);
  return rows.map(row => {
    if (row.length !== table.columns.length) throw new Error(`${table.file} has a row of another length.`);
    return table.columns.map((column, index) => parseCsvField(row[index]!, column));
  });
}

function readJson(text: string, table: TableDefinition): SourceRow[] {
  const rows = JSON.parse(text) as Record<string, SourceValue>[];
  return rows.map(row => {
    assertColumns(Object.keys(row), table);
    return table.columns.map(column => row[column.name]!);
  });
}

function assertColumns(found: readonly string[], table: TableDefinition): void {
  const isSame =
    found.length === table.columns.length && table.columns.every((column, i) => column.name === found[i]);
  if (!isSame) throw new Error(`${table.file} has other columns than expected: ${found.join(', ')}.`);
}

/** The package has no entry for its files: they lie beside the module that it does export. */
function dataFolder(): string {
  const entry = createRequire(import.meta.url).resolve('vega-datasets');
  return join(dirname(entry), '..', 'data');
}
