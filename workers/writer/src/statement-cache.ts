import { classifyStatement, LIMITS, type StatementClass } from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';

/** Longer texts are compiled each time, so that the cache stays small. */
const MAX_CACHED_LENGTH = 20_000;

/** A compiled statement and what the writer must know to run it. */
export interface CompiledStatement extends StatementClass {
  readonly sql: string;
  readonly statement: Statement<unknown[], unknown>;
  readonly returnsRows: boolean;
  /** Whether SQLite counts its changes. */
  readonly changesRows: boolean;
  /** Set by {@link StatementRunner}: whether the last rowid must be cleared before it runs. */
  rowidInDoubt: boolean;
}

/**
 * The compiled statements of one connection, by SQL text, least recently used first; at most
 * `LIMITS.maxCachedStatements`.
 */
export class StatementCache {
  readonly #db: Database;
  readonly #statements = new Map<string, CompiledStatement>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** @throws OnewriterError of the statement rules; SQLite's own error for what it does not understand. */
  get(sql: string): CompiledStatement {
    const known = this.#statements.get(sql);
    if (known !== undefined) {
      this.#statements.delete(sql);
      this.#statements.set(sql, known);
      return known;
    }
    const compiled = compileStatement(this.#db, sql);
    // SQLite answers PRAGMA and EXPLAIN from the schema that they were compiled under, however it has changed since.
    if (sql.length <= MAX_CACHED_LENGTH && compiled.keyword !== 'PRAGMA' && !compiled.explain) {
      if (this.#statements.size >= LIMITS.maxCachedStatements) {
        this.#statements.delete(this.#statements.keys().next().value!);
      }
      this.#statements.set(sql, compiled);
    }
    return compiled;
  }
}

const CHANGING = new Set(['INSERT', 'REPLACE', 'UPDATE', 'DELETE']);

/** Checks a statement against the rules and compiles it: rows come as arrays, integers in them as bigint. */
export function compileStatement(db: Database, sql: string): CompiledStatement {
  const statementClass = classifyStatement(sql);
  const statement = db.prepare<unknown[], unknown>(sql);
  if (statement.reader) statement.raw(true).safeIntegers(true);
  return {
    ...statementClass,
    sql,
    statement,
    returnsRows: statement.reader,
    changesRows: !statementClass.explain && CHANGING.has(statementClass.keyword),
    rowidInDoubt: false,
  };
}
