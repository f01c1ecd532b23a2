import type { SqlValue } from '@onewriter/protocol';

/** A name as SQL. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/**
 * A value as a literal that SQLite reads back as the same value of the same type.
 * @param value an integer is a bigint, a real a number
 */
export function toSqlLiteral(value: SqlValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'bigint') {
    // The digits of the smallest integer, without its sign, are no integer: SQLite would read a real.
    return value === -(2n ** 63n) ? '(-9223372036854775807-1)' : value.toString();
  }
  if (typeof value === 'number') return toRealLiteral(value);
  if (typeof value === 'string') {
    // SQLite stops reading SQL at a NUL.
    return value.includes('\0')
      ? `CAST(X'${Buffer.from(value, 'utf8').toString('hex')}' AS TEXT)`
      : `'${value.replaceAll("'", "''")}'`;
  }
  return `X'${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}'`;
}

function toRealLiteral(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '9e999';
  if (value === Number.NEGATIVE_INFINITY) return '-9e999';
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** A field of CSV: NULL is nothing, an empty text is `""`. Source: RFC 4180. */
export function toCsvField(value: SqlValue): string {
  if (value === null) return '';
  if (typeof value === 'string')
    return /[",\r\n]|^$|^\s|\s$/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  }
  return String(value);
}
