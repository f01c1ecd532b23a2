import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { WireHranaValue } from './wire.ts';

const INT64_TEXT = /^[+-]?\d{1,19}$/;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** What JSON.stringify cannot write as a number; {@link toHranaJson} does. */
type RawNumber = 'Infinity' | '-Infinity' | '-0';

/**
 * JSON has no infinities, but a number that no double holds: 1e999 is one to the parsers of JavaScript, Python and others.
 */
const RAW_NUMBERS: Readonly<Record<RawNumber, string>> = {
  Infinity: '1e999',
  '-Infinity': '-1e999',
  '-0': '-0.0',
};
/** In a string its quotation marks would be escaped. */
const RAW_NUMBER = /"type":"float","value":"(-?Infinity|-0)"/g;

/** A value in an answer. */
export type HranaValue =
  | { readonly type: 'null' }
  | { readonly type: 'integer'; readonly value: string }
  | { readonly type: 'float'; readonly value: number | RawNumber }
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
      return value.value;
    case 'text':
      if (value.value.isWellFormed()) return value.value;
      throw new OnewriterError('INVALID_VALUE', 'A text argument has a lone surrogate.');
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
      if (Number.isFinite(value)) return { type: 'float', value: Object.is(value, -0) ? '-0' : value };
      return { type: 'float', value: value > 0 ? 'Infinity' : '-Infinity' };
    case 'string':
      return { type: 'text', value };
    default:
      if (value === null) return { type: 'null' };
      return { type: 'blob', base64: toUnpaddedBase64(value) };
  }
}

/** JSON of an answer that has values. */
export function toHranaJson(answer: object): string {
  const json = JSON.stringify(answer);
  if (!json.includes('"type":"float","value":"')) return json;
  return json.replace(RAW_NUMBER, (_, value: RawNumber) => `"type":"float","value":${RAW_NUMBERS[value]}`);
}

function toUnpaddedBase64(blob: Uint8Array): string {
  const base64 = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength).toString('base64');
  return base64.replace(/=+$/, '');
}
