import {
  OnewriterError,
  parametersOf,
  type SqlValue,
  type StatementParameters,
  toExactInteger,
} from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import type { BoundParameters } from './parameters.ts';
import type { SqlRow, SqlRowArray } from './types.ts';

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
  readonly #parameters: StatementParameters;
  /** Gives rows as arrays where {@link #names} are known, else as objects. */
  readonly #fast: Database.Statement;
  /**
   * Names of its columns; undefined where a `*` may come to stand for others. Making the objects from arrays here is
   * faster than better-sqlite3's: its objects are of V8's slow kind.
   */
  #names: readonly string[] | undefined;
  #namesPeriod: number;
  #exact: Database.Statement | undefined;
  #exactAlways = false;

  /**
   * @param period as of {@link refreshNames}
   * @throws better-sqlite3's errors
   */
  constructor(db: Database.Database, sql: string, period: number) {
    this.#db = db;
    this.#sql = sql;
    this.#parameters = parametersOf(sql);
    this.#fast = db.prepare(sql);
    this.#namesPeriod = period;
    if (!this.#fast.reader) throw new TypeError('This statement does not return data.');
    if (sql.includes('*')) return;
    this.#names = namesOf(this.#fast);
    this.#fast.raw(true);
  }

  /**
   * Looks at the names again, once in a period: after a change of the schema a column may be written in other case.
   * @param period a number that changes from time to time
   */
  refreshNames(period: number): void {
    if (period === this.#namesPeriod) return;
    this.#namesPeriod = period;
    if (this.#names !== undefined) this.#names = namesOf(this.#fast);
  }

  /** The first row. */
  get(params: BoundParameters): SqlRow | undefined {
    const bound = this.#parameters.toArguments(params);
    if (!this.#exactAlways) {
      const row = getFirst(this.#fast, bound);
      if (row === undefined) return undefined;
      if (this.#names === undefined) {
        if (!isRounded(row)) return row as SqlRow;
      } else {
        const object = toObject(this.#names, row as SqlRowArray);
        if (object !== undefined) return object;
      }
    }
    const row = this.#toExact().get(...bound) as Row | undefined;
    return row === undefined ? undefined : (narrow(row) as SqlRow);
  }

  /** All rows. @throws OnewriterError RESULT_TOO_LARGE over `maxRows` */
  all(params: BoundParameters, maxRows: number): SqlRow[] {
    const bound = this.#parameters.toArguments(params);
    if (!this.#exactAlways) {
      const rows = this.#collectObjects(bound, maxRows);
      if (rows !== undefined) return rows;
    }
    const rows = collect(this.#toExact(), bound, maxRows);
    for (const row of rows) narrow(row);
    return rows as SqlRow[];
  }

  /**
   * All rows as arrays, and the names of their columns.
   * @param safeIntegers every integer is a bigint
   * @throws OnewriterError RESULT_TOO_LARGE
   */
  allArrays(
    params: BoundParameters,
    maxRows: number,
    safeIntegers = false,
  ): { columns: string[]; rows: SqlRowArray[] } {
    // Asked only afterwards: running it has compiled it anew if the schema had changed.
    const columns = () => this.#fast.columns().map(column => column.name);
    const bound = this.#parameters.toArguments(params);
    this.#fast.raw(true);
    this.#exact?.raw(true);
    try {
      if (safeIntegers) {
        this.#exact ??= this.#prepareExact();
        const rows = collect(this.#exact.raw(true), bound, maxRows) as SqlRowArray[];
        // Its own columns: it was run, the other one was not.
        return { columns: namesOf(this.#exact), rows };
      }
      if (!this.#exactAlways) {
        const rows = collect(this.#fast, bound, maxRows) as SqlRowArray[];
        if (!rows.some(isRounded)) return { columns: columns(), rows };
      }
      const rows = collect(this.#toExact().raw(true), bound, maxRows) as SqlRowArray[];
      for (const row of rows) narrow(row);
      return { columns: columns(), rows };
    } finally {
      this.#fast.raw(this.#names !== undefined);
      this.#exact?.raw(false);
    }
  }

  /** The rows one after the other, always exact: it cannot begin anew when a large integer comes. */
  iterate(params: BoundParameters): IterableIterator<SqlRow> {
    return this.#toExact().iterate(...this.#parameters.toArguments(params)) as IterableIterator<SqlRow>;
  }

  /** Undefined where a value may be an integer that was rounded. */
  #collectObjects(bound: readonly unknown[], maxRows: number): SqlRow[] | undefined {
    const rows = collect(this.#fast, bound, maxRows);
    if (this.#names === undefined) return rows.some(isRounded) ? undefined : (rows as SqlRow[]);
    // In place: the array is ours.
    for (let index = 0; index < rows.length; index++) {
      const object = toObject(this.#names, rows[index] as SqlRowArray);
      if (object === undefined) return undefined;
      rows[index] = object;
    }
    return rows as SqlRow[];
  }

  #toExact(): Database.Statement {
    this.#exactAlways = true;
    this.#exact ??= this.#prepareExact();
    return this.#exact;
  }

  #prepareExact(): Database.Statement {
    return this.#db.prepare(this.#sql).safeIntegers(true);
  }
}

/** One or two values are passed faster one by one. */
function getFirst(statement: Database.Statement, bound: readonly unknown[]): Row | undefined {
  if (bound.length === 1) return statement.get(bound[0]) as Row | undefined;
  if (bound.length === 2) return statement.get(bound[0], bound[1]) as Row | undefined;
  return statement.get(...bound) as Row | undefined;
}

function namesOf(statement: Database.Statement): string[] {
  return statement.columns().map(column => column.name);
}

/** A row as an object; of columns with equal names the last counts. Undefined where a value may have been rounded. */
function toObject(names: readonly string[], values: SqlRowArray): SqlRow | undefined {
  const row: SqlRow = {};
  for (let index = 0; index < names.length; index++) {
    const value = values[index]!;
    if (isLarge(value)) return undefined;
    row[names[index]!] = value;
  }
  return row;
}

/** Stepping costs about a tenth more than better-sqlite3's all(), and never holds more than `maxRows`. */
function collect(statement: Database.Statement, bound: readonly unknown[], maxRows: number): Row[] {
  const rows: Row[] = [];
  for (const row of statement.iterate(...bound)) {
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
