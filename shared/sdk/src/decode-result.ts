import {
  decodeValue,
  fromWireError,
  type OnewriterError,
  type SqlValue,
  toExactInteger,
  type WireOperationResult,
  type WireRows,
  type WireStatementResult,
  type WireStepsResult,
  type WireValue,
} from '@onewriter/protocol';
import type { RowMode, RowOf, RunResult, StatementResult, WriteOutcome } from './types.ts';

/** The error of a write that failed, or undefined. */
export function errorOf(result: WireOperationResult): OnewriterError | undefined {
  return 'e' in result ? fromWireError(result.e) : undefined;
}

/** Result of a write whose rows nobody wants. */
export function decodeRun(result: WireOperationResult, commitSeq: number): RunResult {
  const [changes, lastInsertRowid] = countsOf(onlyStatement(result));
  return { changes, lastInsertRowid: exactInteger(lastInsertRowid), commitSeq };
}

/** Result of a write of one statement. */
export function decodeStatement<Mode extends RowMode = 'object'>(
  result: WireOperationResult,
  commitSeq: number,
  mode: Mode,
): StatementResult<RowOf<Mode>> {
  return decodeStatementResult(onlyStatement(result), commitSeq, mode);
}

/** Results of a transaction. */
export function decodeTransaction<Mode extends RowMode = 'object'>(
  result: WireOperationResult,
  commitSeq: number,
  mode: Mode,
): StatementResult<RowOf<Mode>>[] {
  const statements = 't' in result ? result.t : [onlyStatement(result)];
  return statements.map(statement => decodeStatementResult(statement, commitSeq, mode));
}

/** Result of a write of any kind. */
export function decodeOutcome(result: WireOperationResult, commitSeq: number): WriteOutcome {
  if ('q' in result) return decodeStepsOutcome(result, commitSeq);
  if (!('t' in result)) return decodeStatement(result, commitSeq, 'object');
  const statements = decodeTransaction(result, commitSeq, 'object');
  const changes = statements.reduce((sum, statement) => sum + statement.changes, 0);
  return { changes, lastInsertRowid: statements.at(-1)?.lastInsertRowid ?? 0, commitSeq, statements };
}

/** Of steps, those that were done. */
function decodeStepsOutcome({ q, seq }: WireStepsResult, commitSeq: number): WriteOutcome {
  const done = q.flatMap(step => (step !== 0 && 'r' in step ? [step.r] : []));
  return decodeOutcome({ t: done }, seq === undefined || seq === 0 ? commitSeq : seq);
}

/** One row in the mode asked for. */
export function decodeRow<Mode extends RowMode>(
  columns: readonly string[],
  values: readonly WireValue[],
  mode: Mode,
): RowOf<Mode> {
  const decoded = values.map(decodeResultValue);
  return (mode === 'array' ? decoded : toRowObject(columns, decoded)) as RowOf<Mode>;
}

/** A row as an object; of columns with equal names the last counts, as in better-sqlite3. */
export function toRowObject(
  columns: readonly string[],
  values: readonly SqlValue[],
): Record<string, SqlValue> {
  const row: Record<string, SqlValue> = {};
  for (let index = 0; index < columns.length; index++) {
    const name = columns[index]!;
    if (name !== '__proto__') row[name] = values[index]!;
    else
      Object.defineProperty(row, name, {
        value: values[index],
        enumerable: true,
        writable: true,
        configurable: true,
      });
  }
  return row;
}

function decodeResultValue(wire: WireValue): SqlValue {
  const value = decodeValue(wire);
  return typeof value === 'bigint' ? toExactInteger(value) : value;
}

function decodeStatementResult<Mode extends RowMode>(
  result: WireStatementResult,
  commitSeq: number,
  mode: Mode,
): StatementResult<RowOf<Mode>> {
  const [changes, rowid] = countsOf(result);
  const lastInsertRowid = exactInteger(rowid);
  if (!hasRows(result)) return { changes, lastInsertRowid, commitSeq };
  const rows = result.r.map(values => decodeRow(result.c, values, mode));
  return { changes, lastInsertRowid, commitSeq, columns: result.c, rows };
}

/** A script has no statement results: nothing is known but that it committed. */
const NOTHING: WireStatementResult = Object.freeze([0, 0]) as WireStatementResult;

function onlyStatement(result: WireOperationResult): WireStatementResult {
  if ('e' in result) throw fromWireError(result.e);
  if ('q' in result) return NOTHING;
  return 't' in result ? (result.t.at(-1) ?? NOTHING) : result;
}

function hasRows(result: WireStatementResult): result is WireRows {
  return 'c' in result;
}

function countsOf(result: WireStatementResult): readonly [changes: number, lastInsertRowid: WireValue] {
  return hasRows(result) ? [result.n, result.i] : result;
}

function exactInteger(wire: WireValue): number | bigint {
  const value = decodeValue(wire);
  return typeof value === 'bigint' ? toExactInteger(value) : Number(value);
}
