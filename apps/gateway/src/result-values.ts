import { encodeResultValue, type SqlValue, type WireValue } from '@onewriter/protocol';
import type { SqlRow, SqlRowArray } from '@onewriter/sdk';

/** A value in a drop-in answer; a Buffer is written `{"type":"Buffer","data":[…]}` by JSON.stringify. */
export type PlainValue = null | number | string | Uint8Array;

/**
 * Prepares one value for a drop-in answer: an integer beyond 2^53 becomes a decimal string, an infinity the string
 * `Infinity` or `-Infinity`. JSON has neither, and nothing is rounded or turned into null without a word.
 */
export function toPlainValue(value: SqlValue): PlainValue {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}

/** {@link toPlainValue} on all values of the rows, in place: the rows are the gateway's own. */
export function toPlainRows(rows: SqlRow[]): Record<string, PlainValue>[] {
  for (const row of rows) {
    for (const column in row) {
      const value = row[column]!;
      if (typeof value === 'bigint' || typeof value === 'number') row[column] = toPlainValue(value);
    }
  }
  return rows as Record<string, PlainValue>[];
}

/** A row in the tagged encoding. */
export function toTaggedRow(row: SqlRowArray): WireValue[] {
  return row.map(encodeResultValue);
}

/** Rows in the tagged encoding. */
export function toTaggedRows(rows: readonly SqlRowArray[]): WireValue[][] {
  return rows.map(toTaggedRow);
}
