import {
  decodeParameters,
  encodeExactValue,
  encodeInteger,
  LIMITS,
  OnewriterError,
  type SqlParameters,
  type SqlValue,
  type WireParameters,
} from '@onewriter/protocol';
import type { Database, Statement } from 'better-sqlite3';
import { TransactionWrites } from '../capture/transaction-writes.ts';
import { ConnectionCounters } from '../thread/connection-counters.ts';
import type { SchemaTraits } from './schema-traits.ts';
import { type CompiledStatement, readExactly } from './statement-cache.ts';

/**
 * The statement ran, but the last rowid may not be its own: roll back, and run it again.
 * See {@link StatementRunner}.
 */
export class RowidInDoubt extends Error {}

/**
 * Runs statements on one connection and encodes their results.
 *
 * `lastInsertRowid` of an insert is SQLite's last rowid; for all other statements it is 0. The last rowid belongs to the
 * connection, which callers share, so each write begins in one of two ways:
 *
 *   {@link startAnew}   resets the counters to those of a new connection, where a statement needs them
 *   {@link startShared} for one statement that does not ask for the counters, which saves the reset: a last rowid that it
 *                       changed is its own. An unchanged one may be either (the first row of two tables has the same
 *                       rowid, an upsert that updates sets none); then the statement is rolled back and run again with a
 *                       last rowid of 0. Such a statement begins with 0 from then on, until it sets one again.
 */
export class StatementRunner {
  readonly counters: ConnectionCounters;
  /** Of the open transaction. */
  readonly writes = new TransactionWrites();
  /** Rows the last statement inserted, updated or deleted. */
  changes = 0;
  /** Rows the last statement returned. */
  rows = 0;
  /** Error of the last statement that failed, to distinguish its errors from those of the bookkeeping. */
  failure: unknown;
  readonly #schema: SchemaTraits;
  /** Whether the counters belong to the current write. */
  #own = false;
  /** Whether the last rowid is the write's own; false before it is needed. */
  #clear = false;
  /** SQLite's last rowid before a statement with shared counters, as a double; undefined where it is unknown. */
  #lastRowid: number | undefined;

  constructor(db: Database, schema: SchemaTraits) {
    this.counters = new ConnectionCounters(db);
    this.#schema = schema;
  }

  /**
   * Begins a write that sees the counters of a new connection.
   * @param total whether a statement of it may ask for `total_changes()`
   */
  startAnew(total: boolean): void {
    this.counters.startAnew(total);
    this.#own = true;
    this.#clear = false;
    this.#lastRowid = undefined;
  }

  /** The statement, to be run as on a connection that has changed nothing. */
  prepareAnew(compiled: CompiledStatement): Statement<unknown[], unknown> {
    this.startAnew(compiled.asksTotal);
    return this.#prepareCounters(compiled);
  }

  /** Begins a write of one statement. */
  startShared(): void {
    this.#own = false;
  }

  /** Call it after an insert that bypassed this object, or a failure. */
  forgetLastRowid(): void {
    this.#lastRowid = undefined;
  }

  /**
   * Runs a statement once.
   *
   * @param budgetBytes bound of its rows, encoded.
   * @param wantsRows false: rows are stepped through, and left out of the result. Values in them are exact:
   * `encodeExactValue`.
   * @returns JSON of a WireStatementResult.
   * @throws RowidInDoubt, SQLite's and better-sqlite3's own errors, OnewriterError INVALID_ARGUMENT, INVALID_VALUE,
   * RESULT_TOO_LARGE.
   * After any of them the caller rolls back.
   */
  run(
    compiled: CompiledStatement,
    wire: WireParameters | undefined,
    budgetBytes: number,
    wantsRows = true,
  ): string {
    const bound = compiled.parameters.toArguments(decodeBindings(wire));
    return this.#counted(compiled, statement =>
      compiled.returnsRows
        ? this.#runForRows(compiled, statement, bound, budgetBytes, wantsRows)
        : this.#runForChanges(compiled, statement, bound),
    );
  }

  /**
   * Runs a statement to its end and drops its rows.
   * @param bound values as better-sqlite3 binds them
   * @returns the number of rows it changed; undefined: it returns rows, and its changes are unknown here
   */
  runForEffect(compiled: CompiledStatement, bound: readonly unknown[] = []): number | undefined {
    return this.#counted(compiled, statement => {
      let changes: number | undefined;
      if (!compiled.returnsRows) ({ changes } = statement.run(...bound));
      else for (const _ of statement.iterate(...bound));
      this.#noteChanges(compiled, changes);
      return changes;
    });
  }

  /** @param changes SQLite's count; undefined: unknown here. */
  #noteChanges({ kind, changesRows }: CompiledStatement, changes: number | undefined): void {
    if (changesRows) this.counters.changed(changes);
    // Creating a virtual table writes rows, and they count.
    else if (kind === 'write') this.counters.changed();
  }

  #counted<Result>(
    compiled: CompiledStatement,
    execute: (statement: Statement<unknown[], unknown>) => Result,
  ): Result {
    const statement = this.#prepareCounters(compiled);
    if (compiled.changesSchema) this.#schema.changed();
    try {
      const result = execute(statement);
      this.writes.kinds |= compiled.kindBit;
      return result;
    } catch (error) {
      this.failure = error;
      // A statement that began counts, also if it failed; one with refused parameters did not begin.
      const began = !(error instanceof TypeError || error instanceof RangeError);
      if (compiled.changesRows && began) this.counters.changed();
      throw error;
    }
  }

  /** Sets the counters that the statement may see. @returns the statement to run */
  #prepareCounters(compiled: CompiledStatement): Statement<unknown[], unknown> {
    const asks = compiled.asksCounters || this.#schema.asksCounters;
    if (asks && !this.#own) this.startAnew(compiled.asksTotal);
    if (this.#own) {
      // Creating a virtual table continues counting from the current values.
      const counts = asks || (compiled.kind === 'write' && !compiled.changesRows);
      if (!this.#clear && (counts || compiled.inserts)) {
        this.counters.clearOwnRowid();
        this.#clear = true;
      }
      if (counts) this.counters.settle();
      if (compiled.asksTotal) return readExactly(this.counters.compileWithTotal(compiled.sql));
    } else if (compiled.inserts) {
      if (compiled.rowidInDoubt) {
        this.counters.clearRowid();
        this.#lastRowid = 0;
      } else this.#lastRowid ??= Number(this.counters.read().rowid);
    }
    return compiled.statement;
  }

  #runForChanges(
    compiled: CompiledStatement,
    statement: Statement<unknown[], unknown>,
    bound: readonly unknown[],
  ): string {
    const { changes, lastInsertRowid } = statement.run(...bound);
    this.#noteChanges(compiled, changes);
    // Creating a virtual table counts the rows of its own shadow tables.
    this.changes = compiled.changesRows ? changes : 0;
    this.rows = 0;
    if (!compiled.inserts || (changes === 0 && !this.#own)) return `[${this.changes},0]`;
    const rowid = this.#ownRowid(compiled, Number(lastInsertRowid));
    if (Number.isSafeInteger(rowid)) return `[${changes},${rowid}]`;
    return `[${changes},${JSON.stringify(encodeInteger(this.counters.read().rowid))}]`;
  }

  #runForRows(
    compiled: CompiledStatement,
    statement: Statement<unknown[], unknown>,
    bound: readonly unknown[],
    budgetBytes: number,
    wantsRows: boolean,
  ): string {
    const rows: string[] = [];
    let bytes = 0;
    for (const row of statement.iterate(...bound)) {
      if (!wantsRows) continue;
      if (rows.length === LIMITS.maxResultRows) throw tooLarge(`${LIMITS.maxResultRows} rows`);
      const json = encodeRow(row as SqlValue[]);
      bytes += Buffer.byteLength(json) + 1;
      if (bytes > budgetBytes) throw tooLarge(`${budgetBytes} bytes`);
      rows.push(json);
    }
    this.rows = rows.length;
    this.changes = 0;
    let rowid = '0';
    if (compiled.changesRows) {
      this.counters.changed();
      const after = this.counters.read();
      this.changes = after.changes;
      this.counters.changed(after.changes);
      if (compiled.inserts && (this.#own || after.changes > 0)) {
        if (this.#ownRowid(compiled, Number(after.rowid)) !== 0)
          rowid = JSON.stringify(encodeInteger(after.rowid));
      }
    }
    // Read after the run: a change of the schema recompiles the statement, perhaps with other columns.
    const columns = JSON.stringify(compiled.statement.columns().map(column => column.name));
    return `{"c":${columns},"r":[${rows.join()}],"n":${this.changes},"i":${rowid}}`;
  }

  /** The last rowid after an insert, if it is the write's own. @throws RowidInDoubt */
  #ownRowid(compiled: CompiledStatement, after: number): number {
    if (this.#own) return after;
    const before = this.#lastRowid;
    this.#lastRowid = after;
    if (after !== before) compiled.rowidInDoubt = false;
    else if (before !== 0) {
      compiled.rowidInDoubt = true;
      throw new RowidInDoubt();
    }
    return after;
  }
}

/** Values of parameters, as better-sqlite3 accepts them. Most are plain already, and then nothing is copied. @throws OnewriterError INVALID_VALUE */
export function decodeBindings(wire: WireParameters | undefined): SqlParameters | undefined {
  if (wire === undefined || (Array.isArray(wire) && wire.every(isPlain)))
    return wire as SqlParameters | undefined;
  try {
    return decodeParameters(wire);
  } catch (cause) {
    throw new OnewriterError('INVALID_VALUE', 'A parameter in the message cannot be read.', {}, cause);
  }
}

function isPlain(value: unknown): boolean {
  return value === null || typeof value !== 'object';
}

/** A row as JSON: `encodeExactValue`. @param row is changed */
export function encodeRow(row: SqlValue[]): string {
  // In place: no other code uses the array.
  for (let column = 0; column < row.length; column++)
    row[column] = encodeExactValue(row[column]!) as SqlValue;
  return JSON.stringify(row);
}

function tooLarge(limit: string): OnewriterError {
  return new OnewriterError(
    'RESULT_TOO_LARGE',
    `The result has over ${limit}; return fewer, or read instead.`,
  );
}
