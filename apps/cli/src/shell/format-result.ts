import { encodeResultValue, type SqlValue } from '@onewriter/protocol';
import type { ExecuteResult, SqlRowArray } from '@onewriter/sdk';
import { formatTable } from '../table.ts';

/** How rows are shown. */
export const RESULT_MODES = ['table', 'line', 'csv', 'json'] as const;

export type ResultMode = (typeof RESULT_MODES)[number];

/** The result of one statement, for people, or as one line of JSON. */
export function formatResult(result: ExecuteResult<SqlRowArray>, mode: ResultMode): string {
  switch (mode) {
    case 'json':
      return asJson(result);
    case 'csv':
      return asCsv(result) + writeSummary(result);
    case 'line':
      return asLines(result) + writeSummary(result);
    case 'table':
      return asTable(result) + writeSummary(result);
    default:
      return mode satisfies never;
  }
}

function asJson(result: ExecuteResult<SqlRowArray>): string {
  return `${JSON.stringify({
    ...result,
    rows: result.rows?.map(row => row.map(encodeResultValue)),
    lastInsertRowid: encodeResultValue(result.lastInsertRowid),
  })}\n`;
}

function asTable({ columns, rows = [] }: ExecuteResult<SqlRowArray>): string {
  if (columns === undefined) return '';
  const table = formatTable(
    columns,
    rows.map(row => row.map(formatCell)),
  );
  return `${table}${rows.length} ${rows.length === 1 ? 'row' : 'rows'}\n`;
}

function asLines({ columns, rows = [] }: ExecuteResult<SqlRowArray>): string {
  if (columns === undefined) return '';
  const width = columns.reduce((widest, column) => Math.max(widest, column.length), 0);
  return rows
    .map(row =>
      columns.map((column, index) => `${column.padStart(width)} = ${formatCell(row[index]!)}\n`).join(''),
    )
    .join('\n');
}

/** Source: RFC 4180; NULL is an empty field, an empty text a quoted one. */
function asCsv({ columns, rows = [] }: ExecuteResult<SqlRowArray>): string {
  if (columns === undefined) return '';
  const field = (text: string) =>
    /[",\r\n]/.test(text) || text === '' ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = [
    columns.map(field),
    ...rows.map(row => row.map(value => (value === null ? '' : field(formatValue(value))))),
  ];
  return lines.map(line => `${line.join(',')}\n`).join('');
}

function writeSummary(result: ExecuteResult<SqlRowArray>): string {
  if (result.kind !== 'write') return '';
  const { changes, lastInsertRowid, commitSeq } = result;
  const rowid = Number(lastInsertRowid) === 0 ? '' : `, last row id ${lastInsertRowid}`;
  return `${changes} ${changes === 1 ? 'change' : 'changes'}${rowid}, commit ${commitSeq}\n`;
}

/** A value where NULL is written out: the text that looks like it is in quotes. */
function formatCell(value: SqlValue): string {
  return value === 'NULL' ? "'NULL'" : formatValue(value);
}

/** @param value an integer is a bigint, a number a real */
function formatValue(value: SqlValue): string {
  if (typeof value === 'number' && Number.isInteger(value)) {
    const text = Object.is(value, -0) ? '-0' : String(value);
    return text.includes('e') ? text : `${text}.0`;
  }
  if (value === null) return 'NULL';
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString('hex')}'`;
  return String(value);
}
