import { OnewriterError, type SqlValue, toExactInteger } from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import type { BoundParameters } from './parameters.ts';
import type { RowMode, SqlRow, SqlRowArray } from './types.ts';

/*
 * Integers are 64 bits wide in SQLite and exact to 2^53 as numbers. Reading all of them as bigint is exact and slow,
 * so a statement is read with numbers first; if a value is so large that it may have been rounded, the statement is
 * read again with bigints, those that fit become numbers, and from then on this statement is always read that way.
 */

type Row = SqlRow | SqlRowArray;

/** A compiled read on one connection. */
export class ReadStatement {
  usedAt = 0;
  readonly #db: Database.Database;
  readonly #sql: string;
  readonly #fast: Database.Statement;
  /** Names of its columns where they cannot change; undefined where a `*` may come to stand for others. */
  readonly #columns: readonly string[] | undefined;
  #exact: Database.Statement | undefined;
  #exactAlways = false;

  /** @throws better-sqlite3's errors */
  constructor(db: Database.Database, sql: string) {
    this.#db = db;
    this.#sql = sql;
    this.#fast = db.prepare(sql);
    if (!this.#fast.reader) throw new TypeError('This statement does not return data.');
    this.#columns = sql.includes('*') ? undefined : this.#fast.columns().map(column => column.name);
  }

  /** The first row. */
  get(params: BoundParameters): SqlRow | undefined {
    if (!this.#exactAlways) {
      const row = getFirst(this.#fast, params);
      if (row === undefined || !this.#isRounded(row)) return row;
    }
    const row = this.#toExact().get(params) as Row | undefined;
    return row === undefined ? undefined : (narrow(row) as SqlRow);
  }

  /** All rows. @throws OnewriterError RESULT_TOO_LARGE over `maxRows` */
  all(params: BoundParameters, maxRows: number): SqlRow[] {
    return this.#collect(params, maxRows, 'object') as SqlRow[];
  }

  /** All rows as arrays, and the names of their columns. @throws OnewriterError RESULT_TOO_LARGE */
  allArrays(params: BoundParameters, maxRows: number): { columns: string[]; rows: SqlRowArray[] } {
    this.#fast.raw(true);
    this.#exact?.raw(true);
    try {
      const rows = this.#collect(params, maxRows, 'array') as SqlRowArray[];
      // Asked only now: running it has compiled it anew if the schema had changed.
      return { columns: this.#fast.columns().map(column => column.name), rows };
    } finally {
      this.#fast.raw(false);
      this.#exact?.raw(false);
    }
  }

  /** The rows one after the other, always exact: it cannot begin anew when a large integer comes. */
  iterate(params: BoundParameters): IterableIterator<SqlRow> {
    return this.#toExact().iterate(params) as IterableIterator<SqlRow>;
  }

  #collect(params: BoundParameters, maxRows: number, mode: RowMode): Row[] {
    if (!this.#exactAlways) {
      const rows = collect(this.#fast, params, maxRows);
      if (!rows.some(isRounded)) return rows;
    }
    const exact = this.#toExact();
    if (mode === 'array') exact.raw(true);
    const rows = collect(exact, params, maxRows);
    for (const row of rows) narrow(row);
    return rows;
  }

  #isRounded(row: SqlRow): boolean {
    if (this.#columns === undefined) return isRounded(row);
    // Rows of better-sqlite3 are objects of V8's slow kind: listing their names costs more than reading the values.
    for (let index = 0; index < this.#columns.length; index++) {
      const value = row[this.#columns[index]!];
      if (value === undefined || isLarge(value)) return true;
    }
    return false;
  }

  #toExact(): Database.Statement {
    this.#exactAlways = true;
    this.#exact ??= this.#db.prepare(this.#sql).safeIntegers(true);
    return this.#exact;
  }
}

/** One or two values are bound faster as arguments than as an array. */
function getFirst(statement: Database.Statement, params: BoundParameters): SqlRow | undefined {
  if (!Array.isArray(params) || params.length > 2) return statement.get(params) as SqlRow | undefined;
  if (params.length === 1) return statement.get(params[0]) as SqlRow | undefined;
  if (params.length === 2) return statement.get(params[0], params[1]) as SqlRow | undefined;
  return statement.get() as SqlRow | undefined;
}

/** Stepping costs about a tenth more than better-sqlite3's all(), and never holds more than `maxRows`. */
function collect(statement: Database.Statement, params: BoundParameters, maxRows: number): Row[] {
  const rows: Row[] = [];
  for (const row of statement.iterate(params)) {
    if (rows.length >= maxRows) {
      throw new OnewriterError(
        'RESULT_TOO_LARGE',
        `The result has more than ${maxRows} rows; use iterate(), or LIMIT.`,
        { maxRows },
      );
    }
    rows.push(row as Row);
  }
  return rows;
}

/** Whether a value may be an integer that was rounded. Works for rows of both modes. */
function isRounded(row: Row): boolean {
  for (const name in row) if (isLarge((row as SqlRow)[name]!)) return true;
  return false;
}

function isLarge(value: SqlValue): boolean {
  return typeof value === 'number' && (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER);
}

/** Turns bigints into numbers where that is exact, in place. */
export function narrow<R extends Row>(row: R): R {
  const values = row as Record<string, SqlValue>;
  for (const name in values) {
    const value = values[name];
    if (typeof value === 'bigint') values[name] = toExactInteger(value);
  }
  return row;
}
