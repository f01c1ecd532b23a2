import { isDeepStrictEqual } from 'node:util';
import type { SqlValue } from '@onewriter/protocol';

/** What a statement was answered with, by plain SQLite or through an interface. */
export type Answer = DoneAnswer | FailedAnswer | RefusedAnswer;

export interface DoneAnswer {
  readonly type: 'ok';
  /** Undefined where it returns no rows. */
  readonly columns: readonly string[] | undefined;
  /** Every INTEGER is a bigint, every REAL a number, every BLOB a Buffer. */
  readonly rows: readonly (readonly SqlValue[])[];
  readonly changes: number;
  /** From plain SQLite: each value that is right. Null, through libSQL: no row with a rowid was inserted. */
  readonly lastInsertRowid: bigint | null | readonly (bigint | null)[];
  /** Whether no transaction is open now; undefined where none can be. */
  readonly autocommit?: boolean | undefined;
}

export interface FailedAnswer {
  readonly type: 'error';
  /** SQLite's extended code; the interface's own where SQLite was not asked. */
  readonly code: string;
  readonly message: string;
}

/** A statement rule or a limit. It was not run, so plain SQLite does not run it either. */
export interface RefusedAnswer {
  readonly type: 'refused';
  readonly rule: string;
}

/** What better-sqlite3 and the interfaces say without asking SQLite, such as of a missing parameter. */
export const NOT_FROM_SQLITE = 'none of SQLite';

/** How a done or failed answer differs from plain SQLite's; undefined where it does not. */
export function compareAnswers(
  here: DoneAnswer | FailedAnswer,
  plain: DoneAnswer | FailedAnswer,
): string | undefined {
  if (here.type === 'error') {
    if (plain.type === 'ok') return `${here.code} here, ok in SQLite`;
    return here.code === plain.code ? undefined : `${here.code} here, ${plain.code} in SQLite`;
  }
  if (plain.type === 'error') return `ok here, ${plain.code} in SQLite`;
  if (!isDeepStrictEqual(here.columns, plain.columns)) return 'column names';
  if (here.rows.length !== plain.rows.length) return 'number of rows';
  if (!here.rows.every((row, index) => sameRow(row, plain.rows[index]!))) return 'values';
  if (here.changes !== plain.changes) return 'changes';
  const right = plain.lastInsertRowid;
  if (!(Array.isArray(right) ? right.includes(here.lastInsertRowid) : right === here.lastInsertRowid)) {
    return 'lastInsertRowid';
  }
  if (here.autocommit !== undefined && here.autocommit !== plain.autocommit)
    return 'whether a transaction is open';
  return undefined;
}

function sameRow(a: readonly SqlValue[], b: readonly SqlValue[]): boolean {
  return a.length === b.length && a.every((value, index) => sameValue(value, b[index]!));
}

/** Equal in class and value; 0.0 and -0.0 differ. */
export function sameValue(a: SqlValue, b: SqlValue): boolean {
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  return Object.is(a, b);
}

/** Longest text of an answer in a report. */
const MAX_SHOWN = 600;

/** An answer in one line, for people. */
export function describeAnswer(answer: Answer): string {
  return shorten(describe(answer));
}

function describe(answer: Answer): string {
  if (answer.type === 'refused') return `refused: ${answer.rule}`;
  if (answer.type === 'error') return `${answer.code}: ${answer.message}`;
  const { columns, rows, changes, lastInsertRowid } = answer;
  const open = answer.autocommit === false ? ', in a transaction' : '';
  if (columns === undefined)
    return `changes ${changes}, lastInsertRowid ${describeRowid(lastInsertRowid)}${open}`;
  const shown = rows.slice(0, 20).map(row => `(${row.map(describeValue).join(', ')})`);
  return `${columns.join(', ')}: ${rows.length} rows ${shown.join(' ')}${changes > 0 ? `, changes ${changes}` : ''}${open}`;
}

function describeRowid(rowid: DoneAnswer['lastInsertRowid']): string {
  return Array.isArray(rowid) ? rowid.map(String).join(' or ') : String(rowid);
}

function describeValue(value: SqlValue): string {
  if (typeof value === 'number')
    return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : `${value}`;
  if (typeof value === 'string') return `'${shorten(value, 100)}'`;
  if (value instanceof Uint8Array) return `x'${shorten(Buffer.from(value).toString('hex'), 100)}'`;
  return String(value);
}

/** @param limit in characters */
export function shorten(text: string, limit = MAX_SHOWN): string {
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${text.length} characters)`;
}
