import {
  atParameter,
  LIMITS,
  OnewriterError,
  readCondition,
  type SqlParameters,
  type SqlValue,
} from '@onewriter/protocol';
import { classifyOne, classifyScript, type StatementKind } from './classify-text.ts';
import { mapSteps } from './conditions.ts';
import { type HranaError, RequestError, StaticError, toHranaError, toStepError } from './hrana-error.ts';
import type { SqlStore } from './sql-store.ts';
import type { Step, StepCondition } from './steps.ts';
import { decodeHranaValue } from './values.ts';
import {
  MAX_PIPELINE_REQUESTS,
  MAX_STEPS,
  type StreamRequest,
  type WireBatch,
  type WireHranaValue,
  type WireStatement,
} from './wire.ts';

/** A step, and what it asks for: of a script, each of its statements. */
export interface PlannedStep extends Step {
  readonly classes: readonly StatementKind[];
}

const READ = classifyOne('SELECT 1');

/** How a request is answered once the steps have run. `first` and `count` say which of them are its own. */
export type AnswerPlan =
  | { readonly type: 'failed'; readonly request: StreamRequest['type']; readonly error: HranaError }
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
export function compileRequests(requests: readonly StreamRequest[], store: SqlStore): RequestPlan {
  const steps: PlannedStep[] = [];
  const answers: AnswerPlan[] = [];
  let closes = false;
  if (requests.length > MAX_PIPELINE_REQUESTS) {
    throw tooMany(requests.length, 'requests', MAX_PIPELINE_REQUESTS);
  }
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
export function compileBatch(batch: WireBatch, store: SqlStore): PlannedStep[] {
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

function compileRequest(request: StreamRequest, store: SqlStore, steps: PlannedStep[]): AnswerPlan {
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
      if (hasBothKinds(request.stmt)) throw new RequestError('ARGS_BOTH_POSITIONAL_AND_NAMED', BOTH_KINDS);
      steps.push(planStatement(request.stmt, store));
      return { type: 'execute', first };
    case 'batch':
      addBatch(request.batch, store, steps);
      return { type: 'batch', first, count: steps.length - first };
    case 'sequence': {
      const sql = sqlOf(request, store);
      steps.push({ sql, script: true, classes: classifyScript(sql) });
      return { type: 'sequence', first };
    }
    case 'describe': {
      const sql = sqlOf(request, store);
      const known = classifyOne(sql);
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

function addBatch(batch: WireBatch, store: SqlStore, steps: PlannedStep[]): void {
  const offset = steps.length;
  if (batch.steps.length > MAX_STEPS) {
    // Reported in its place: nothing of a malformed batch runs, and a client shows the message.
    const { code, message, details } = tooMany(batch.steps.length, 'statements', MAX_STEPS);
    throw new OnewriterError(code, message, details);
  }
  for (const { condition, stmt } of batch.steps) {
    const own = condition == null ? undefined : readOwnCondition(condition, batch.steps.length);
    const shifted =
      own === undefined ? undefined : mapSteps(own, (type, step) => ({ type, step: step + offset }));
    steps.push({ ...planStatement(stmt, store), condition: shifted });
  }
}

/** A batch counts its steps from 0. */
function readOwnCondition(condition: unknown, count: number): StepCondition {
  try {
    return readCondition(condition, count);
  } catch (error) {
    throw error instanceof OnewriterError ? new StaticError(error.message) : error;
  }
}

/** Wrong arguments are the error of their step: the steps after it run, or not, as where SQLite refuses a statement. */
function planStatement(statement: WireStatement, store: SqlStore): PlannedStep {
  const sql = sqlOf(statement, store);
  const step = { sql, rows: statement.want_rows ?? true, classes: [classifyOne(sql)] };
  try {
    return { ...step, params: readArguments(statement) };
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    return { ...step, refused: toStepError(error) };
  }
}

const BOTH_KINDS = 'A statement has arguments either by position or by name.';

function hasBothKinds({ args, named_args }: WireStatement): boolean {
  return (args ?? []).length > 0 && (named_args ?? []).length > 0;
}

/** The arguments of a statement; whether they fit it is found where it runs. @throws OnewriterError */
function readArguments(statement: WireStatement): SqlParameters | undefined {
  const { args, named_args } = statement;
  if (hasBothKinds(statement)) throw new OnewriterError('INVALID_ARGUMENT', BOTH_KINDS);
  const given = named_args?.length ? named_args : (args ?? []);
  if (given.length > LIMITS.maxParameters) {
    const { code, message, details } = tooMany(given.length, 'arguments', LIMITS.maxParameters);
    throw new OnewriterError(code, message, details);
  }
  if (!named_args?.length) return args?.map((value, index) => readValue(value, index + 1));
  return Object.fromEntries(named_args.map(({ name, value }) => [name, readValue(value, name)]));
}

/** @param parameter SQLite's number of it, from 1, or its name */
function readValue(value: WireHranaValue, parameter: number | string): SqlValue {
  try {
    return decodeHranaValue(value);
  } catch (error) {
    throw atParameter(error, parameter);
  }
}

function tooMany(count: number, what: string, limit: number): StaticError {
  const message = `The request has ${count} ${what}; at most ${limit} are allowed: split it.`;
  return new StaticError(message, 'STATEMENT_TOO_LARGE', { limit });
}

function sqlOf(
  { sql, sql_id }: { readonly sql?: string | null | undefined; readonly sql_id?: number | null | undefined },
  store: SqlStore,
): string {
  if (sql != null && sql_id != null) throw new StaticError('A statement has either sql or sql_id.');
  if (sql != null) return sql;
  if (sql_id == null) throw new StaticError('A statement needs sql or sql_id.');
  const stored = store.get(sql_id);
  if (stored !== undefined) return stored;
  throw new RequestError('SQL_NOT_FOUND', `There is no stored SQL text ${sql_id}.`);
}
