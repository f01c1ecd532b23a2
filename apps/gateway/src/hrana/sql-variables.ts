import { OnewriterError, type SqlParameters, SqlTokens, type SqlValue } from '@onewriter/protocol';

/** Arguments as they came: by position, or by name with or without its sign. */
export interface Arguments {
  readonly positional: readonly SqlValue[];
  readonly named: ReadonlyMap<string, SqlValue>;
}

/** A statement and what to bind to it, as better-sqlite3 wants both. */
export interface BoundStatement {
  readonly sql: string;
  readonly params: SqlParameters;
}

/** A variable in an SQL text. */
interface Variable {
  readonly start: number;
  readonly end: number;
  /** From 1; the same for all places with the same name. */
  readonly index: number;
}

/** The variables of a statement. */
export interface SqlVariables {
  /** By index - 1: the name with its sign (`?2`, `:id`); null for a plain `?`, or an index that nothing names. */
  readonly names: readonly (string | null)[];
  readonly places: readonly Variable[];
}

const MAX_VARIABLE = 32_766;
const SIGNS = [':', '@', '$'];

/** The variables of a statement, numbered as SQLite does. Source: https://www.sqlite.org/lang_expr.html#varparam */
export function findVariables(sql: string): SqlVariables {
  const names: (string | null)[] = [];
  const known = new Map<string, number>();
  const places: Variable[] = [];
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind !== 'variable') continue;
    const { text, start, end } = tokens;
    let index: number;
    if (text === '?') index = names.push(null);
    else if (text.startsWith('?')) {
      index = Number(text.slice(1));
      // SQLite itself says what is wrong with it.
      if (index < 1 || index > MAX_VARIABLE) continue;
      while (names.length < index) names.push(null);
      names[index - 1] ??= text;
    } else {
      index = known.get(text) ?? names.push(text);
      known.set(text, index);
    }
    places.push({ start, end, index });
  }
  return { names, places };
}

/**
 * Gives each variable its argument: by its name, else by its position.
 * @throws OnewriterError INVALID_ARGUMENT where one has none, or there are more arguments than variables
 */
export function bindArguments(sql: string, { positional, named }: Arguments): BoundStatement {
  if (positional.length === 0 && named.size === 0 && !/[?:@$]/.test(sql)) return { sql, params: [] };
  const { names, places } = findVariables(sql);
  if (positional.length > names.length) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `The statement has ${names.length} parameters, and ${positional.length} arguments were given.`,
    );
  }
  const values = names.map((name, index) => {
    const value = name === null ? positional[index] : (lookUp(named, name) ?? positional[index]);
    if (value !== undefined) return value;
    throw new OnewriterError('INVALID_ARGUMENT', `There is no value for parameter ${name ?? index + 1}.`);
  });
  if (names.every(name => name === null)) return { sql, params: values };
  if (names.every(name => name !== null)) {
    const entries = names.map((name, index) => [name!.slice(1), values[index]!] as const);
    // `:a` and `@a` are two variables, and one name to better-sqlite3.
    if (new Set(entries.map(([name]) => name)).size === entries.length)
      return { sql, params: toNamed(entries) };
  }
  return renumbered(sql, places, values);
}

function lookUp(named: ReadonlyMap<string, SqlValue>, name: string): SqlValue | undefined {
  const exact = named.get(name);
  return exact !== undefined || !SIGNS.includes(name[0]!) ? exact : named.get(name.slice(1));
}

/** Plain and named variables in one statement cannot be given together: all get names of ours. */
function renumbered(sql: string, places: readonly Variable[], values: readonly SqlValue[]): BoundStatement {
  let text = '';
  let from = 0;
  const used = new Set<number>();
  for (const { start, end, index } of places) {
    text += `${sql.slice(from, start)}:p${index}`;
    from = end;
    used.add(index);
  }
  const entries = [...used].map(index => [`p${index}`, values[index - 1]!] as const);
  return { sql: text + sql.slice(from), params: toNamed(entries) };
}

function toNamed(entries: readonly (readonly [string, SqlValue])[]): SqlParameters {
  return Object.fromEntries(entries);
}
