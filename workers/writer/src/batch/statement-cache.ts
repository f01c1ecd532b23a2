import {
  classifyStatement,
  LIMITS,
  OnewriterError,
  parametersOf,
  type StatementClass,
  type StatementParameters,
  writeKindBit,
} from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { LRUCache } from 'lru-cache';

/** Longer texts are compiled each time, so that the cache stays small. */
const MAX_CACHED_LENGTH = 20_000;

/** A compiled statement and the facts that the writer needs to run it. */
export interface CompiledStatement extends StatementClass {
  readonly sql: string;
  readonly statement: Statement<unknown[], unknown>;
  readonly parameters: StatementParameters;
  readonly returnsRows: boolean;
  /** Whether SQLite counts its changes. */
  readonly changesRows: boolean;
  /** Whether it may change the meaning of other statements. */
  readonly changesSchema: boolean;
  /** The bit of its kind, for the history: `writeKindBit`; 0 where it reads. */
  readonly kindBit: number;
  /** Whether its text may ask for `last_insert_rowid()`, `changes()` or `total_changes()`. */
  readonly asksCounters: boolean;
  /** Whether its text may ask for `total_changes()`, and is not kept by the schema. */
  readonly asksTotal: boolean;
  /** Set by {@link StatementRunner}: whether the last rowid must be cleared before it runs. */
  rowidInDoubt: boolean;
}

/** The compiled statements of one connection, by SQL text: those used last, at most `LIMITS.maxCachedStatements`. */
export class StatementCache {
  readonly #db: Database;
  readonly #statements = new LRUCache<string, CompiledStatement>({ max: LIMITS.maxCachedStatements });

  constructor(db: Database) {
    this.#db = db;
  }

  /** @throws OnewriterError of the statement rules; SQLite's own error for a text that it cannot compile. */
  get(sql: string): CompiledStatement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const compiled = compileStatement(this.#db, sql);
    // SQLite answers PRAGMA and EXPLAIN from the schema that they were compiled under, even after it has changed.
    if (sql.length <= MAX_CACHED_LENGTH && compiled.keyword !== 'PRAGMA' && !compiled.explain) {
      this.#statements.set(sql, compiled);
    }
    return compiled;
  }
}

const CHANGING = new Set(['INSERT', 'REPLACE', 'UPDATE', 'DELETE']);
const CHANGING_SCHEMA = new Set(['CREATE', 'ALTER', 'DROP']);

/** Checks a statement against the rules and compiles it for {@link readExactly}. */
export function compileStatement(db: Database, sql: string): CompiledStatement {
  const statementClass = classifyStatement(sql);
  const { answer } = statementClass;
  if (answer?.verify !== undefined && db.prepare(answer.verify).get() === undefined) {
    throw new OnewriterError('STATEMENT_NOT_ALLOWED', answer.refusal ?? 'This PRAGMA is not allowed.');
  }
  // A PRAGMA that already has its value is not compiled: compiling alone may change the connection.
  const statement = db.prepare<unknown[], unknown>(answer?.sql ?? sql);
  const { keyword, explain } = statementClass;
  const changesSchema = !explain && CHANGING_SCHEMA.has(keyword);
  return {
    ...statementClass,
    sql,
    statement: readExactly(statement),
    parameters: parametersOf(sql),
    returnsRows: statement.reader,
    changesRows: !explain && CHANGING.has(keyword),
    changesSchema,
    kindBit: statementClass.kind === 'write' ? writeKindBit(keyword) : 0,
    asksCounters: /last_insert_rowid|changes/i.test(sql),
    asksTotal: !changesSchema && /total_changes/i.test(sql),
    rowidInDoubt: false,
  };
}

/** Makes rows arrays, with integers as bigint. */
export function readExactly(statement: Statement<unknown[], unknown>): Statement<unknown[], unknown> {
  return statement.reader ? statement.raw(true).safeIntegers(true) : statement;
}
