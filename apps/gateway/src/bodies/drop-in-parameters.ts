import { OnewriterError, parametersOf, type SqlParameters, type SqlValue } from '@onewriter/protocol';
import { decodeJsonParameters } from '../http/parameter-values.ts';

type Named = Readonly<Record<string, unknown>>;

/** Keys of a value with a tag: {"i":"5"}. */
const TAGS: ReadonlySet<string> = new Set(['i', 'b', 'f']);

/**
 * Decodes parameters in the forms that better-sqlite3 takes as arguments: `stmt.all(params)` and `stmt.all(...params)` of a proxy mean
 * the same here.
 *
 *   5, "x", true, {"type":"Buffer",…}   one value
 *   [1, 2]                              values by number
 *   {"a": 1}                            values by name
 *   [[1, 2]], [{"a": 1}]                arguments that are themselves a list or an object
 *   [1, {"a": 2}]                       values for the plain ?, in order, and one object for the names
 *
 * @param sql the statement they are for: only it says whether {"i":"5"}, or [{"i":"5"}], is the value 5 or the name i
 * @throws OnewriterError INVALID_ARGUMENT; as {@link decodeJsonParameters}
 */
export function decodeDropInParameters(sql: string, params: unknown): SqlParameters {
  if (params === undefined || params === null) return [];
  if (typeof params !== 'object') return decodeJsonParameters([params]);
  if (!Array.isArray(params)) {
    return decodeJsonParameters(
      isValue(params as Named) && !hasName(sql, params as Named) ? [params] : params,
    );
  }
  // It takes one object of names. Where a list has one object, which could be a value, the statement says what it is.
  const [object, ...others] = params.filter(isObject);
  const isNames = others.length === 0 && object !== undefined && isTagged(object) && hasName(sql, object);
  const isGroup = (param: unknown) =>
    Array.isArray(param) || (isObject(param) && (isNames || !isValue(param)));
  if (!params.some(isGroup)) return decodeJsonParameters(params);
  const values: unknown[] = [];
  let named: Named | undefined;
  for (const param of params) {
    if (Array.isArray(param)) {
      for (const value of param) values.push(value);
    } else if (!isGroup(param)) {
      values.push(param);
    } else {
      if (named !== undefined) throw wrong('params has two objects of named values; put all names into one.');
      named = param as Named;
    }
  }
  if (named === undefined) return decodeJsonParameters(values);
  if (values.length === 0) return decodeJsonParameters(named);
  return mix(sql, decodeJsonParameters(values) as readonly SqlValue[], decodeJsonParameters(named) as Named);
}

/** Values for the plain `?` and others by name, as one list by number. */
function mix(sql: string, values: readonly SqlValue[], named: Named): SqlParameters {
  const { names } = parametersOf(sql);
  const plain = names.filter(name => name === null).length;
  if (values.length !== plain) {
    throw wrong(
      `The statement has ${plain} plain "?", and ${values.length} values without a name were given.`,
    );
  }
  let next = 0;
  return names.map(name => {
    if (name === null) return values[next++]!;
    const key = Object.hasOwn(named, name) ? name : name.slice(1);
    if (!Object.hasOwn(named, key)) throw wrong(`There is no value for the parameter ${name.slice(0, 100)}.`);
    return named[key] as SqlValue;
  });
}

function isObject(param: unknown): param is Named {
  return typeof param === 'object' && param !== null && !Array.isArray(param);
}

/** Whether an object stands for a value; see {@link decodeJsonParameters}. */
function isValue(object: Named): boolean {
  return (
    isTagged(object) ||
    (Object.keys(object).length === 2 && object['type'] === 'Buffer' && Array.isArray(object['data']))
  );
}

function isTagged(object: Named): boolean {
  const [key, ...others] = Object.keys(object);
  return others.length === 0 && TAGS.has(key!) && typeof object[key!] === 'string';
}

function hasName(sql: string, object: Named): boolean {
  const { names } = parametersOf(sql);
  return Object.keys(object).some(key => names.some(name => name?.slice(1) === key));
}

function wrong(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
