import {
  atParameter,
  fromWireError,
  LIMITS,
  OnewriterError,
  readCondition,
  type SqlParameters,
  type SqlValue,
  toWireError,
  type WireError,
} from '@onewriter/protocol';
import { parseJson, validate } from '../../bodies/parse-body.ts';
import { classifyOne, classifyScript } from './classify-text.ts';
import { RequestError, StaticError, toStepError } from './hrana-error.ts';
import type { StatementKind } from './statement-kind.ts';
import type { StepCondition, StepError } from './steps.ts';
import { decodeHranaValue } from './values.ts';
import {
  CursorBody,
  MAX_PIPELINE_REQUESTS,
  MAX_STEPS,
  PipelineBody,
  type StreamRequest,
  type WireBatch,
  type WireHranaValue,
  type WireStatement,
} from './wire.ts';

/*
 * What can be done with a body before its stream is known, so that another thread can do it: all that takes longer for a larger body.
 * The results go from thread to thread, so errors in them are plain objects.
 */

/** What is wrong with a part of a body. It is thrown where the part would be used: by then its stream is known. */
export type Failure =
  | { readonly type: 'request'; readonly code: string; readonly message: string }
  | { readonly type: 'static' | 'other'; readonly error: WireError };

/** The result of a part of the work, or why there is none. */
export type Attempt<Result> = { readonly result: Result } | { readonly failure: Failure };

/** What a statement is; see {@link StatementKind}. */
export type PreparedKind =
  | Exclude<StatementKind, { readonly kind: 'refused' }>
  | { readonly kind: 'refused'; readonly error: WireError };

/** An SQL text, or the number of one that the stream has. */
export interface PreparedText {
  readonly sql: string | null | undefined;
  readonly sqlId: number | null | undefined;
  /** Of a text: what its statements are. */
  readonly kinds: Attempt<readonly PreparedKind[]> | undefined;
}

/** A statement with its arguments; wrong ones are the error of its step. */
export interface PreparedStatement {
  readonly text: PreparedText;
  readonly rows: boolean;
  /** Arguments by position and by name. */
  readonly hasBothKinds: boolean;
  readonly params?: SqlParameters | undefined;
  readonly refused?: StepError | undefined;
}

/** Statements with conditions. */
export interface PreparedBatch {
  /** More than MAX_STEPS: then there are no steps. */
  readonly count: number;
  readonly steps: readonly {
    readonly condition: Attempt<StepCondition | undefined>;
    readonly statement: PreparedStatement;
  }[];
}

/** A request of a pipeline. */
export type PreparedRequest =
  | Extract<StreamRequest, { readonly type: 'close' | 'store_sql' | 'close_sql' | 'get_autocommit' }>
  | { readonly type: 'execute'; readonly statement: PreparedStatement }
  | { readonly type: 'batch'; readonly batch: PreparedBatch }
  | { readonly type: 'sequence' | 'describe'; readonly text: PreparedText };

/** The bodies of the protocol. */
export interface PreparedBodies {
  pipeline: { readonly baton: string | null | undefined; readonly requests: readonly PreparedRequest[] };
  cursor: { readonly baton: string | null | undefined; readonly batch: PreparedBatch };
}
export type HranaBodyName = keyof PreparedBodies;

const PREPARE: { readonly [Name in HranaBodyName]: (bytes: Uint8Array) => PreparedBodies[Name] } = {
  pipeline: bytes => {
    const { baton, requests } = validate(PipelineBody, parseJson(bytes, JSON.parse));
    if (requests.length > MAX_PIPELINE_REQUESTS) {
      throw tooMany(requests.length, 'requests', MAX_PIPELINE_REQUESTS);
    }
    return { baton, requests: requests.map(prepareRequest) };
  },
  cursor: bytes => {
    const { baton, batch } = validate(CursorBody, parseJson(bytes, JSON.parse));
    return { baton, batch: prepareBatch(batch) };
  },
};

/**
 * Reads a body. For 8 MB it takes up to some seconds.
 * @throws OnewriterError INVALID_ARGUMENT naming the field, STATEMENT_TOO_LARGE
 */
export function prepareHranaBody<Name extends HranaBodyName>(
  name: Name,
  bytes: Uint8Array,
): PreparedBodies[Name] {
  return PREPARE[name](bytes);
}

/** @throws what the attempt failed with */
export function resultOf<Result>(attempt: Attempt<Result>): Result {
  if ('result' in attempt) return attempt.result;
  const { failure } = attempt;
  if (failure.type === 'request') throw new RequestError(failure.code, failure.message);
  const error = fromWireError(failure.error);
  throw failure.type === 'static' ? new StaticError(error.message, error.code, error.details) : error;
}

/** How a text is classified: as one statement, or as a script. */
export type Classify = (sql: string) => readonly StatementKind[];

/** Classifies a text of one statement. @throws as {@link classifyOne} */
export function classifyText(sql: string): readonly StatementKind[] {
  return [classifyOne(sql)];
}

/** Classifies a text. */
export function classifyPrepared(sql: string, classify: Classify): Attempt<readonly PreparedKind[]> {
  return attempt(() => classify(sql).map(toPreparedKind));
}

/** What the statements of a text are. @throws as {@link classifyOne} */
export function kindsOf(kinds: Attempt<readonly PreparedKind[]>): readonly StatementKind[] {
  return resultOf(kinds).map(kind =>
    kind.kind === 'refused' ? { kind: 'refused', error: fromWireError(kind.error) } : kind,
  );
}

export function tooMany(count: number, what: string, limit: number): StaticError {
  const message = `The request has ${count} ${what}; at most ${limit} are allowed: split it.`;
  return new StaticError(message, 'STATEMENT_TOO_LARGE', { limit });
}

/** What can be done with a request before its stream is known. */
export function prepareRequest(request: StreamRequest): PreparedRequest {
  switch (request.type) {
    case 'execute':
      return { type: 'execute', statement: prepareStatement(request.stmt) };
    case 'batch':
      return { type: 'batch', batch: prepareBatch(request.batch) };
    case 'sequence':
      return { type: 'sequence', text: prepareText(request, classifyScript) };
    case 'describe':
      return { type: 'describe', text: prepareText(request, classifyText) };
    default:
      return request;
  }
}

function prepareBatch({ steps }: WireBatch): PreparedBatch {
  const count = steps.length;
  if (count > MAX_STEPS) return { count, steps: [] };
  return {
    count,
    steps: steps.map(({ condition, stmt }) => ({
      condition: attempt(() => (condition == null ? undefined : readOwnCondition(condition, count))),
      statement: prepareStatement(stmt),
    })),
  };
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
function prepareStatement(statement: WireStatement): PreparedStatement {
  const prepared = {
    text: prepareText(statement, classifyText),
    rows: statement.want_rows ?? true,
    hasBothKinds: hasBothKinds(statement),
  };
  try {
    return { ...prepared, params: readArguments(statement) };
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    return { ...prepared, refused: toStepError(error) };
  }
}

function prepareText(
  { sql, sql_id }: { readonly sql?: string | null | undefined; readonly sql_id?: number | null | undefined },
  classify: Classify,
): PreparedText {
  const isOwn = sql != null && sql_id == null;
  return { sql, sqlId: sql_id, kinds: isOwn ? classifyPrepared(sql, classify) : undefined };
}

function toPreparedKind(kind: StatementKind): PreparedKind {
  return kind.kind === 'refused' ? { kind: 'refused', error: toWireError(kind.error) } : kind;
}

function attempt<Result>(work: () => Result): Attempt<Result> {
  try {
    return { result: work() };
  } catch (error) {
    if (error instanceof RequestError) {
      return { failure: { type: 'request', code: error.code, message: error.message } };
    }
    if (!(error instanceof OnewriterError)) throw error;
    const type = error instanceof StaticError ? 'static' : 'other';
    return { failure: { type, error: toWireError(error) } };
  }
}

/** The message for arguments of both kinds. */
export const BOTH_KINDS = 'A statement has arguments either by position or by name.';

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
