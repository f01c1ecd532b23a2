import {
  decodeExactValue,
  decodeValue,
  fromWireError,
  type OnewriterError,
  type SqlValue,
  toExactInteger,
  type WireChanges,
  type WireOperationResult,
  type WireRows,
  type WireStatementResult,
  type WireStepsResult,
  type WireValue,
} from '@onewriter/protocol';
import type { RowMode, RowOf, RunResult, StatementResult, WriteOutcome } from '../types.ts';

/** The shape of rows: see RowOptions. */
export interface RowShape<Mode extends RowMode> {
  readonly mode: Mode;
  readonly safeIntegers: boolean;
}

/** Rows as most callers want them. */
export const OBJECTS = Object.freeze({ mode: 'object', safeIntegers: false } as const);

/** The error of a write that failed, or undefined. */
export function errorOf(result: WireOperationResult): OnewriterError | undefined {
  return 'e' in result ? fromWireError(result.e) : undefined;
}

/** The commit that applied a write: the one it carries, else that of its job. Decoding steps yields theirs. */
export function commitSeqOf(result: WireOperationResult, jobCommitSeq: number): number {
  if (Array.isArray(result)) return (result as WireChanges)[2] ?? jobCommitSeq;
  return ('q' in result ? undefined : (result as { readonly seq?: number }).seq) ?? jobCommitSeq;
}

/** The same result, with the time at which the replica had it, where that was waited for. */
export function withReplica<Result extends object>(
  result: Result,
  replicatedAt: number | undefined,
): Result & { readonly replicatedAt?: number } {
  return replicatedAt === undefined ? result : { ...result, replicatedAt };
}

/** Result of a write whose rows are not wanted. */
export function decodeRun(result: WireOperationResult, commitSeq: number): RunResult {
  const [changes, lastInsertRowid] = countsOf(onlyStatement(result));
  return { changes, lastInsertRowid: exactInteger(lastInsertRowid), commitSeq };
}

/** Result of a write of one statement. */
export function decodeStatement<Mode extends RowMode = 'object'>(
  result: WireOperationResult,
  commitSeq: number,
  shape: RowShape<Mode>,
): StatementResult<RowOf<Mode>> {
  return decodeStatementResult(onlyStatement(result), commitSeq, shape);
}

/** Results of a transaction. */
export function decodeTransaction<Mode extends RowMode = 'object'>(
  result: WireOperationResult,
  commitSeq: number,
  shape: RowShape<Mode>,
): StatementResult<RowOf<Mode>>[] {
  const statements = 't' in result ? result.t : [onlyStatement(result)];
  return statements.map(statement => decodeStatementResult(statement, commitSeq, shape));
}

/** Result of a write of any kind. */
export function decodeOutcome<Mode extends RowMode>(
  result: WireOperationResult,
  commitSeq: number,
  shape: RowShape<Mode>,
): WriteOutcome<RowOf<Mode>> {
  if ('q' in result) return decodeStepsOutcome(result, commitSeq, shape);
  if ('w' in result) return { changes: result.w - (result.i ?? 0), lastInsertRowid: 0, commitSeq };
  if (!('t' in result)) return decodeStatement(result, commitSeq, shape);
  const statements = decodeTransaction(result, commitSeq, shape);
  const changes = statements.reduce((sum, statement) => sum + statement.changes, 0);
  return { changes, lastInsertRowid: statements.at(-1)?.lastInsertRowid ?? 0, commitSeq, statements };
}

/** Results of the steps that ran. */
function decodeStepsOutcome<Mode extends RowMode>(
  { q, seq }: WireStepsResult,
  commitSeq: number,
  shape: RowShape<Mode>,
): WriteOutcome<RowOf<Mode>> {
  const done = q.flatMap(step => (step !== 0 && 'r' in step ? [step.r] : []));
  return decodeOutcome({ t: done }, seq === undefined || seq === 0 ? commitSeq : seq, shape);
}

/** One row in the mode asked for. @param decode default: integers become numbers where that is exact */
export function decodeRow<Mode extends RowMode>(
  columns: readonly string[],
  values: readonly WireValue[],
  mode: Mode,
  decode: (value: WireValue) => SqlValue = decodeResultValue,
): RowOf<Mode> {
  const decoded = values.map(decode);
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
  { mode, safeIntegers }: RowShape<Mode>,
): StatementResult<RowOf<Mode>> {
  const [changes, rowid] = countsOf(result);
  const lastInsertRowid = exactInteger(rowid);
  if (!hasRows(result)) return { changes, lastInsertRowid, commitSeq };
  const decode = safeIntegers ? decodeExactValue : decodeResultValue;
  const rows = result.r.map(values => decodeRow(result.c, values, mode, decode));
  return { changes, lastInsertRowid, commitSeq, columns: result.c, rows };
}

/** A script has no statement results: nothing is known but that it committed. */
const NOTHING: WireStatementResult = Object.freeze([0, 0]) as WireStatementResult;

function onlyStatement(result: WireOperationResult): WireStatementResult {
  if ('e' in result) throw fromWireError(result.e);
  if ('q' in result || 'w' in result || 'm' in result) return NOTHING;
  return 't' in result ? (result.t.at(-1) ?? NOTHING) : result;
}

function hasRows(result: WireStatementResult): result is WireRows {
  return 'c' in result;
}

function countsOf(result: WireStatementResult): readonly [changes: number, lastInsertRowid: WireValue] {
  return hasRows(result) ? [result.n, result.i] : [result[0], result[1]];
}

function exactInteger(wire: WireValue): number | bigint {
  const value = decodeValue(wire);
  return typeof value === 'bigint' ? toExactInteger(value) : Number(value);
}
