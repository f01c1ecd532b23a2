import type { SqlValue } from '@onewriter/protocol';
import { toRowKeys, toRowObject } from './row-keys.ts';

/** A value in a drop-in answer; a Buffer is written `{"type":"Buffer","data":[…]}` by JSON.stringify. */
export type PlainValue = null | number | string | Uint8Array;

/**
 * Prepares one value for a drop-in answer: an integer beyond 2^53 becomes a decimal string, an infinity the string
 * `Infinity` or `-Infinity`. JSON has neither, and nothing is silently rounded or turned into null.
 */
export function toPlainValue(value: SqlValue): PlainValue {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  // Only a Buffer writes itself as one.
  if (value instanceof Uint8Array && !Buffer.isBuffer(value))
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return value;
}

/** Rows as objects, with plain values. */
export function toPlainRows(
  columns: readonly string[],
  rows: readonly (readonly SqlValue[])[],
): Record<string, PlainValue>[] {
  const keys = toRowKeys(columns);
  return rows.map(row => toRowObject(keys, row, toPlainValue));
}
