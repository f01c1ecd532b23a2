import { OnewriterError } from './onewriter-error.ts';
import { isUsualValue, NOTHING, type PragmaAnswer, readPragmaArgument } from './pragma-rules.ts';
import { type SqlTokenKind, SqlTokens } from './sql-tokens.ts';
import { classifyStatement, type StatementClass } from './statement.ts';
import { assertStatementText } from './statement-text.ts';

/*
 * What a step may be: anything that the statement rules allow, and also transaction control and the two PRAGMAs that
 * migrations need. Those affect no other caller: the writer runs such steps while no other caller's write is in the
 * transaction, and resets what they set.
 */

/** What a step's statement is. */
export type StepClass =
  | { readonly kind: 'statement'; readonly statement: StatementClass }
  /** `BEGIN`; every transaction of the writer is IMMEDIATE. */
  | { readonly kind: 'begin'; readonly mode: BeginMode; readonly readOnly: boolean }
  | { readonly kind: 'commit' }
  | { readonly kind: 'rollback' }
  /** @property name as SQLite compares it: without quotes, in lower case. */
  | { readonly kind: 'savepoint' | 'release' | 'rollback-to'; readonly name: string }
  /**
   * `PRAGMA foreign_keys` or `defer_foreign_keys` with a value; `usual`: with the one that holds unless steps set another.
   * Compiling one takes effect.
   */
  | { readonly kind: 'session'; readonly pragma: SessionPragma; readonly usual: boolean }
  /** Transaction control that SQLite will not understand: it says itself what is wrong. */
  | { readonly kind: 'malformed' };

export type BeginMode = 'deferred' | 'immediate' | 'exclusive';
export type SessionPragma = 'foreign_keys' | 'defer_foreign_keys';

const CONTROL: ReadonlySet<string> = new Set(['BEGIN', 'COMMIT', 'END', 'ROLLBACK', 'SAVEPOINT', 'RELEASE']);
/** More tokens has none of these statements. */
const MAX_TOKENS = 8;

interface Token {
  readonly kind: SqlTokenKind;
  /** In upper case where it is a word. */
  readonly text: string;
}

/**
 * Says what a step's statement is. Of one that is not control, {@link classifyStatement} decides.
 * @param sql one statement.
 * @param maxBytes as of {@link classifyStatement}
 * @throws OnewriterError as {@link classifyStatement}
 */
export function classifyStep(sql: string, maxBytes?: number | undefined): StepClass {
  assertStatementText(sql, maxBytes);
  const tokens = firstTokens(sql);
  const keyword = tokens[0]?.kind === 'word' ? tokens[0].text : '';
  if (CONTROL.has(keyword)) {
    const text = onlyStatement(tokens);
    return text === undefined ? refuseSecond() : classifyControl(keyword, text.slice(1));
  }
  if (keyword === 'PRAGMA') {
    const text = onlyStatement(tokens);
    const pragma = text === undefined ? undefined : sessionPragma(text.slice(1));
    if (pragma !== undefined) return { kind: 'session', ...pragma };
  }
  return { kind: 'statement', statement: classifyStatement(sql, maxBytes) };
}

/**
 * The answer to a step that would change nothing on a connection whose settings no step has changed; undefined if the step
 * must run.
 * @throws as {@link classifyStep}
 */
export function answerOfStep(sql: string): PragmaAnswer | undefined {
  // Most texts hold no such word, and need no second look.
  if (!/pragma/i.test(sql)) return undefined;
  const step = classifyStep(sql);
  if (step.kind === 'session' && step.usual) return NOTHING;
  return step.kind === 'statement' ? step.statement.answer : undefined;
}

/** The first tokens, without white space and without semicolons in front. */
function firstTokens(sql: string): readonly Token[] {
  const tokens: Token[] = [];
  const scan = new SqlTokens(sql);
  for (let kind = scan.next(); kind !== 'end' && tokens.length <= MAX_TOKENS; kind = scan.next()) {
    if (kind === 'space' || (kind === 'semicolon' && tokens.length === 0)) continue;
    tokens.push({ kind, text: kind === 'word' ? scan.text.toUpperCase() : scan.text });
    // For most statements the first word decides.
    if (tokens.length === 1 && !CONTROL.has(tokens[0]!.text) && tokens[0]!.text !== 'PRAGMA') break;
  }
  return tokens;
}

/** The tokens in front of the first semicolon; undefined where something follows it. */
function onlyStatement(tokens: readonly Token[]): readonly Token[] | undefined {
  const end = tokens.findIndex(({ kind }) => kind === 'semicolon');
  if (end < 0) return tokens;
  return tokens.slice(end).every(({ kind }) => kind === 'semicolon') ? tokens.slice(0, end) : undefined;
}

function refuseSecond(): never {
  throw new OnewriterError(
    'STATEMENT_NOT_ALLOWED',
    'Only one statement is allowed in a step; use a script for several.',
  );
}

const MALFORMED: StepClass = Object.freeze({ kind: 'malformed' });

function classifyControl(keyword: string, rest: readonly Token[]): StepClass {
  const words = rest.map(({ kind, text }) => (kind === 'word' ? text : ''));
  switch (keyword) {
    case 'BEGIN':
      return classifyBegin(words);
    case 'COMMIT':
    case 'END':
      return isOptional(words, 'TRANSACTION') ? { kind: 'commit' } : MALFORMED;
    case 'SAVEPOINT':
      return rest.length === 1 ? named('savepoint', rest[0]) : MALFORMED;
    case 'RELEASE':
      return named('release', ...(words[0] === 'SAVEPOINT' && rest.length > 1 ? rest.slice(1) : rest));
    default: {
      const after = words[0] === 'TRANSACTION' ? 1 : 0;
      if (rest.length === after) return { kind: 'rollback' };
      if (words[after] !== 'TO') return MALFORMED;
      const target = rest.slice(after + 1);
      return named(
        'rollback-to',
        ...(words[after + 1] === 'SAVEPOINT' && target.length > 1 ? target.slice(1) : target),
      );
    }
  }
}

/** BEGIN [DEFERRED|IMMEDIATE|EXCLUSIVE] [TRANSACTION] [READONLY]; the last is libSQL's. */
function classifyBegin(words: readonly string[]): StepClass {
  let at = 0;
  const take = (word: string) => words[at] === word && ++at > 0;
  const mode = take('IMMEDIATE') ? 'immediate' : take('EXCLUSIVE') ? 'exclusive' : 'deferred';
  if (mode === 'deferred') take('DEFERRED');
  take('TRANSACTION');
  const readOnly = take('READONLY');
  return at === words.length ? { kind: 'begin', mode, readOnly } : MALFORMED;
}

function isOptional(words: readonly string[], word: string): boolean {
  return words.length === 0 || (words.length === 1 && words[0] === word);
}

function named(
  kind: 'savepoint' | 'release' | 'rollback-to',
  token?: Token | undefined,
  ...more: readonly Token[]
): StepClass {
  if (token === undefined || more.length > 0) return MALFORMED;
  if (token.kind !== 'word' && token.kind !== 'name' && token.kind !== 'string') return MALFORMED;
  return { kind, name: bareName(token).toLowerCase() };
}

/** Source: sqlite3Dequote() in SQLite's util.c. */
function bareName({ kind, text }: Token): string {
  if (kind === 'word') return text;
  const quote = text[0] === '[' ? ']' : text[0]!;
  return text.slice(1, -1).replaceAll(quote + quote, quote);
}

/** [main.]name, then `= value` or `(value)`. */
function sessionPragma(
  tokens: readonly Token[],
): { readonly pragma: SessionPragma; readonly usual: boolean } | undefined {
  const rest = tokens[0]?.text === 'MAIN' && tokens[1]?.text === '.' ? tokens.slice(2) : tokens;
  const name = rest[0]?.kind === 'word' ? rest[0].text : '';
  if (name !== 'FOREIGN_KEYS' && name !== 'DEFER_FOREIGN_KEYS') return undefined;
  const form = rest.slice(1).map(({ kind, text }) => (kind === 'other' ? text : 'v'));
  const shape = form.join('');
  if (shape !== '=v' && shape !== '(v)') return undefined;
  const pragma = name.toLowerCase() as SessionPragma;
  const argument = readPragmaArgument(rest.slice(1).map(({ text }) => text)) ?? '';
  return { pragma, usual: isUsualValue(pragma, argument) };
}
