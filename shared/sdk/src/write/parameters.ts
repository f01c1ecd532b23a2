import {
  encodeParameter,
  LIMITS,
  OnewriterError,
  type SqlParameter,
  type SqlParameters,
} from '@onewriter/protocol';

/** What better-sqlite3 binds: values in order, or by name. */
export type BoundParameters = readonly unknown[] | { readonly [name: string]: unknown };

const NONE: readonly never[] = Object.freeze([]);

/** The parameters of a call like `run('a', 1)`, `run(['a', 1])` or `run({ name: 'a' })`. */
export function collectParameters(args: readonly unknown[]): SqlParameters {
  if (args.length !== 1) return args as readonly SqlParameter[];
  const only = args[0];
  if (Array.isArray(only)) return only;
  return isPlainObject(only) ? (only as SqlParameters) : (args as readonly SqlParameter[]);
}

/** The parameters of a call that takes them as one argument. @throws OnewriterError INVALID_ARGUMENT */
export function assertParameters(params: unknown): SqlParameters {
  if (params === undefined) return NONE;
  if (Array.isArray(params) || isPlainObject(params)) return params as SqlParameters;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    'Parameters are an array of values, or a plain object of named values.',
  );
}

/**
 * Parameters of a direct read. The same values are allowed as in a write, which travels encoded.
 * @throws OnewriterError INVALID_VALUE, STATEMENT_TOO_LARGE
 */
export function bindParameters(params: SqlParameters): BoundParameters {
  if (Array.isArray(params)) {
    if (params.length > LIMITS.maxParameters) throw tooMany();
    for (let index = 0; index < params.length; index++) {
      if (!isBindable(params[index])) return params.map((value, at) => bindValue(value, at + 1));
    }
    return params;
  }
  for (const name in params) {
    if (!isBindable((params as Record<string, unknown>)[name])) {
      return Object.fromEntries(Object.entries(params).map(([key, value]) => [key, bindValue(value, key)]));
    }
  }
  return params as BoundParameters;
}

/** @throws OnewriterError STATEMENT_TOO_LARGE */
export function assertParameterCount(params: SqlParameters): void {
  const count = Array.isArray(params) ? params.length : Object.keys(params).length;
  if (count > LIMITS.maxParameters) throw tooMany();
}

/** The common values, which better-sqlite3 takes as they are. */
function isBindable(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed();
    case 'number':
      return Number.isFinite(value);
    default:
      return value === null;
  }
}

function bindValue(value: SqlParameter, parameter: number | string): unknown {
  encodeParameter(value, parameter); // refuses what could not be stored
  if (typeof value === 'boolean') return value ? 1 : 0;
  // better-sqlite3 takes only Buffers.
  if (value instanceof Uint8Array && !Buffer.isBuffer(value)) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  return value;
}

function isPlainObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function tooMany(): OnewriterError {
  return new OnewriterError(
    'STATEMENT_TOO_LARGE',
    `A statement has at most ${LIMITS.maxParameters} parameters.`,
  );
}
