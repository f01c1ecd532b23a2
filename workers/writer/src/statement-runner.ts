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
import type { CompiledStatement } from './statement-cache.ts';

/** The last rowid while no insert has set it: -2^62, which no table gets to and a double holds exactly. */
const NO_ROWID = -(2 ** 62);

/**
 * The statement ran, but nobody can tell whether the last rowid is its own: roll back, and run it again.
 * See {@link StatementRunner}.
 */
export class RowidInDoubt extends Error {}

/**
 * Runs statements on one connection and encodes their results.
 *
 * `lastInsertRowid` needs care, because SQLite's value belongs to the connection and callers share it: a statement
 * that inserts nothing (an upsert that updates) or inserts into a table without rowids leaves the value of whoever
 * came before. A value that changed is the statement's own. One that did not may be either (the first row of two
 * tables has the same rowid), so then the statement is rolled back and run again after the value was cleared by an
 * insert into a temporary table. Such a statement clears it first from then on, until it sets one again.
 */
export class StatementRunner {
  /** Clear the last rowid before every insert: set while a write runs for the second time, so that there is no third. */
  clearsRowid = false;
  /** Rows the last statement inserted, updated or deleted. */
  changes = 0;
  /** Rows the last statement returned. */
  rows = 0;
  readonly #lastRowidAndChanges: Statement<[], [rowid: bigint, changes: bigint]>;
  readonly #clearRowid: Statement<[number]>;
  readonly #db: Database;
  /** SQLite's last rowid, as a double; undefined after a failure. */
  #lastRowid: number | undefined;

  constructor(db: Database) {
    this.#db = db;
    db.exec('CREATE TEMP TABLE _onewriter_rowid(id INTEGER PRIMARY KEY)');
    this.#clearRowid = db.prepare('INSERT OR REPLACE INTO temp._onewriter_rowid VALUES (?)');
    this.#lastRowidAndChanges = db
      .prepare<[], [bigint, bigint]>('SELECT last_insert_rowid(), changes()')
      .raw(true)
      .safeIntegers(true);
  }

  /** To be called after an insert that went past this object, or a failure. */
  forgetLastRowid(): void {
    this.#lastRowid = undefined;
  }

  /** SQLite's last rowid. */
  lastRowid(): bigint {
    return this.#lastRowidAndChanges.get()![0];
  }

  /** Makes it the last rowid again, after inserts of ours that no caller is to see. */
  restoreLastRowid(rowid: bigint): void {
    this.#db.prepare('INSERT OR REPLACE INTO temp._onewriter_rowid VALUES (?)').run(rowid);
    this.#db.exec('DELETE FROM temp._onewriter_rowid');
    this.#lastRowid = undefined;
  }

  /**
   * Runs a statement once.
   *
   * @param budgetBytes what its rows may take, encoded.
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
    if (compiled.inserts) {
      if (compiled.rowidInDoubt || this.clearsRowid)
        this.#lastRowid = Number(this.#clearRowid.run(NO_ROWID).lastInsertRowid);
      else this.#lastRowid ??= Number(this.#lastRowidAndChanges.get()![0]);
    }
    return compiled.returnsRows
      ? this.#runForRows(compiled, bound, budgetBytes, wantsRows)
      : this.#runForChanges(compiled, bound);
  }

  /** Runs a statement to its end and drops its rows. */
  runForEffect(compiled: CompiledStatement): void {
    this.#lastRowid = undefined;
    if (!compiled.returnsRows) compiled.statement.run();
    else for (const _ of compiled.statement.iterate());
  }

  #runForChanges(compiled: CompiledStatement, bound: readonly unknown[]): string {
    const { statement } = compiled;
    const { changes, lastInsertRowid } = statement.run(...bound);
    // A virtual table that is created counts the rows of its own shadow tables.
    this.changes = compiled.changesRows ? changes : 0;
    this.rows = 0;
    if (!compiled.inserts || changes === 0) return `[${this.changes},0]`;
    const rowid = this.#ownRowid(compiled, Number(lastInsertRowid));
    if (Number.isSafeInteger(rowid)) return `[${changes},${rowid}]`;
    return `[${changes},${JSON.stringify(encodeInteger(this.#lastRowidAndChanges.get()![0]))}]`;
  }

  #runForRows(
    compiled: CompiledStatement,
    bound: readonly unknown[],
    budgetBytes: number,
    wantsRows: boolean,
  ): string {
    const { statement } = compiled;
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
      const [lastRowid, changes] = this.#lastRowidAndChanges.get()!;
      this.changes = Number(changes);
      if (compiled.inserts && this.changes > 0 && this.#ownRowid(compiled, Number(lastRowid)) !== 0) {
        rowid = JSON.stringify(encodeInteger(lastRowid));
      }
    }
    // Asked after the run: a change of the schema compiles the statement anew, perhaps with other columns.
    const columns = JSON.stringify(statement.columns().map(column => column.name));
    return `{"c":${columns},"r":[${rows.join()}],"n":${this.changes},"i":${rowid}}`;
  }

  /** The last rowid if this statement set it, else 0. @throws RowidInDoubt */
  #ownRowid(compiled: CompiledStatement, after: number): number {
    const before = this.#lastRowid;
    this.#lastRowid = after;
    if (after !== before) {
      compiled.rowidInDoubt = false;
      return after;
    }
    if (before === NO_ROWID) return 0;
    compiled.rowidInDoubt = true;
    throw new RowidInDoubt();
  }
}

/** Values of parameters, as better-sqlite3 takes them. Most are plain already, and then nothing is copied. */
function decodeBindings(wire: WireParameters | undefined): SqlParameters | undefined {
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

function encodeRow(row: SqlValue[]): string {
  // In place: the array is ours.
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
