import { SqlTokens } from '@onewriter/protocol';

/*
 * `VALUES ("Widget")`: a name in double quotes, which SQLite may take for a string where it names no column. better-sqlite3 is built
 * without that (SQLITE_DQS=0): SQLite's error then names the column that there is not. Such a name is written as a string, but only
 * where that is certain:
 *
 *   no table has such a column, and nothing in the statement is called so     each that stands as an expression
 *   SQLite reports it, it stands once, and no view or trigger has it          that one
 *   all others                                                                none: which one is meant is in doubt
 *
 * Source: resolve.c of SQLite, lookupName() and areDoubleQuotedStringsEnabled(); https://www.sqlite.org/quirks.html#dblquote.
 */

/** What is to be sent instead, or why there is nothing. */
export type QuotesPlan =
  | { readonly type: 'rewritten'; readonly sql: string }
  | { readonly type: 'doubt'; readonly name: string }
  | { readonly type: 'other' };

/** More in one statement are left as they are. */
const MAX_QUOTED = 1_000;
/** Each is looked for in the whole text of a statement with subqueries. */
const MAX_NESTED = 100;
const UNRESOLVED = /^no such column: "(.*)" - should this be a string literal in single-quotes\?$/s;

/** The name in an error of SQLite that says that it may have been meant as a string. */
export function findUnresolvedName(message: string): string | undefined {
  return UNRESOLVED.exec(message)?.[1];
}

interface Token {
  readonly kind: string;
  readonly start: number;
  readonly end: number;
  /** Without its quotes. */
  readonly text: string;
  /** In double quotes, which are closed. */
  readonly isQuoted: boolean;
}

/** Words that an expression follows. */
const BEFORE_EXPRESSIONS: ReadonlySet<string> = new Set(
  (
    'SELECT DISTINCT ALL WHERE HAVING AND OR NOT LIKE GLOB REGEXP MATCH ESCAPE IS BETWEEN CASE WHEN THEN ELSE BY ON LIMIT OFFSET ' +
    'RETURNING'
  ).split(' '),
);
/** Words that the name of a table, or an alias, follows; but for IS DISTINCT FROM. */
const BEFORE_NAMES: ReadonlySet<string> = new Set(['AS', 'INTO', 'UPDATE', 'TABLE', 'FROM', 'JOIN']);
const OPERATORS = /^[(,=<>!|+\-*/%&~]$/;
/** They have columns that no schema lists. */
const TABLE_FUNCTION =
  /^(?:jsonb?_(?:each|tree)|pragma_.*|generate_series|dbstat|bytecode|tables_used|carray|sqlite_.*)$/i;
/** A row id, and the columns of VALUES. */
const HIDDEN_COLUMN = /^(?:rowid|oid|_rowid_|column\d+)$/i;

/** Lower case as SQLite folds it: ASCII alone. */
export function foldSqlName(name: string): string {
  return name.replace(/[A-Z]+/g, letters => letters.toLowerCase());
}

/** Names in double quotes that a statement has as expressions, folded: whether one is a column decides what may be written. */
export function findQuotedNames(sql: string): readonly string[] {
  return [...new Set(quotedExpressions(readTokens(sql)).map(({ text }) => foldSqlName(text)))].slice(
    0,
    MAX_QUOTED + 1,
  );
}

/** All names that a statement may define, folded. */
export function findNames(sql: string): readonly string[] {
  return readTokens(sql).map(({ text }) => foldSqlName(text));
}

/** What the tenant's schema says of names (folded). */
export interface KnownNames {
  /** A table or view has a column of this name, or may have one. */
  isColumn(name: string): boolean;
  /** A view or trigger has it in double quotes, so that the error may come from there. */
  isInBody(name: string): boolean;
}

/** What becomes of a statement. @param unresolved what SQLite reported */
export function planQuotes(sql: string, unresolved: string, known: KnownNames): QuotesPlan {
  const tokens = readTokens(sql);
  const quoted = quotedExpressions(tokens);
  if (quoted.length > MAX_QUOTED) return { type: 'other' };
  const certain = findStrings(sql, tokens, quoted, known);
  if (certain.length > 0) return { type: 'rewritten', sql: asStrings(sql, certain) };
  const same = quoted.filter(({ text }) => text === unresolved);
  const isUnclear = tokens.some(
    ({ isQuoted, text }, index) => isQuoted && text === unresolved && placeOf(tokens, index) === 'unknown',
  );
  if (same.length === 0) return { type: 'other' };
  return same.length === 1 && !isUnclear && !known.isInBody(foldSqlName(unresolved))
    ? { type: 'rewritten', sql: asStrings(sql, same) }
    : { type: 'doubt', name: unresolved };
}

/** Those that can be the name of nothing. */
function findStrings(
  sql: string,
  tokens: readonly Token[],
  quoted: readonly Token[],
  { isColumn }: KnownNames,
): Token[] {
  const words = tokens.filter(({ kind }) => kind === 'word').map(({ text }) => text.toUpperCase());
  // They give names to columns, in the place of expressions.
  if (words[0] === 'CREATE' || words[0] === 'ALTER') return [];
  if (words.some(word => TABLE_FUNCTION.test(word))) return [];
  const isNested = words.includes('WITH') || words.filter(word => word === 'SELECT').length > 1;
  if (isNested && quoted.length > MAX_NESTED) return [];
  const own = new Set(quoted);
  const others = new Set(tokens.filter(token => !own.has(token)).map(({ text }) => foldSqlName(text)));
  const counts = new Map<string, number>();
  for (const { text } of quoted) counts.set(foldSqlName(text), (counts.get(foldSqlName(text)) ?? 0) + 1);
  const folded = foldSqlName(sql);
  const isString = new Map<string, boolean>();
  for (const [name, count] of counts) {
    const isFree = !HIDDEN_COLUMN.test(name) && !others.has(name) && !isColumn(name);
    isString.set(name, isFree && (!isNested || (count === 1 && isOnce(folded, name))));
  }
  return quoted.filter(({ text }) => isString.get(foldSqlName(text)));
}

/** A column of a subquery without an alias is called as its text, `a + 1`: then the text is there twice. */
function isOnce(sql: string, name: string): boolean {
  return /^[\w$]*$/.test(name) || (!name.includes('"') && sql.split(name).length === 2);
}

function readTokens(sql: string): Token[] {
  const tokens: Token[] = [];
  const reader = new SqlTokens(sql);
  for (let kind = reader.next(); kind !== 'end'; kind = reader.next()) {
    if (kind === 'space') continue;
    const { start, end, text } = reader;
    const isName = kind === 'name' || kind === 'string';
    const isQuoted = kind === 'name' && /^".*"$/s.test(text);
    tokens.push({ kind, start, end, text: isName ? unquoted(text) : text, isQuoted });
  }
  return tokens;
}

function unquoted(text: string): string {
  const quote = text[0]!;
  return quote === '[' ? text.slice(1, -1) : text.slice(1, -1).replaceAll(quote + quote, quote);
}

/** Names in double quotes that stand as an expression of their own. */
function quotedExpressions(tokens: readonly Token[]): Token[] {
  return tokens.filter((token, index) => token.isQuoted && placeOf(tokens, index) === 'expression');
}

/** Where a name stands; `unknown` where that is not clear from its neighbours. */
function placeOf(tokens: readonly Token[], index: number): 'expression' | 'name' | 'unknown' {
  const next = tokens[index + 1];
  const before = tokens[index - 1];
  // Of a table before its column, of a function, of a table before its columns.
  if (isMark(next, '.') || isMark(next, '(') || isMark(before, '.')) return 'name';
  if (before?.kind === 'other') return OPERATORS.test(before.text) ? 'expression' : 'unknown';
  if (before?.kind !== 'word') return 'unknown';
  const word = before.text.toUpperCase();
  const wordBefore = tokens[index - 2]?.text.toUpperCase();
  if (BEFORE_NAMES.has(word) && wordBefore !== 'DISTINCT') return 'name';
  // INDEXED BY names an index; in CREATE TRIGGER and CREATE INDEX, ON names a table.
  if (word === 'BY' && wordBefore === 'INDEXED') return 'name';
  if (word === 'ON' && tokens[0]!.text.toUpperCase() === 'CREATE') return 'name';
  return BEFORE_EXPRESSIONS.has(word) ? 'expression' : 'unknown';
}

function isMark(token: Token | undefined, text: string): boolean {
  return token?.kind === 'other' && token.text === text;
}

function asStrings(sql: string, tokens: readonly Token[]): string {
  let written = '';
  let from = 0;
  for (const { start, end, text } of tokens) {
    written += `${sql.slice(from, start)}'${text.replaceAll("'", "''")}'`;
    from = end;
  }
  return written + sql.slice(from);
}
