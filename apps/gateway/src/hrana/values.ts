import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { WireHranaValue } from './wire.ts';

const INT64_TEXT = /^[+-]?\d{1,19}$/;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Doubles that JSON.stringify writes as another value; see {@link toHranaJson}. */
type UnwritableDouble = keyof typeof JSON_NUMBERS;

/** How they are written. A parser makes an infinity of a number that is too large for a double. */
const JSON_NUMBERS = { '-0': '-0.0', Infinity: '1e999', '-Infinity': '-1e999' } as const;

/** In the text of a string the quotation marks would have backslashes before them. */
const UNWRITABLE_DOUBLE = /\{"type":"float","value":"(-0|-?Infinity)"\}/g;

/** A value in an answer. */
export type HranaValue =
  | { readonly type: 'null' }
  | { readonly type: 'integer'; readonly value: string }
  | { readonly type: 'float'; readonly value: number | UnwritableDouble }
  | { readonly type: 'text'; readonly value: string }
  | { readonly type: 'blob'; readonly base64: string };

/** Reads an argument. Base64 may be padded or not. @throws OnewriterError INVALID_VALUE */
export function decodeHranaValue(value: WireHranaValue): SqlValue {
  switch (value.type) {
    case 'null':
      return null;
    case 'integer': {
      const text = String(value.value);
      if (!INT64_TEXT.test(text))
        throw new OnewriterError('INVALID_VALUE', 'An integer argument is not a decimal.');
      const integer = BigInt(text);
      if (BigInt.asIntN(64, integer) === integer) return integer;
      throw new OnewriterError('INVALID_VALUE', 'An integer argument is over 64 bits.');
    }
    case 'float':
    case 'text':
      return value.value;
    case 'blob':
      if (!BASE64.test(value.base64))
        throw new OnewriterError('INVALID_VALUE', 'A blob argument is not base64.');
      return Buffer.from(value.base64, 'base64');
    default:
      return value satisfies never;
  }
}

/** Writes a value of a result: integers come as bigint, reals as number, also where they are whole. */
export function encodeHranaValue(value: SqlValue): HranaValue {
  switch (typeof value) {
    case 'bigint':
      return { type: 'integer', value: value.toString() };
    case 'number':
      return { type: 'float', value: isWritable(value) ? value : nameOf(value) };
    case 'string':
      return { type: 'text', value };
    default:
      if (value === null) return { type: 'null' };
      return { type: 'blob', base64: toUnpaddedBase64(value) };
  }
}

function isWritable(double: number): boolean {
  return Number.isFinite(double) && !Object.is(double, -0);
}

function nameOf(double: number): UnwritableDouble {
  if (double === 0) return '-0';
  return double > 0 ? 'Infinity' : '-Infinity';
}

/**
 * Writes an answer as JSON, with every double as it is: clients in JavaScript take null for a mistake, and others for 0.
 * @param answer with values of {@link encodeHranaValue} in it
 */
export function toHranaJson(answer: unknown): string {
  const json = JSON.stringify(answer);
  return json.includes('"type":"float","value":"')
    ? json.replace(
        UNWRITABLE_DOUBLE,
        (_, name: UnwritableDouble) => `{"type":"float","value":${JSON_NUMBERS[name]}}`,
      )
    : json;
}

function toUnpaddedBase64(blob: Uint8Array): string {
  const base64 = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength).toString('base64');
  return base64.replace(/=+$/, '');
}
