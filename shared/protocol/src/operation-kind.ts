import type { WireRowsOperation } from './import-rows.ts';
import type { WireStepsOperation } from './steps.ts';
import type {
  WireOperation,
  WireScriptOperation,
  WireStatementOperation,
  WireTransactionOperation,
  WriteJobMessage,
} from './write-job.ts';

/*
 * The one place that decodes which kind of write an operation is:
 *
 *   w  rows of an import    t  transaction    x  script    q  steps    none of them: one statement
 */

export type OperationKind = 'statement' | 'transaction' | 'script' | 'steps' | 'rows';

/** What to do with each kind of write. A new kind of write is a new member here: each use has to decide. */
export interface OperationCases<Result, Context = undefined> {
  statement(op: WireStatementOperation, context: Context): Result;
  transaction(op: WireTransactionOperation, context: Context): Result;
  script(op: WireScriptOperation, context: Context): Result;
  steps(op: Extract<WireOperation, WireStepsOperation>, context: Context): Result;
  rows(op: Extract<WireOperation, WireRowsOperation>, context: Context): Result;
}

/** The kind of a write; undefined for what no SDK sends, and is no write at all. */
export function kindOfOperation(op: unknown): OperationKind | undefined {
  if (op === null || typeof op !== 'object') return undefined;
  if ('w' in op) return 'rows';
  if ('t' in op) return 'transaction';
  if ('x' in op) return 'script';
  return 'q' in op ? 'steps' : 'statement';
}

/**
 * Does what `cases` has for the kind of the write.
 * @throws TypeError for what is no write at all
 */
export function matchOperation<Result>(op: WireOperation, cases: OperationCases<Result>): Result;
export function matchOperation<Result, Context>(
  op: WireOperation,
  cases: OperationCases<Result, Context>,
  context: Context,
): Result;
export function matchOperation<Result, Context>(
  op: WireOperation,
  cases: OperationCases<Result, Context>,
  context?: Context,
): Result {
  const kind = kindOfOperation(op);
  if (kind === undefined) throw new TypeError('A write is an object.');
  // The compiler cannot see that the kind decides the type.
  return (cases[kind] as (op: WireOperation, context: Context | undefined) => Result)(op, context);
}

/** Index of a statement's text. Checked, because any producer may have written the operation. */
const SQL_INDEX: OperationCases<unknown, number> = {
  statement: op => op.s,
  transaction: (op, statement) => op.t?.[statement]?.s,
  script: op => op.x,
  steps: (op, statement) => op.q?.[statement]?.s,
  rows: op => (Array.isArray(op.w) ? op.w.find(row => row !== 0)?.[0] : undefined),
};

/**
 * The SQL text of a write, for people; of a transaction or of steps that of one statement.
 * @param index of the write in its job
 * @param statement default: the first
 * @returns '' where there is none, also in a message that no SDK sends
 */
export function sqlOfWrite(
  { sql, ops }: Pick<WriteJobMessage, 'sql' | 'ops'>,
  index: number,
  statement = 0,
): string {
  const op = ops[index];
  if (op === undefined || kindOfOperation(op) === undefined) return '';
  const at = matchOperation(op, SQL_INDEX, statement);
  const text: unknown = typeof at === 'number' ? sql[at] : undefined;
  return typeof text === 'string' ? text : '';
}
