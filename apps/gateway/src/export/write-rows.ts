import { OnewriterError, type SqlValue, shownName } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { valueWriter } from '../dialects/v1/result-shapes.ts';
import { readExactRows } from './exact-rows.ts';
import type { ExportOutput } from './export-output.ts';
import type { ExportTable } from './export-tables.ts';
import { type ExportValue, RawText, toCsvField } from './sql-text.ts';
import { toTaggedJson } from './tagged-json.ts';

/** A table that is left out of an export of all tables, and why. */
interface OmittedTable {
  readonly table: string;
  readonly reason: string;
}

/** How NDJSON is written. */
export interface NdjsonOptions {
  readonly values: 'plain' | 'tagged';
  /** All tables are exported: each line names its own. */
  readonly named: boolean;
}

/** The tables whose rows NDJSON can hold. */
function tablesWithRows(tables: readonly ExportTable[]): ExportTable[] {
  return tables.filter(({ content }) => content === 'rows');
}

/** @throws OnewriterError INVALID_ARGUMENT for a table whose content shows in no SELECT */
export function assertHasRows({ name, content }: ExportTable): void {
  if (content === 'rows') return;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${shownName(name)} has no rows of its own to export (${reasonFor(content)}).`,
    { table: shownName(name) },
  );
}

function reasonFor(content: ExportTable['content']): string {
  return content === 'none'
    ? 'it shows what is in other tables'
    : 'it is an index; format=sql and format=sqlite have it';
}

/**
 * Rows, then a closing record, `{"onewriter_export":{"rows":3}}`: without it the export is not whole. No value of a row is such
 * an object, so an import knows it from a row, also of a table with a column of this name. In an export of all tables it also
 * lists those that were left out, as `omitted`.
 */
export function writeNdjson(
  db: Database,
  output: ExportOutput,
  tables: readonly ExportTable[],
  { values, named }: NdjsonOptions,
): void {
  for (const table of tablesWithRows(tables)) writeTable(db, output, table, values, named);
  const omitted = tables
    .filter(({ content }) => content !== 'rows')
    .map(({ name, content }): OmittedTable => ({ table: name, reason: reasonFor(content) }));
  const more = omitted.length === 0 ? {} : { omitted };
  output.end(`${JSON.stringify({ onewriter_export: { rows: output.rows, ...more } })}\n`);
}

function writeTable(
  db: Database,
  output: ExportOutput,
  table: ExportTable,
  values: 'plain' | 'tagged',
  named: boolean,
): void {
  // Plain rows are for other programs, tagged ones make the same table again, with its row ids.
  const { columns, rowid } = values === 'tagged' ? table : { ...table, rowid: undefined };
  const names = rowid === undefined ? columns : [rowid, ...columns];
  const keys = names.map((name, index) => `${index === 0 ? '' : ','}${JSON.stringify(name)}:`);
  const toValue = valueWriter(values);
  const toJson = values === 'tagged' ? toTaggedJson : JSON.stringify;
  const before = named ? `{"table":${JSON.stringify(table.name)},"row":{` : '{';
  const after = named ? '}}\n' : '}\n';
  for (const row of readExactRows(db, { ...table, rowid })) {
    let line = before;
    for (let index = 0; index < keys.length; index++) {
      const value = row[index]!;
      const written =
        value instanceof RawText ? writeRawText(value, table.name, names[index]!, values) : toValue(value);
      line += keys[index]! + toJson(written);
    }
    output.write(line + after);
    output.rows++;
  }
}

/** A text that is not UTF-8, tagged `{"t":"<base64 of its bytes>"}`. */
function writeRawText(value: RawText, table: string, column: string, values: 'plain' | 'tagged') {
  if (values === 'plain') throw notUtf8(table, column);
  return { t: Buffer.from(value.bytes).toString('base64') };
}

function notUtf8(table: string, column: string): OnewriterError {
  return new OnewriterError(
    'INVALID_VALUE',
    `${shownName(table)}.${shownName(column)} has a text that is not UTF-8, which this format cannot hold; use format=sql or format=sqlite.`,
    { table: shownName(table), column: shownName(column) },
  );
}

/**
 * A header and rows; an empty line is a row whose only column is NULL. Equal names cannot be: SQLite gives the columns of a table or view different ones, also by case.
 * @throws OnewriterError INVALID_VALUE for a text that is not UTF-8
 */
export function writeCsv(db: Database, output: ExportOutput, table: ExportTable): void {
  const { name, columns } = table;
  output.write(`${columns.map(toCsvField).join(',')}\r\n`);
  for (const row of readExactRows(db, { ...table, rowid: undefined })) {
    output.write(`${row.map((value, index) => toField(value, name, columns[index]!)).join(',')}\r\n`);
    output.rows++;
  }
  output.end();
}

function toField(value: ExportValue, table: string, column: string): string {
  if (value instanceof RawText) throw notUtf8(table, column);
  return toCsvField(value as SqlValue);
}
