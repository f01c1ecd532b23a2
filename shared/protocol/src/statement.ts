import { FORMER_TABLE_PREFIX, INTERNAL_TABLE_PREFIX } from './names.ts';
import { OnewriterError } from './onewriter-error.ts';
import { judgePragma, type PragmaAnswer, type PragmaJudgement, readPragmaArgument } from './pragma-rules.ts';
import { type SqlTokenKind, SqlTokens } from './sql-tokens.ts';
import { StatementBoundary } from './statement-boundary.ts';
import { assertStatementText } from './statement-text.ts';

/*
 * The statement rules. better-sqlite3 has no authorizer, and its `readonly` is true for BEGIN, ATTACH and some
 * PRAGMAs, so the keyword decides. A connection of the writer is shared by all callers of a tenant: what would end
 * their transaction, outlive it, or reach another file is refused.
 */

/** What the statement rules say of one statement. */
export interface StatementClass {
  /** `read`: a read-only connection can run it. `write`: only the writer may. */
  readonly kind: 'read' | 'write';
  /** The keyword that decided, upper case, without EXPLAIN and WITH; '' where the statement begins with none. */
  readonly keyword: string;
  readonly explain: boolean;
  /** Whether it can insert rows, so that lastInsertRowid means something. */
  readonly inserts: boolean;
  /** Whether a write returns rows by a RETURNING clause. */
  readonly returning: boolean;
  /** The answer to a PRAGMA that would change nothing. The statement is not compiled. */
  readonly answer?: PragmaAnswer | undefined;
}

const TRANSACTION_REMEDY = 'A script or transaction is atomic as it is; leave transaction control out.';
const VACUUM_REMEDY =
  "It would rewrite the whole file while the tenant's other writers wait. Freed pages are used again; a file that must shrink " +
  'is exported, vacuumed and restored (docs/sql.md).';
const SHARED_REMEDY = 'Tenants share nothing, and their files belong to the writer.';

/** Keywords that are refused, and what to do instead. */
const REFUSED: Readonly<Record<string, string>> = {
  BEGIN: TRANSACTION_REMEDY,
  COMMIT: TRANSACTION_REMEDY,
  END: TRANSACTION_REMEDY,
  ROLLBACK: TRANSACTION_REMEDY,
  SAVEPOINT: TRANSACTION_REMEDY,
  RELEASE: TRANSACTION_REMEDY,
  ATTACH: SHARED_REMEDY,
  DETACH: SHARED_REMEDY,
  VACUUM: VACUUM_REMEDY,
};

/** Virtual tables over PRAGMAs that a SELECT may not use: one discloses paths, one writes. */
const REFUSED_TABLES: ReadonlySet<string> = new Set(['pragma_database_list', 'pragma_optimize']);

const READ_KEYWORDS: ReadonlySet<string> = new Set(['SELECT', 'VALUES']);

/** After these the name of what is written may stand; there SQLite takes a string in '…' for a name, too. */
const BEFORE_TARGET: ReadonlySet<string> = new Set([
  ...['INTO', 'UPDATE', 'FROM', 'TABLE', 'INDEX', 'VIEW', 'TRIGGER', 'EXISTS', 'REINDEX', 'ANALYZE', '.'],
  ...['ROLLBACK', 'ABORT', 'REPLACE', 'FAIL', 'IGNORE'], // UPDATE OR …
]);
/** After these stands a table that is referred to; `temp.` here is an alias, as in `ON temp.a = b.a`. */
const BEFORE_REFERENCE: ReadonlySet<string> = new Set(['ON', 'TO', 'REFERENCES']);

const INTERNAL_PREFIXES = [INTERNAL_TABLE_PREFIX.toUpperCase(), FORMER_TABLE_PREFIX.toUpperCase()] as const;
/** Longer than any name that the rules know: of a literal of 1 MB no more is copied. */
const MAX_NAME_LENGTH = 64;

/** Statements whose class is remembered, and the longest text of one: a few MB at most. */
const MAX_CACHED = 1_000;
const MAX_CACHED_LENGTH = 2_000;
const cache = new Map<string, StatementClass>();

/**
 * Says what a statement is by its first keyword, after white space, comments, semicolons, a byte-order mark and
 * EXPLAIN [QUERY PLAN]; of WITH by the keyword after the common table expressions. What SQLite will not understand
 * is a `write`, so that SQLite itself says what is wrong. EXPLAIN of an allowed statement is a `read`.
 *
 * @param sql one statement; semicolons and comments may follow it.
 * @param maxBytes of its text; a dump has longer ones than callers may send. Default: `LIMITS.maxStatementBytes`.
 * @throws OnewriterError STATEMENT_NOT_ALLOWED (transaction control, ATTACH, DETACH, VACUUM, TEMP objects, a PRAGMA
 * that is not in the list, writes to the writer's tables, a second statement), INVALID_ARGUMENT (no statement, NUL),
 * INVALID_VALUE, STATEMENT_TOO_LARGE.
 */
export function classifyStatement(sql: string, maxBytes?: number | undefined): StatementClass {
  const known = cache.get(sql);
  if (known !== undefined) return known;
  const statement = Object.freeze(classify(sql, maxBytes));
  if (sql.length <= MAX_CACHED_LENGTH) {
    // The oldest goes; one in use comes back at the price of one look.
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value!);
    cache.set(sql, statement);
  }
  return statement;
}

function classify(sql: string, maxBytes: number | undefined): StatementClass {
  assertStatementText(sql, maxBytes);
  const scan = new StatementScan();
  const boundary = new StatementBoundary();
  const tokens = new SqlTokens(sql);
  let complete = false;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    if (complete) {
      if (kind === 'semicolon') continue;
      refuse(
        'Only one statement is allowed here. Send several as a script: exec() of the SDK, POST /v1/tenants/:tenant/script, ' +
          'or onewriter sql --script.',
      );
    }
    const word = kind === 'word' ? tokens.text.toUpperCase() : '';
    complete = boundary.accept(kind, word);
    if (!complete && !boundary.atStart) scan.accept(kind, word, tokens);
  }
  return scan.result();
}

function refuse(message: string): never {
  throw new OnewriterError('STATEMENT_NOT_ALLOWED', message);
}

/** Collects in one pass over a statement's tokens what the rules ask about. */
class StatementScan {
  #explain = false;
  #keyword = '';
  /** Tokens after EXPLAIN. */
  #count = 0;
  #depth = 0;
  #previous = '';
  #temporary = false;
  #returning = false;
  #internalName = false;
  /** CREATE VIRTUAL TABLE */
  #virtual = false;
  /** The token before was the name `temp` where a target may stand; a dot makes it the schema. */
  #afterTemp = false;
  readonly #pragma: string[] = [];

  accept(kind: SqlTokenKind, word: string, tokens: SqlTokens): void {
    if (this.#count === 0 && word === 'EXPLAIN' && !this.#explain) {
      this.#explain = true;
      return;
    }
    if (this.#count === 0 && this.#explain && this.#isQueryPlan(word)) return;
    this.#acceptToken(kind, word, tokens);
    this.#previous = kind === 'word' ? word : kind === 'other' ? tokens.text : '';
    this.#count++;
  }

  /** @throws OnewriterError as {@link classifyStatement} */
  result(): StatementClass {
    if (this.#count === 0) {
      throw new OnewriterError('INVALID_ARGUMENT', 'There is no statement in this SQL.');
    }
    const keyword = this.#keyword;
    const remedy = Object.hasOwn(REFUSED, keyword) ? REFUSED[keyword] : undefined;
    if (remedy !== undefined) refuse(`${keyword} is not allowed. ${remedy}`);
    const pragma = keyword === 'PRAGMA' ? this.#judgePragma() : undefined;
    const kind = pragma?.kind ?? (READ_KEYWORDS.has(keyword) ? 'read' : 'write');
    if (kind === 'write') {
      if (this.#temporary) {
        refuse('Temporary tables, views, indexes and triggers are not allowed: the connection is shared.');
      }
      if (this.#internalName) {
        refuse(
          `Names that begin with ${INTERNAL_TABLE_PREFIX} or ${FORMER_TABLE_PREFIX} belong to the writer.`,
        );
      }
    }
    return {
      kind: this.#explain ? 'read' : kind,
      keyword,
      explain: this.#explain,
      inserts: !this.#explain && (keyword === 'INSERT' || keyword === 'REPLACE'),
      // CREATE TRIGGER holds statements of its own.
      returning: !this.#explain && kind === 'write' && keyword !== 'CREATE' && this.#returning,
      ...(pragma?.answer === undefined ? undefined : { answer: pragma.answer }),
    };
  }

  #isQueryPlan(word: string): boolean {
    const expected = this.#previous === 'QUERY' ? 'PLAN' : this.#previous === '' ? 'QUERY' : undefined;
    if (word !== expected) return false;
    this.#previous = word;
    return true;
  }

  #acceptToken(kind: SqlTokenKind, word: string, tokens: SqlTokens): void {
    const { sql, start, end } = tokens;
    if (this.#count === 0) this.#keyword = word;
    else if (this.#keyword === 'PRAGMA') this.#pragma.push(tokens.text);
    else if (this.#keyword === 'CREATE' && this.#count === 1 && (word === 'TEMP' || word === 'TEMPORARY')) {
      this.#temporary = true;
    } else if (this.#keyword === 'CREATE' && this.#count === 1 && word === 'VIRTUAL') this.#virtual = true;
    else if (this.#keyword === 'WITH') this.#acceptAfterWith(word);
    // A keyword of SQLite's that is never a bare name.
    if (word === 'RETURNING' && this.#depth === 0) this.#returning = true;

    const afterTemp = this.#afterTemp;
    this.#afterTemp = false;
    if (kind === 'other') {
      const character = sql[start];
      if (character === '(') this.#depth++;
      else if (character === ')') this.#depth--;
      else if (character === '.' && afterTemp) this.#temporary = true;
    } else if (kind === 'word' || kind === 'name' || kind === 'string') {
      const nameEnd = Math.min(end - 1, start + 1 + MAX_NAME_LENGTH);
      this.#acceptName(kind, kind === 'word' ? word : sql.slice(start + 1, nameEnd).toUpperCase());
    }
  }

  #namesVirtualTable(): boolean {
    return (this.#virtual && this.#depth === 0) || (this.#keyword === 'ALTER' && this.#previous === 'TO');
  }

  /** The first word outside brackets that follows a common table expression is the statement's own keyword. */
  #acceptAfterWith(word: string): void {
    if (this.#depth === 0 && this.#previous === ')' && word !== '' && word !== 'AS') this.#keyword = word;
  }

  /** @param name upper case, without its quotes; its first characters where it is long */
  #acceptName(kind: SqlTokenKind, name: string): void {
    const table = name.toLowerCase();
    if (REFUSED_TABLES.has(table)) refuse(`${table} is not allowed.`);
    const target = BEFORE_TARGET.has(this.#previous);
    if (kind === 'string' && !target && !BEFORE_REFERENCE.has(this.#previous)) return;
    for (const prefix of INTERNAL_PREFIXES) {
      if (name.startsWith(prefix)) this.#internalName = true;
      // A virtual table of this name has shadow tables whose names begin with the prefix.
      if (`${name}_` === prefix && this.#namesVirtualTable()) this.#internalName = true;
    }
    if (name === 'SQLITE_TEMP_MASTER' || name === 'SQLITE_TEMP_SCHEMA') this.#temporary = true;
    this.#afterTemp = target && name === 'TEMP';
  }

  /** PRAGMA [main.]name, then `= value` or `(value)`. */
  #judgePragma(): Exclude<PragmaJudgement, { kind: 'refused' }> {
    const [schema, dot] = this.#pragma;
    const rest = dot === '.' && schema?.toLowerCase() === 'main' ? this.#pragma.slice(2) : this.#pragma;
    const name = rest[0]?.toLowerCase() ?? '';
    if (rest[1] === '.') refuse('A PRAGMA of another schema is not allowed: there is only main.');
    const judged = judgePragma(name, readPragmaArgument(rest.slice(1)));
    if (judged.kind === 'refused') refuse(judged.reason);
    if (judged.answer !== undefined && this.#explain)
      refuse('This PRAGMA cannot be explained: it is not run.');
    return judged;
  }
}
