import { encodeTaggedValue, type SqlValue, toExactInteger, type WireValue } from '@onewriter/protocol';

/** How values are written: see the gateway's README. */
export type ValueMode = 'plain' | 'tagged';

/** A value in an answer of /v1. */
export type JsonValue = WireValue;

/**
 * A value as plain JSON: what JSON cannot hold becomes a string, an integer beyond 2^53 its decimal digits, an
 * infinity its name, a blob its base64.
 */
function toPlainJson(value: SqlValue): null | number | string {
  if (value === null || typeof value === 'string') return value;
  if (typeof value === 'bigint') {
    const exact = toExactInteger(value);
    return typeof exact === 'number' ? exact : exact.toString();
  }
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
}

/** The function that writes values in `mode`. For `tagged` integers have to be bigint: a number is a real. */
export function valueWriter(mode: ValueMode): (value: SqlValue) => JsonValue {
  return mode === 'tagged' ? encodeTaggedValue : toPlainJson;
}

/** A rowid in `mode`. */
export function writeInteger(value: number | bigint, mode: ValueMode): JsonValue {
  return mode === 'tagged' ? { i: value.toString() } : toPlainJson(value);
}

export { toRowObject } from '../../http/row-keys.ts';
