import { OnewriterError } from './onewriter-error.ts';

/** A value as SQLite stores it and callers see it. Integers beyond 2^53 are bigint, blobs are Uint8Array. */
export type SqlValue = null | number | bigint | string | Uint8Array;

/** What callers may pass as a parameter; a boolean is stored as 0 or 1, undefined is refused. */
export type SqlParameter = SqlValue | boolean;

/** Positional or named parameters of one statement. */
export type SqlParameters = readonly SqlParameter[] | { readonly [name: string]: SqlParameter };

/**
 * A value in a message: JSON that keeps the type. A number is a double (as better-sqlite3 binds it), `{i}` a
 * 64-bit integer in decimal, `{b}` a blob in base64, `{f}` a double that JSON cannot write: negative zero, the
 * infinities, and in results whole doubles where they must not look like integers.
 *
 * In results there are two forms of it: {@link encodeExactValue}'s is short and is what ledger and events have,
 * {@link encodeTaggedValue}'s can be sent back as a parameter and is what the gateway's callers get.
 */
export type WireValue = null | number | string | { readonly i: string } | { readonly b: string } | WireDouble;
type WireDouble = { readonly f: string };

/** {@link SqlParameters} in a message. */
export type WireParameters = readonly WireValue[] | { readonly [name: string]: WireValue };

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

function refuse(what: string, remedy = ''): never {
  throw new OnewriterError('INVALID_VALUE', `${what} cannot be stored in SQLite${remedy}.`);
}

/** What to pass in place of values that are often passed by mistake. */
function remedyFor(type: string): string {
  if (type === 'undefined') return '; pass null for NULL';
  if (type === 'Date') return '; pass its time as a number (getTime()) or a text (toISOString())';
  return type === 'Object' || type === 'Array' ? '; pass it as a text (JSON.stringify())' : '';
}

/** Encodes one parameter. @throws OnewriterError INVALID_VALUE for what SQLite could not return exactly. */
export function encodeValue(value: SqlParameter): WireValue {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? value : refuse('A string with a lone surrogate');
    case 'number':
      // SQLite would store NULL.
      if (Number.isNaN(value)) return refuse('NaN');
      return encodeDouble(value);
    case 'bigint':
      return value >= MIN_INT64 && value <= MAX_INT64
        ? { i: value.toString() }
        : refuse('An integer over 64 bits');
    case 'boolean':
      return value ? 1 : 0;
    case 'object':
      if (value === null) return null;
      if (value instanceof Uint8Array) {
        return { b: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
      }
      return refuseType((value as object).constructor?.name ?? 'object');
    default:
      return refuseType(typeof value);
  }
}

function refuseType(type: string): never {
  return refuse(`A value of type ${type}`, remedyFor(type));
}

/**
 * Encodes one parameter of a statement.
 * @param parameter SQLite's number of it, from 1, or its name
 * @throws OnewriterError INVALID_VALUE, naming the parameter
 */
export function encodeParameter(value: SqlParameter, parameter: number | string): WireValue {
  try {
    return encodeValue(value);
  } catch (error) {
    throw atParameter(error, parameter);
  }
}

/** Adds to the error of a value which parameter it is about. */
export function atParameter(error: unknown, parameter: number | string): unknown {
  if (!(error instanceof OnewriterError)) return error;
  const shown = typeof parameter === 'string' ? parameter.slice(0, 100) : parameter;
  const { code, message, details } = error;
  return new OnewriterError(code, `Parameter ${shown}: ${message}`, { ...details, parameter: shown });
}

/** Decodes one value: the exact inverse of {@link encodeValue} and {@link encodeTaggedValue}; integers stay bigint. */
export function decodeValue(wire: WireValue): SqlValue {
  if (wire === null || typeof wire !== 'object') return wire;
  if ('i' in wire) return BigInt(wire.i);
  if ('b' in wire) return Buffer.from(wire.b, 'base64');
  if ('f' in wire) return Number(wire.f);
  throw new OnewriterError('INVALID_VALUE', 'A value in the message has an unknown type tag.');
}

/** Encodes a statement's parameters; `undefined` means none. @throws OnewriterError INVALID_VALUE, naming the parameter */
export function encodeParameters(params: SqlParameters | undefined): WireParameters | undefined {
  if (params === undefined) return undefined;
  if (Array.isArray(params)) {
    return params.length === 0 ? undefined : params.map((value, index) => encodeParameter(value, index + 1));
  }
  // fromEntries: a name may be `__proto__`.
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [name, encodeParameter(value, name)]),
  );
}

/** Decodes a statement's parameters. */
export function decodeParameters(wire: WireParameters | undefined): SqlParameters {
  if (wire === undefined) return [];
  if (Array.isArray(wire)) return wire.map(decodeValue);
  return Object.fromEntries(Object.entries(wire).map(([name, value]) => [name, decodeValue(value)]));
}

/**
 * Encodes a value read with `safeIntegers`: a bigint that fits a double becomes a plain number, because readers
 * get integers as numbers where that is exact. What is in a file is never refused.
 */
export function encodeResultValue(value: SqlValue): WireValue {
  switch (typeof value) {
    case 'bigint':
      return encodeInteger(value);
    case 'number':
      return encodeDouble(value);
    case 'string':
      return value;
    default:
      return encodeValue(value);
  }
}

/** As {@link encodeResultValue}, but a double that is a whole number does not look like an integer. */
export function encodeExactValue(value: SqlValue): WireValue {
  return typeof value === 'number' && Number.isInteger(value)
    ? { f: Object.is(value, -0) ? '-0' : String(value) }
    : encodeResultValue(value);
}

/** Decodes what {@link encodeExactValue} made: every integer is a bigint, every double a number. */
export function decodeExactValue(wire: WireValue): SqlValue {
  return typeof wire === 'number' && Number.isInteger(wire) ? BigInt(wire) : decodeValue(wire);
}

/**
 * Encodes a value read with `safeIntegers` so that its storage class shows and comes back: every integer is `{i}`, a
 * number is a double. A whole double beyond 2^53 is `{f}`, because parsers of JSON take its digits for an integer.
 */
export function encodeTaggedValue(value: SqlValue): WireValue {
  if (typeof value === 'bigint') return { i: value.toString() };
  return typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)
    ? { f: String(value) }
    : encodeResultValue(value);
}

function encodeDouble(value: number): number | WireDouble {
  if (Number.isFinite(value)) return Object.is(value, -0) ? { f: '-0' } : value;
  return { f: value > 0 ? 'Infinity' : '-Infinity' };
}

/** Encodes a 64-bit integer as a number where that is exact. */
export function encodeInteger(value: bigint | number): WireValue {
  if (typeof value === 'number') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : { i: value.toString() };
}

/** An integer as callers see it: a number where that is exact, else a bigint. */
export function toExactInteger(value: bigint | number): number | bigint {
  if (typeof value === 'number') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
