import { OnewriterError } from './onewriter-error.ts';
import { SqlTokens } from './sql-tokens.ts';

/*
 * The parameters of a statement, and how values get to them. SQLite numbers parameters:
 *
 *   ?                  one more than the largest number so far
 *   ?5                 5
 *   :a @a $a #a        one more than the largest number so far; the same text again is the same parameter
 *
 * Values in an array are by number, whatever the parameters are called; values in an object are by name. better-sqlite3
 * knows only arrays for `?` and objects for all others, each name without its sign. So values are sorted here, and the
 * text of a statement stays as it is: it names columns (`SELECT ?1` has a column `?1`).
 *
 * Source: https://www.sqlite.org/lang_expr.html#varparam and sqlite3ExprAssignVarNumber() in SQLite's expr.c. There is no
 * `$a::b(c)`, because better-sqlite3 is built with SQLITE_OMIT_TCL_VARIABLE.
 */

/** Values of a statement's parameters: in an array by number, or in an object by name, with or without its sign. */
export type ParameterValues = readonly unknown[] | { readonly [name: string]: unknown };

/** A parameter with a name. */
interface NamedParameter {
  readonly number: number;
  /** With its sign: `?2`, `:id`. */
  readonly name: string;
  /** Without it, as better-sqlite3 looks it up. */
  readonly key: string;
}

/** SQLite's own limit, as better-sqlite3 has it; SQLite itself refuses a larger number. */
const MAX_NUMBER = 32_766;
/** Up to here values are passed one by one, which is faster; as many as a call can take are not. */
const MAX_SPREAD = 1_000;
const NO_ARGUMENTS: readonly never[] = Object.freeze([]);

/** The parameters of one statement. */
export class StatementParameters {
  /** How many values an array has to have: the largest number. */
  readonly count: number;
  /** All are plain `?`, or there are none: an array is bound as it is. */
  readonly plain: boolean;
  /** By number. Sparse: `?32766` alone is one. */
  readonly #named: readonly NamedParameter[];
  /** The first plain `?` that has no name by another; 0 where there is none. */
  readonly #firstPlain: number;
  /** `:a` and `@a` are one name to better-sqlite3. */
  readonly #hasTwins: boolean;

  /** @param sql one statement */
  constructor(sql: string) {
    const names = new Map<number, string>();
    const numbers = new Map<string, number>();
    const plain: number[] = [];
    let count = 0;
    const tokens = new SqlTokens(sql);
    for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
      if (kind !== 'variable') continue;
      const { text } = tokens;
      if (text === '?') {
        plain.push(++count);
      } else if (text.startsWith('?')) {
        const number = Number(text.slice(1));
        if (number < 1 || number > MAX_NUMBER) continue;
        count = Math.max(count, number);
        if (!names.has(number)) names.set(number, text);
      } else if (!numbers.has(text)) {
        numbers.set(text, ++count);
        names.set(count, text);
      }
    }
    this.count = count;
    this.plain = names.size === 0;
    this.#named = [...names]
      .sort(([a], [b]) => a - b)
      .map(([number, name]) => ({ number, name, key: name.slice(1) }));
    this.#firstPlain = plain.find(number => !names.has(number)) ?? 0;
    this.#hasTwins = new Set(this.#named.map(({ key }) => key)).size < this.#named.length;
  }

  /** By number - 1: the name with its sign, or null. */
  get names(): readonly (string | null)[] {
    const names = Array<string | null>(this.count).fill(null);
    for (const { number, name } of this.#named) names[number - 1] = name;
    return names;
  }

  /**
   * The arguments that bind values in better-sqlite3: `statement.run(...toArguments(values))`. Names in an object
   * that the statement does not use are ignored. Numbers that nothing in the statement uses (of `?3` alone, 1 and 2) need a place in an
   * array and nothing in an object.
   * @throws OnewriterError INVALID_ARGUMENT for a value that is missing or one too many
   */
  toArguments(values: ParameterValues = NO_ARGUMENTS): readonly unknown[] {
    if (Array.isArray(values)) {
      if (values.length !== this.count) throw wrongCount(this.count, values.length);
      if (!this.plain) return this.#split(values);
      return values.length > MAX_SPREAD ? [values] : values;
    }
    if (this.count === 0) return NO_ARGUMENTS;
    if (this.#firstPlain > 0) throw unnamed(this.#firstPlain);
    return this.#byName(values as { readonly [name: string]: unknown });
  }

  #split(values: readonly unknown[]): readonly unknown[] {
    const named = this.#named.map(({ number }) => values[number - 1]);
    if (named.length === values.length) return [this.#toObject(named)];
    let next = 0;
    const unnamed = values.filter((_, index) => {
      if (this.#named[next]?.number !== index + 1) return true;
      next++;
      return false;
    });
    return [unnamed, this.#toObject(named)];
  }

  #byName(values: { readonly [name: string]: unknown }): readonly unknown[] {
    const gaps = this.count - this.#named.length;
    if (gaps === 0 && !this.#hasTwins && this.#hasAllKeys(values)) return [values];
    const object = this.#toObject(
      this.#named.map(({ name, key }) => {
        if (Object.hasOwn(values, name)) return values[name];
        if (Object.hasOwn(values, key)) return values[key];
        throw new OnewriterError('INVALID_ARGUMENT', `There is no value for the parameter ${shown(name)}.`, {
          parameter: shown(name),
        });
      }),
    );
    return gaps === 0 ? [object] : [Array<null>(gaps).fill(null), object];
  }

  /** Whether better-sqlite3 finds every value in the object as it is. */
  #hasAllKeys(values: object): boolean {
    for (const { name, key } of this.#named) {
      if (!Object.hasOwn(values, key) || Object.hasOwn(values, name)) return false;
    }
    return true;
  }

  /** An object with the values of the named parameters. @param values by number */
  #toObject(values: readonly unknown[]): object {
    // No prototype: `:__proto__` is a name like any other.
    const object: Record<string, unknown> = Object.create(null);
    if (!this.#hasTwins) {
      this.#named.forEach(({ key }, index) => {
        object[key] = values[index];
      });
      return object;
    }
    // better-sqlite3 asks once for each parameter, by number.
    const twins = new Map<string, unknown[]>();
    this.#named.forEach(({ key }, index) => {
      twins.set(key, [...(twins.get(key) ?? []), values[index]]);
    });
    for (const [key, own] of twins) {
      let asked = 0;
      Object.defineProperty(object, key, { get: () => own[asked++ % own.length], enumerable: true });
    }
    return object;
  }
}

/** Statements whose parameters are remembered, and the longest text of one: a few MB at most. */
const MAX_CACHED = 1_000;
const MAX_CACHED_LENGTH = 2_000;
const cache = new Map<string, StatementParameters>();
const NONE = new StatementParameters('');

/** The parameters of a statement. */
export function parametersOf(sql: string): StatementParameters {
  const known = cache.get(sql);
  if (known !== undefined) return known;
  if (!/[?:@$#]/.test(sql)) return NONE;
  const parameters = new StatementParameters(sql);
  if (sql.length <= MAX_CACHED_LENGTH) {
    // The oldest goes; one in use comes back at the price of one look.
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value!);
    cache.set(sql, parameters);
  }
  return parameters;
}

function wrongCount(expected: number, actual: number): OnewriterError {
  const values = actual === 1 ? '1 value was' : `${actual} values were`;
  return new OnewriterError(
    'INVALID_ARGUMENT',
    `The statement has ${expected} parameter${expected === 1 ? '' : 's'}, and ${values} given.`,
    { expected, actual },
  );
}

function unnamed(number: number): OnewriterError {
  return new OnewriterError(
    'INVALID_ARGUMENT',
    `There is no value for the parameter ${number}, a plain "?": give the values in an array.`,
    { parameter: number },
  );
}

function shown(name: string): string {
  return name.length > 100 ? `${name.slice(0, 100)}…` : name;
}
