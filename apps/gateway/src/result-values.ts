import type { SqlValue } from '@onewriter/protocol';
import type { SqlRow } from '@onewriter/sdk';

/** A value in a drop-in answer; a Buffer is written `{"type":"Buffer","data":[…]}` by JSON.stringify. */
export type PlainValue = null | number | string | Uint8Array;

/**
 * Prepares one value for a drop-in answer: an integer beyond 2^53 becomes a decimal string, an infinity the string
 * `Infinity` or `-Infinity`. JSON has neither, and nothing is rounded or turned into null without a word.
 */
export function toPlainValue(value: SqlValue): PlainValue {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  // Only a Buffer writes itself as one.
  if (value instanceof Uint8Array && !Buffer.isBuffer(value))
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
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

/** A row of a read as an object, with plain values; of columns with equal names the last counts. */
export function toPlainRow(columns: readonly string[], row: readonly SqlValue[]): Record<string, PlainValue> {
  const plain: Record<string, PlainValue> = {};
  for (let index = 0; index < columns.length; index++) {
    const name = columns[index]!;
    const value = toPlainValue(row[index] ?? null);
    if (name !== '__proto__') plain[name] = value;
    else Object.defineProperty(plain, name, { value, enumerable: true, writable: true, configurable: true });
  }
  return plain;
}
