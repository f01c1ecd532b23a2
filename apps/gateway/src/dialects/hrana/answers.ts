import { parametersOf, type SqlValue } from '@onewriter/protocol';
import type { StepPiece } from '../../reads/read-steps.ts';
import type { AnswerPlan } from './compile-requests.ts';
import { type HranaError, toHranaError } from './hrana-error.ts';
import type { StepColumn, StepResult } from './steps.ts';
import { encodeHranaValue, type HranaValue, toHranaJson } from './values.ts';

const ROWS_AT_ONCE = 500;

type Done = Extract<StepResult, { type: 'ok' }>;

/** Result of a statement. The key last_insert_rowid is always there: some clients decode strictly. */
interface StatementAnswer {
  readonly cols: readonly StepColumn[];
  readonly rows: readonly (readonly HranaValue[])[];
  readonly affected_row_count: number;
  readonly last_insert_rowid: string | null;
  /** Rows that it returned, and rows that it changed: SQLite's counts of what it looked at are out of better-sqlite3's reach. */
  readonly rows_read: number;
  readonly rows_written: number;
  readonly query_duration_ms: number;
}

/** One entry of a pipeline's `results`. */
export type StreamResult =
  | { readonly type: 'ok'; readonly response: { readonly type: string; readonly [field: string]: unknown } }
  | { readonly type: 'error'; readonly error: HranaError };

/** The answers to a pipeline's requests. @param results of the steps of all of them */
export function toStreamResults(
  answers: readonly AnswerPlan[],
  results: readonly StepResult[],
): readonly StreamResult[] {
  return answers.map(answer => toStreamResult(answer, results));
}

function toStreamResult(answer: AnswerPlan, results: readonly StepResult[]): StreamResult {
  switch (answer.type) {
    case 'failed':
      return { type: 'error', error: answer.error };
    case 'empty':
      return ok({ type: answer.request });
    case 'batch':
      return ok({
        type: 'batch',
        result: toBatchAnswer(results.slice(answer.first, answer.first + answer.count)),
      });
    case 'get_autocommit':
      return ok({ type: 'get_autocommit', is_autocommit: results[answer.first]!.type === 'ok' });
    case 'described':
      return ok({
        type: 'describe',
        result: { params: [], cols: [], is_explain: false, is_readonly: true },
      });
    case 'execute':
    case 'sequence':
    case 'describe': {
      const result = results[answer.first]!;
      if (result.type === 'error') return { type: 'error', error: toHranaError(result.error) };
      if (result.type === 'skipped') return { type: 'error', error: NOT_RUN };
      if (answer.type === 'execute') return ok({ type: 'execute', result: toStatementAnswer(result) });
      if (answer.type === 'sequence') return ok({ type: 'sequence' });
      return ok({ type: 'describe', result: toDescription(answer.sql, result) });
    }
    default:
      return answer satisfies never;
  }
}

/** A step before it was stopped, and all with it. */
const NOT_RUN: HranaError = Object.freeze({
  message: 'The statement was not run, because one before it was stopped.',
  code: 'SQLITE_ABORT',
});

function ok(response: Extract<StreamResult, { type: 'ok' }>['response']): StreamResult {
  return { type: 'ok', response };
}

function toBatchAnswer(results: readonly StepResult[]) {
  return {
    step_results: results.map(result => (result.type === 'ok' ? toStatementAnswer(result) : null)),
    step_errors: results.map(result => (result.type === 'error' ? toHranaError(result.error) : null)),
    replication_index: null,
  };
}

function toStatementAnswer(result: Done): StatementAnswer {
  return {
    cols: result.columns,
    rows: result.rows.map(toRow),
    affected_row_count: result.changes,
    last_insert_rowid: toRowid(result.lastInsertRowid),
    rows_read: result.rows.length,
    rows_written: result.changes,
    query_duration_ms: result.durationMs,
  };
}

function toRow(row: readonly SqlValue[]): readonly HranaValue[] {
  return row.map(encodeHranaValue);
}

function toRowid(rowid: number | bigint | null): string | null {
  return rowid === null ? null : String(rowid);
}

function toDescription(sql: string, { columns, readonly }: Done) {
  return {
    params: parametersOf(sql).names.map(name => ({ name })),
    cols: columns,
    is_explain: /^\s*EXPLAIN\b/i.test(sql),
    is_readonly: readonly ?? false,
  };
}

/** An entry of a cursor, as a line. A step that was skipped has none. */
function line(entry: { readonly type: string; readonly [field: string]: unknown }): string {
  return `${toHranaJson(entry)}\n`;
}

function toRowLines(rows: readonly (readonly SqlValue[])[]): string {
  return rows.map(row => line({ type: 'row', row: toRow(row) })).join('');
}

/** The lines of a cursor whose steps have run. */
export function* toCursorLines(results: readonly StepResult[]): Generator<string, void, undefined> {
  for (const [step, result] of results.entries()) {
    if (result.type === 'error') yield line({ type: 'step_error', step, error: toHranaError(result.error) });
    if (result.type !== 'ok') continue;
    yield line({ type: 'step_begin', step, cols: result.columns });
    for (let from = 0; from < result.rows.length; from += ROWS_AT_ONCE) {
      yield toRowLines(result.rows.slice(from, from + ROWS_AT_ONCE));
    }
    yield line({
      type: 'step_end',
      affected_row_count: result.changes,
      last_insert_rowid: toRowid(result.lastInsertRowid),
    });
  }
}

/** The lines of a cursor whose steps run meanwhile. */
export async function* toStreamedLines(
  pieces: AsyncIterable<StepPiece>,
): AsyncGenerator<string, void, undefined> {
  for await (const piece of pieces) {
    switch (piece.type) {
      case 'begin':
        yield line({ type: 'step_begin', step: piece.step, cols: piece.columns });
        break;
      case 'rows':
        yield toRowLines(piece.rows);
        break;
      case 'end':
        yield line({ type: 'step_end', affected_row_count: 0, last_insert_rowid: null });
        break;
      case 'error':
        yield line({ type: 'step_error', step: piece.step, error: toHranaError(piece.error) });
        break;
      default:
        piece satisfies never;
    }
  }
}

/** The line that reports that a cursor broke off. */
export function toErrorLine(error: HranaError): string {
  return line({ type: 'error', error });
}
