import { LIMITS, OnewriterError, type SqlParameter, type SqlParameters } from '@onewriter/protocol';
import { atStatement } from './statement-index.ts';

/*
 * Parameters as they come in JSON, from any client: nothing in them is trusted.
 *
 *   null, number, string, boolean      as they are (boolean is stored as 0 or 1)
 *   {"type":"Buffer","data":[1,2]}     a blob, as JSON.stringify writes a Node Buffer
 *   {"i":"5"}                          an integer of up to 64 bits
 *   {"b":"AQI="}                       a blob in base64
 *   {"f":"1e18"}                       a real, for those whose digits would be taken for an integer, negative zero and
 *                                      the infinities
 */

const INT64_TEXT = /^-?\d{1,19}$/;
const REAL_TEXT = /^-?\d{1,309}(?:\.\d{1,800})?(?:e[+-]?\d{1,4})?$/i;
const INFINITY_TEXT = /^-?Infinity$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * Refuses a body that has too many parameters, before it is validated: that takes time for each name and each value.
 * @param body as it was parsed, of one statement or of several
 * @throws OnewriterError STATEMENT_TOO_LARGE
 */
export function assertParameterCounts(body: unknown): void {
  if (!isObject(body)) return;
  assertParameterCount(body['params']);
  for (const list of [body['statements'], body['queries']]) {
    if (!Array.isArray(list)) continue;
    list.forEach((statement: unknown, index) => {
      if (isObject(statement)) atStatement(index, () => assertParameterCount(statement['params']));
    });
  }
}

/** @throws OnewriterError STATEMENT_TOO_LARGE */
function assertParameterCount(params: unknown): void {
  if (!isObject(params)) return;
  const count = Array.isArray(params) ? params.length : Object.keys(params).length;
  if (count <= LIMITS.maxParameters) return;
  throw new OnewriterError(
    'STATEMENT_TOO_LARGE',
    `A statement has at most ${LIMITS.maxParameters} parameters.`,
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/**
 * Decodes the parameters of one statement: an array, or an object of named ones.
 * @throws OnewriterError INVALID_VALUE, naming the parameter; INVALID_ARGUMENT; STATEMENT_TOO_LARGE
 */
export function decodeJsonParameters(params: unknown): SqlParameters {
  if (params === undefined || params === null) return [];
  assertParameterCount(params);
  if (Array.isArray(params)) return params.map((value, index) => decodeJsonValue(value, index + 1));
  if (typeof params !== 'object') {
    throw new OnewriterError('INVALID_ARGUMENT', 'params must be an array or an object.');
  }
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [name, decodeJsonValue(value, name)]),
  );
}

/** @param parameter SQLite's number of it, from 1, or its name */
function decodeJsonValue(value: unknown, parameter: number | string): SqlParameter {
  // A number in JSON that no double holds, 1e999, is rather a mistake than an infinity: that is {"f":"Infinity"}.
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw unusable(parameter, 'a number beyond what SQLite can store');
  }
  if (value === null || typeof value !== 'object') return value as null | number | string | boolean;
  const object = value as Readonly<Record<string, unknown>>;
  const keys = Object.keys(object);
  if (keys.length === 1) {
    const [tag, content] = [keys[0], object[keys[0]!]];
    if (typeof content === 'string') {
      if (tag === 'i' && INT64_TEXT.test(content)) return BigInt(content);
      if (tag === 'b' && content.length % 4 === 0 && BASE64.test(content)) {
        return Buffer.from(content, 'base64');
      }
      if (tag === 'f' && REAL_TEXT.test(content) && Number.isFinite(Number(content))) return Number(content);
      if (tag === 'f' && INFINITY_TEXT.test(content)) return Number(content);
    }
  } else if (keys.length === 2 && object['type'] === 'Buffer' && isByteArray(object['data'])) {
    return Buffer.from(object['data']);
  }
  throw unusable(parameter, describe(object, keys));
}

/** What came in place of a value, without its content. */
function describe(object: Readonly<Record<string, unknown>>, keys: readonly string[]): string {
  if (Array.isArray(object)) return 'an array';
  if (keys.length !== 1)
    return keys.length === 2 && 'data' in object ? 'an object that is no Buffer' : 'an object';
  switch (keys[0]) {
    case 'i':
      return '{"i":…} without the decimal of an integer, as a string';
    case 'b':
      return '{"b":…} without base64, as a string';
    case 'f':
      return '{"f":…} without the decimal of a real that a double holds, as a string';
    default:
      return 'an object';
  }
}

function unusable(parameter: number | string, what: string): OnewriterError {
  const shown = typeof parameter === 'string' ? parameter.slice(0, 100) : parameter;
  return new OnewriterError(
    'INVALID_VALUE',
    `Parameter ${shown} is ${what}, which is not a value SQLite can store. Send null, a number, a string, a boolean, a ` +
      'blob as {"type":"Buffer","data":[…]} or {"b":"<base64>"}, an integer of up to 64 bits as {"i":"<decimal>"}, a ' +
      'real as {"f":"<decimal>"}, {"f":"Infinity"} or {"f":"-Infinity"}.',
    { parameter: shown },
  );
}

function isByteArray(data: unknown): data is number[] {
  return (
    Array.isArray(data) && data.every(byte => Number.isInteger(byte) && (byte as number) >= 0 && byte <= 255)
  );
}
