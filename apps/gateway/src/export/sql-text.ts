import type { SqlValue } from '@onewriter/protocol';

/** A text whose bytes are not UTF-8. A string cannot hold it, and only SQL can say it. */
export class RawText {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** A value as it is stored: an integer is a bigint, a real a number. */
export type ExportValue = SqlValue | RawText;

/** A name as SQL. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A value as a literal that SQLite, also an older one, reads back as the same value of the same type. */
export function toSqlLiteral(value: ExportValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'bigint') {
    // The digits of the smallest integer, without its sign, are no integer: SQLite would read a real.
    return value === -(2n ** 63n) ? '(-9223372036854775807-1)' : value.toString();
  }
  if (typeof value === 'number') return toRealLiteral(value);
  if (typeof value === 'string') return toTextLiteral(value);
  return value instanceof RawText ? castToText(value.bytes) : toBlobLiteral(value);
}

function toBlobLiteral(bytes: Uint8Array): string {
  return `X'${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}'`;
}

function castToText(bytes: Uint8Array): string {
  return `CAST(${toBlobLiteral(bytes)} AS TEXT)`;
}

function toTextLiteral(text: string): string {
  // SQLite stops reading SQL at a NUL.
  if (text.includes('\0')) return castToText(Buffer.from(text, 'utf8'));
  const quoted = `'${text.replaceAll("'", "''")}'`;
  if (!text.includes('\r')) return quoted;
  // The sqlite3 shell drops a CR at the end of a line that it reads, also within quotes.
  let mark = '\\r';
  for (let number = 1; text.includes(mark); number++) mark = `\\r${number}`;
  return `replace(${quoted.replaceAll('\r', mark)},'${mark}',char(13))`;
}

/** Beyond these, older versions of SQLite read even 17 digits as a neighbour of the real that was meant. */
const MIN_DECIMAL = 1e-20;
const MAX_DECIMAL = 1e21;
/** Few digits, of which at most three are decimals: read exactly by all versions. */
const SHORT_DECIMAL = /^-?(?=[\d.]{1,16}$)\d+(?:\.\d{1,3})?$/;

/**
 * A real as SQL. 17 digits are closer to a double than its neighbours by so much that they survive the rounding errors of
 * SQLite before 3.43 (measured with 3.40: 150,000 doubles between 1e-30 and 1e30, none changed; of the shortest texts that
 * JavaScript writes 1 in 5,000 changed). Outside that range the real is written as an integer times powers of two, which
 * is exact.
 */
function toRealLiteral(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '9e999';
  if (value === Number.NEGATIVE_INFINITY) return '-9e999';
  if (Object.is(value, -0)) return '-0.0';
  const size = Math.abs(value);
  if (size !== 0 && (size < MIN_DECIMAL || size >= MAX_DECIMAL)) return toPowersOfTwo(value);
  const shortest = String(value);
  const text = SHORT_DECIMAL.test(shortest) ? shortest : value.toPrecision(17);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

const FRACTION_BITS = 52n;
/** The largest power of two that is an integer literal with room to spare. */
const MAX_SHIFT = 60;

/** `(3*1.0/1152921504606846976/4)`: each step of it is exact, also into the subnormal numbers. */
function toPowersOfTwo(value: number): string {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, Math.abs(value));
  const raw = bits.getBigUint64(0);
  const biased = Number(raw >> FRACTION_BITS);
  let integer = raw & ((1n << FRACTION_BITS) - 1n);
  if (biased > 0) integer |= 1n << FRACTION_BITS;
  // Source: IEEE 754 binary64; 1075 is the bias and the bits of the fraction.
  let exponent = Math.max(biased, 1) - 1075;
  for (; exponent < 0 && (integer & 1n) === 0n; exponent++) integer >>= 1n;
  const operator = exponent < 0 ? '/' : '*';
  let text = `(${value < 0 ? '-' : ''}${integer}*1.0`;
  for (let left = Math.abs(exponent); left > 0; left -= MAX_SHIFT) {
    text += `${operator}${1n << BigInt(Math.min(left, MAX_SHIFT))}`;
  }
  return `${text})`;
}

/**
 * A field of CSV: NULL is nothing, an empty text is `""`, a real has a point or an exponent, an infinity is `9e999`, which
 * SQLite reads as one where the column is REAL; a blob is its base64. Source: RFC 4180.
 */
export function toCsvField(value: SqlValue): string {
  if (value === null) return '';
  if (typeof value === 'string')
    return /[",\r\n]|^$|^\s|\s$/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  if (value instanceof Uint8Array) {
    // Nothing at all is NULL.
    if (value.byteLength === 0) return '""';
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  }
  return typeof value === 'number' ? toCsvReal(value) : value.toString();
}

function toCsvReal(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? '9e999' : '-9e999';
  const text = Object.is(value, -0) ? '-0' : String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}
