import { OnewriterError } from '@onewriter/protocol';
import { classifyOne, classifyScript } from './classify-text.ts';
import { mapSteps } from './conditions.ts';
import { type HranaError, RequestError, StaticError, toHranaError, toStepError } from './hrana-error.ts';
import {
  BOTH_KINDS,
  type Classify,
  classifyText,
  kindsOf,
  type PreparedBatch,
  type PreparedRequest,
  type PreparedStatement,
  type PreparedText,
  resultOf,
  tooMany,
} from './prepare-body.ts';
import type { SqlStore } from './sql-store.ts';
import type { StatementKind } from './statement-kind.ts';
import type { Step } from './steps.ts';
import { MAX_STEPS } from './wire.ts';

/** A step, and what it asks for: of a script, each of its statements. */
export interface PlannedStep extends Step {
  readonly classes: readonly StatementKind[];
}

const READ = classifyOne('SELECT 1');

/** How a request is answered once the steps have run. `first` and `count` say which of them are its own. */
export type AnswerPlan =
  | { readonly type: 'failed'; readonly request: PreparedRequest['type']; readonly error: HranaError }
  | { readonly type: 'empty'; readonly request: 'close' | 'store_sql' | 'close_sql' }
  | { readonly type: 'execute'; readonly first: number }
  | { readonly type: 'sequence'; readonly first: number }
  | { readonly type: 'get_autocommit'; readonly first: number }
  | { readonly type: 'describe'; readonly first: number; readonly sql: string }
  /** Preparing such a statement may be doing it; it has no columns. */
  | { readonly type: 'described' }
  | { readonly type: 'batch'; readonly first: number; readonly count: number };

/** Steps and answers of one HTTP request. */
export interface RequestPlan {
  readonly steps: readonly PlannedStep[];
  /** One per request. */
  readonly answers: readonly AnswerPlan[];
  /** The stream ends with this request. */
  readonly closes: boolean;
}

/**
 * Turns requests into steps, and stores and forgets the SQL texts that they name.
 * @throws StaticError
 */
export function compileRequests(requests: readonly PreparedRequest[], store: SqlStore): RequestPlan {
  const steps: PlannedStep[] = [];
  const answers: AnswerPlan[] = [];
  let closes = false;
  for (const request of requests) {
    if (closes) throw new StaticError('A close request must be the last one.');
    closes = request.type === 'close';
    const first = steps.length;
    try {
      answers.push(compileRequest(request, store, steps));
    } catch (error) {
      steps.length = first;
      answers.push({ type: 'failed', request: request.type, error: asRequestError(error) });
    }
    if (steps.length > MAX_STEPS) throw tooMany(steps.length, 'statements', MAX_STEPS);
  }
  return { steps, answers, closes };
}

/** The steps of a cursor. @throws StaticError, RequestError, OnewriterError */
export function compileBatch(batch: PreparedBatch, store: SqlStore): PlannedStep[] {
  const steps: PlannedStep[] = [];
  addBatch(batch, store, steps);
  return steps;
}

/** @returns the error to answer in a request's place. @throws what is not about one request */
export function asRequestError(error: unknown): HranaError {
  if (error instanceof RequestError) return { message: error.message, code: error.code };
  if (error instanceof OnewriterError && !(error instanceof StaticError))
    return toHranaError(toStepError(error));
  throw error;
}

function compileRequest(request: PreparedRequest, store: SqlStore, steps: PlannedStep[]): AnswerPlan {
  const first = steps.length;
  switch (request.type) {
    case 'close':
      return { type: 'empty', request: 'close' };
    case 'store_sql':
      store.add(request.sql_id, request.sql);
      return { type: 'empty', request: 'store_sql' };
    case 'close_sql':
      store.remove(request.sql_id);
      return { type: 'empty', request: 'close_sql' };
    case 'execute':
      if (request.statement.hasBothKinds)
        throw new RequestError('ARGS_BOTH_POSITIONAL_AND_NAMED', BOTH_KINDS);
      steps.push(planStatement(request.statement, store));
      return { type: 'execute', first };
    case 'batch':
      addBatch(request.batch, store, steps);
      return { type: 'batch', first, count: steps.length - first };
    case 'sequence': {
      const { sql, kinds } = readText(request.text, store, classifyScript);
      steps.push({ sql, script: true, classes: kinds });
      return { type: 'sequence', first };
    }
    case 'describe': {
      const { sql, kinds } = readText(request.text, store, classifyText);
      const known = kinds[0]!;
      if (!['statement', 'refused', 'malformed'].includes(known.kind)) return { type: 'described' };
      steps.push({ sql, describe: true, classes: [known.kind === 'refused' ? known : READ] });
      return { type: 'describe', first, sql };
    }
    case 'get_autocommit':
      // Whether this runs is the answer, wherever in the pipeline it stands.
      steps.push({
        sql: 'SELECT 1',
        rows: false,
        condition: { type: 'is_autocommit' },
        classes: [READ],
      });
      return { type: 'get_autocommit', first };
    default:
      return request satisfies never;
  }
}

function addBatch(batch: PreparedBatch, store: SqlStore, steps: PlannedStep[]): void {
  const offset = steps.length;
  if (batch.count > MAX_STEPS) {
    // Reported in its place: nothing of a malformed batch runs, and a client shows the message.
    const { code, message, details } = tooMany(batch.count, 'statements', MAX_STEPS);
    throw new OnewriterError(code, message, details);
  }
  for (const { condition, statement } of batch.steps) {
    const own = resultOf(condition);
    const shifted =
      own === undefined ? undefined : mapSteps(own, (type, step) => ({ type, step: step + offset }));
    steps.push({ ...planStatement(statement, store), condition: shifted });
  }
}

function planStatement({ text, rows, params, refused }: PreparedStatement, store: SqlStore): PlannedStep {
  const { sql, kinds } = readText(text, store, classifyText);
  const step = { sql, rows, classes: kinds };
  return refused === undefined ? { ...step, params } : { ...step, refused };
}

/** A text, which may be one that the stream has. @throws StaticError, RequestError; as {@link classifyOne} */
function readText(
  { sql, sqlId, kinds }: PreparedText,
  store: SqlStore,
  classify: Classify,
): { readonly sql: string; readonly kinds: readonly StatementKind[] } {
  if (sql != null && sqlId != null) throw new StaticError('A statement has either sql or sql_id.');
  if (sql != null) return { sql, kinds: kindsOf(kinds!) };
  if (sqlId == null) throw new StaticError('A statement needs sql or sql_id.');
  const stored = store.get(sqlId);
  if (stored === undefined) throw new RequestError('SQL_NOT_FOUND', `There is no stored SQL text ${sqlId}.`);
  return { sql: stored, kinds: kindsOf(store.classified(sqlId, classify)) };
}
