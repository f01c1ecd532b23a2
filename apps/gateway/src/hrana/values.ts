import { OnewriterError, type SqlValue } from '@onewriter/protocol';
import type { WireHranaValue } from './wire.ts';

const INT64_TEXT = /^[+-]?\d{1,19}$/;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** A value in an answer. */
export type HranaValue =
  | { readonly type: 'null' }
  | { readonly type: 'integer'; readonly value: string }
  | { readonly type: 'float'; readonly value: number | null }
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
      // JSON has no infinities.
      return { type: 'float', value: Number.isFinite(value) ? value : null };
    case 'string':
      return { type: 'text', value };
    default:
      if (value === null) return { type: 'null' };
      return { type: 'blob', base64: toUnpaddedBase64(value) };
  }
}

function toUnpaddedBase64(blob: Uint8Array): string {
  const base64 = Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength).toString('base64');
  return base64.replace(/=+$/, '');
}
