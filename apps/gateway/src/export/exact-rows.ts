import { isUtf8 } from 'node:buffer';
import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import type { ExportTable } from './export-tables.ts';
import { type ExportValue, quoteName, RawText } from './sql-text.ts';

/** What a string has where the bytes of a text were not UTF-8; a text may hold it itself, too. */
const REPLACEMENT = '\ufffd';
/** Columns whose types one column of the query holds: SQLite bounds the depth of an expression. */
const TYPES_PER_COLUMN = 200;

/**
 * The rows of a table as they are stored, in the table's own order; the row id first where the table has one with a name.
 *
 * The driver decodes text and puts U+FFFD in the place of what is not UTF-8. Such texts are rare and reading bytes is slow,
 * so bytes are read from the first row on in which a U+FFFD shows.
 */
export function* readExactRows(db: Database, table: ExportTable): Generator<ExportValue[], void, undefined> {
  const columns = table.rowid === undefined ? table.columns : [table.rowid, ...table.columns];
  const names = columns.map(quoteName);
  // By the table itself, never by an index, so that both queries see the rows in one order.
  const from = `FROM ${quoteName(table.name)}${table.type === 'table' ? ' NOT INDEXED' : ''}`;
  let done = 0;
  let replaced = false;
  const plain = db.prepare<[], SqlValue[]>(`SELECT ${names.join(', ')} ${from}`);
  for (const row of plain.raw(true).safeIntegers(true).iterate()) {
    replaced = row.some(hasReplacement);
    if (replaced) break;
    yield row;
    done++;
  }
  if (replaced) yield* readBytes(db, names, `${from} LIMIT -1 OFFSET ${done}`);
}

function hasReplacement(value: SqlValue): boolean {
  return typeof value === 'string' && value.includes(REPLACEMENT);
}

function* readBytes(
  db: Database,
  names: readonly string[],
  from: string,
): Generator<ExportValue[], void, undefined> {
  const encoding = db.pragma('encoding', { simple: true }) as string;
  const values = names.map(name => `iif(typeof(${name}) = 'text', CAST(${name} AS BLOB), ${name})`);
  const types: string[] = [];
  for (let start = 0; start < names.length; start += TYPES_PER_COLUMN) {
    const slice = names.slice(start, start + TYPES_PER_COLUMN);
    types.push(slice.map(name => `substr(typeof(${name}), 1, 1)`).join(' || '));
  }
  const statement = db.prepare<[], SqlValue[]>(`SELECT ${[...types, ...values].join(', ')} ${from}`);
  for (const row of statement.raw(true).safeIntegers(true).iterate()) {
    const typeOf = row.slice(0, types.length).join('');
    yield row.slice(types.length).map((value, index) => {
      return typeOf[index] === 't' ? decodeText(value as Buffer | null, encoding) : value;
    });
  }
}

/** @param bytes null for an empty text, whose bytes the driver may give as none. */
function decodeText(bytes: Buffer | null, encoding: string): ExportValue {
  if (bytes === null || bytes.length === 0) return '';
  if (encoding === 'UTF-8') return isUtf8(bytes) ? bytes.toString('utf8') : new RawText(bytes);
  const units = Buffer.from(bytes);
  const text = (encoding === 'UTF-16be' ? units.swap16() : units).toString('utf16le');
  if (text.isWellFormed()) return text;
  throw new OnewriterError(
    'SQL_ERROR',
    'A text of this UTF-16 file has a lone surrogate, which no other encoding can hold; use format=sqlite.',
  );
}
