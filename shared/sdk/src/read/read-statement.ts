import {
  OnewriterError,
  parametersOf,
  type SqlValue,
  type StatementParameters,
  toExactInteger,
} from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import { toRowObject } from '../settle/decode-result.ts';
import type { SqlRow, SqlRowArray } from '../types.ts';
import type { BoundParameters } from '../write/parameters.ts';

/*
 * Integers are 64 bits wide in SQLite and exact to 2^53 as numbers. Reading all of them as bigint is exact and slow,
 * so a statement is read with numbers first; if a value is so large that it may have been rounded, the statement is
 * read again with bigints, those that fit become numbers, and from then on this statement is always read that way.
 */

type Row = SqlRow | SqlRowArray;

/*
 * Names of columns come from the schema (`SELECT name` gives `Name` where the table says so, `rowid` the name of the
 * key), and SQLite compiles a statement again without a word when the schema has changed. To ask for the names after
 * each run would cost more than the run. So they are looked at once in a turn of the event loop, after the run: that a
 * change was committed can only be learnt in a later turn. Within a turn rows come as arrays, and the objects are made
 * here, which is faster than better-sqlite3's way, whose objects are of V8's slow kind.
 */

/** A compiled read on one connection. */
export class ReadStatement {
  /** Whether it can be answered without the tables that the file had when it was compiled. */
  readonly mayOutliveSchema: boolean;
  readonly #compile: () => Database.Statement;
  readonly #parameters: StatementParameters;
  /** Gives rows as arrays, unless {@link #getNamed} is at work. */
  readonly #fast: Database.Statement;
  #exact: Database.Statement | undefined;
  #exactAlways = false;
  #columns = new Columns([]);
  /** The turn in which {@link #columns} was last seen to be right. */
  #columnsTurn: number | undefined;

  /**
   * @param compile compiles it; called a second time where integers are to be exact
   * @throws better-sqlite3's errors
   */
  constructor(compile: () => Database.Statement, mayOutliveSchema = false) {
    this.mayOutliveSchema = mayOutliveSchema;
    this.#compile = compile;
    this.#fast = compile();
    this.#parameters = parametersOf(this.#fast.source);
    if (!this.#fast.reader) throw new TypeError('This statement does not return data.');
    this.#fast.raw(true);
  }

  /**
   * The first row.
   * @param turn a number that changes with each turn of the event loop
   */
  get(params: BoundParameters, turn: number): SqlRow | undefined {
    const bound = this.#parameters.toArguments(params);
    if (!this.#exactAlways) {
      if (turn !== this.#columnsTurn) return this.#getInNewTurn(bound, turn);
      const values = getFirst(this.#fast, bound) as SqlRowArray | undefined;
      if (values === undefined) return undefined;
      const object = this.#columnsAfter(this.#fast, values, turn).toExactObject(values);
      if (object !== undefined) return object;
    }
    return this.#getExact(bound, turn);
  }

  /** All rows. @param turn as of {@link get} @throws OnewriterError RESULT_TOO_LARGE over `maxRows` */
  all(params: BoundParameters, maxRows: number, turn: number): SqlRow[] {
    const bound = this.#parameters.toArguments(params);
    if (!this.#exactAlways) {
      const objects = this.#collectObjects(bound, maxRows, turn);
      if (objects !== undefined) return objects;
    }
    const exact = this.#toExact();
    const rows = collect(exact, bound, maxRows);
    if (rows.length === 0) return [];
    const columns = this.#columnsAfter(exact, rows[0]!, turn);
    return rows.map(row => columns.toObject(narrow(row)));
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
    const bound = this.#parameters.toArguments(params);
    if (safeIntegers) {
      this.#exact ??= this.#prepareExact();
      const rows = collect(this.#exact, bound, maxRows);
      return { columns: namesOf(this.#exact), rows };
    }
    if (!this.#exactAlways) {
      const rows = collect(this.#fast, bound, maxRows);
      if (!rows.some(isRounded)) return { columns: namesOf(this.#fast), rows };
    }
    const exact = this.#toExact();
    const rows = collect(exact, bound, maxRows);
    for (const row of rows) narrow(row);
    return { columns: namesOf(exact), rows };
  }

  /** The rows one after the other, always exact: it cannot start again when a large integer comes. */
  *iterate(params: BoundParameters): Generator<SqlRow, void, undefined> {
    const exact = this.#toExact();
    let columns: Columns | undefined;
    for (const values of exact.iterate(...this.#parameters.toArguments(params)) as Iterable<SqlRowArray>) {
      columns ??= new Columns(namesOf(exact));
      yield columns.toObject(narrow(values));
    }
  }

  #getInNewTurn(bound: readonly unknown[], turn: number): SqlRow | undefined {
    if (this.#columns.showInObjects) {
      const row = this.#getNamed(bound);
      if (row === undefined) return undefined;
      const object = this.#columns.toExactObjectIfNamed(row);
      if (object !== undefined) {
        this.#columnsTurn = turn;
        return object;
      }
    }
    // Other names, or a large integer: it is read again.
    const values = getFirst(this.#fast, bound) as SqlRowArray | undefined;
    if (values === undefined) return undefined;
    return this.#columnsAfter(this.#fast, values, turn).toExactObject(values) ?? this.#getExact(bound, turn);
  }

  /** The first row as better-sqlite3 names it: to compare the names so costs a tenth of asking for them. */
  #getNamed(bound: readonly unknown[]): SqlRow | undefined {
    this.#fast.raw(false);
    try {
      return getFirst(this.#fast, bound) as SqlRow | undefined;
    } finally {
      this.#fast.raw(true);
    }
  }

  #getExact(bound: readonly unknown[], turn: number): SqlRow | undefined {
    const exact = this.#toExact();
    const values = getFirst(exact, bound) as SqlRowArray | undefined;
    return values && this.#columnsAfter(exact, values, turn).toObject(narrow(values));
  }

  /** Undefined where a value may be an integer that was rounded. */
  #collectObjects(bound: readonly unknown[], maxRows: number, turn: number): SqlRow[] | undefined {
    const rows = collect(this.#fast, bound, maxRows) as Row[];
    if (rows.length === 0) return [];
    const columns = this.#columnsAfter(this.#fast, rows[0] as SqlRowArray, turn);
    // In place: the array is this method's own.
    for (let index = 0; index < rows.length; index++) {
      const object = columns.toExactObject(rows[index] as SqlRowArray);
      if (object === undefined) return undefined;
      rows[index] = object;
    }
    return rows as SqlRow[];
  }

  /** The columns of a row that the statement just gave: the names are asked for only now, see above. */
  #columnsAfter(statement: Database.Statement, row: SqlRowArray, turn: number): Columns {
    if (turn !== this.#columnsTurn || row.length !== this.#columns.names.length) {
      const names = namesOf(statement);
      if (!this.#columns.areNamed(names)) this.#columns = new Columns(names);
      this.#columnsTurn = turn;
    }
    return this.#columns;
  }

  #toExact(): Database.Statement {
    this.#exactAlways = true;
    this.#exact ??= this.#prepareExact();
    return this.#exact;
  }

  #prepareExact(): Database.Statement {
    return this.#compile().raw(true).safeIntegers(true);
  }
}

/** The names of a statement's columns, and how rows become objects with them. */
class Columns {
  readonly names: readonly string[];
  /**
   * Whether an object of better-sqlite3 shows all names, in their order. Of equal names it has one, `__proto__` it may
   * not have, and V8 puts names that are numbers first.
   */
  readonly showInObjects: boolean;
  readonly #ordinary: boolean;

  constructor(names: readonly string[]) {
    this.names = names;
    this.#ordinary = !names.includes('__proto__');
    this.showInObjects =
      names.length > 0 && this.#ordinary && isSame(Object.keys(this.toObject(names)), names);
  }

  areNamed(names: readonly string[]): boolean {
    return isSame(this.names, names);
  }

  /** A row as an object; of columns with equal names the last counts. */
  toObject(values: readonly SqlValue[]): SqlRow {
    if (!this.#ordinary) return toRowObject(this.names, values);
    const row: SqlRow = {};
    for (let index = 0; index < values.length; index++) row[this.names[index]!] = values[index]!;
    return row;
  }

  /** Undefined where a value may have been rounded. */
  toExactObject(values: SqlRowArray): SqlRow | undefined {
    if (!this.#ordinary) return values.some(isLarge) ? undefined : toRowObject(this.names, values);
    const row: SqlRow = {};
    for (let index = 0; index < values.length; index++) {
      const value = values[index]!;
      if (isLarge(value)) return undefined;
      row[this.names[index]!] = value;
    }
    return row;
  }

  /** Undefined where a value may have been rounded, or the row has other names. */
  toExactObjectIfNamed(named: SqlRow): SqlRow | undefined {
    const row: SqlRow = {};
    let index = 0;
    for (const name in named) {
      const value = named[name]!;
      if (name !== this.names[index++] || isLarge(value)) return undefined;
      row[name] = value;
    }
    return index === this.names.length ? row : undefined;
  }
}

function isSame(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((name, index) => name === right[index]);
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

/** Stepping costs about a tenth more than better-sqlite3's all(), and never holds more than `maxRows`. */
function collect(statement: Database.Statement, bound: readonly unknown[], maxRows: number): SqlRowArray[] {
  const rows: SqlRowArray[] = [];
  for (const row of statement.iterate(...bound)) {
    if (rows.length >= maxRows) {
      throw new OnewriterError(
        'RESULT_TOO_LARGE',
        `The result has more than ${maxRows} rows; use iterate(), or LIMIT.`,
        { maxRows },
      );
    }
    rows.push(row as SqlRowArray);
  }
  return rows;
}

/** Whether a value may be an integer that was rounded. */
function isRounded(row: SqlRowArray): boolean {
  return row.some(isLarge);
}

function isLarge(value: SqlValue): boolean {
  return typeof value === 'number' && (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER);
}

/** Turns bigints into numbers where that is exact, in place. */
function narrow(values: SqlRowArray): SqlRowArray {
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (typeof value === 'bigint') values[index] = toExactInteger(value);
  }
  return values;
}
