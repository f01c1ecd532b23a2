import {
  encodeParameters,
  encodeSender,
  LIMITS,
  OnewriterError,
  SENDER_PATTERN,
  type SqlParameters,
  type StatementExpectation,
} from '@onewriter/protocol';
import type { SealedWrite, WriteOptions } from '../types.ts';
import { assertParameterCount } from './parameters.ts';

/*
 * A write is encoded once, when it is issued, so that a bad value is the caller's error at once, its size is known,
 * and later changes of the caller's objects do not matter. Only the indexes of its SQL texts are open until it is
 * known which writes share its job.
 */

/** One write as JSON, but for the indexes of its SQL texts in the job. */
export interface EncodedWrite {
  /** The SQL texts, in the order {@link format} wants their indexes. */
  readonly sql: readonly string[];
  /** JSON of the WireOperation. */
  format(indexes: readonly number[]): string;
  /** Size of the JSON without SQL texts, and of the texts. */
  readonly operationBytes: number;
  readonly sqlBytes: number;
  /** Set where it must have a job of its own: the first letter of the job's id. */
  readonly alone?: 'b' | 's' | undefined;
  /** It is a read for the owner of the file, and goes in a job of reads. */
  readonly isRead?: true | undefined;
  /** Whether it may begin a transaction and leave it open. */
  readonly live?: boolean | undefined;
  /** Its caller is answered when the replica has it. */
  readonly durable?: true | undefined;
  /** Set where its part of the message is made already: it goes in a job of its own, and {@link format} is not called. */
  readonly sealed?: SealedWrite | undefined;
}

/** One statement, still to be encoded. */
export interface StatementInput {
  readonly sql: string;
  readonly params: SqlParameters;
  readonly expect?: StatementExpectation | undefined;
}

/** What else is said of a write. */
export interface OperationFlags {
  readonly idempotencyKey?: string | undefined;
  /** No caller waits for the result: a failure goes to the dead letters. */
  readonly detached?: boolean | undefined;
  /** For log lines. */
  readonly requestId?: string | undefined;
  readonly sender?: string | undefined;
  /** Its caller is answered when the replica has it. */
  readonly durable?: 'replica' | undefined;
}

/**
 * Encodes a write of one statement.
 * @throws OnewriterError INVALID_VALUE, INVALID_ARGUMENT, STATEMENT_TOO_LARGE
 */
export function encodeStatement(statement: StatementInput, flags: OperationFlags): EncodedWrite {
  const write = new EncodedStatement(statement.sql, encodeRest(statement) + encodeFlags(flags));
  return isDurable(flags) ? Object.assign(write, { durable: true as const }) : write;
}

/** Most writes are one: a class makes one object of it, where closures would make four. */
class EncodedStatement implements EncodedWrite {
  readonly sql: readonly string[];
  readonly operationBytes: number;
  readonly #rest: string;

  constructor(sql: string, rest: string) {
    this.sql = [sql];
    this.operationBytes = operationBytes(rest.length, Buffer.byteLength(rest));
    this.#rest = rest;
  }

  get sqlBytes(): number {
    return this.sql[0]!.length;
  }

  format(indexes: readonly number[]): string {
    return `{"s":${indexes[0]}${this.#rest}}`;
  }
}

/**
 * Encodes a read for the owner of the file.
 * @param firstOnly only the first row is wanted
 * @throws OnewriterError INVALID_VALUE, INVALID_ARGUMENT, STATEMENT_TOO_LARGE
 */
export function encodeRead(statement: StatementInput, firstOnly: boolean): EncodedWrite {
  const rest = encodeRest(statement) + (firstOnly ? ',"f":1' : '');
  const format = (indexes: readonly number[]) => `{"s":${indexes[0]}${rest}}`;
  return { ...sized([statement.sql], rest.length, Buffer.byteLength(rest), format), isRead: true };
}

/**
 * Encodes a transaction.
 * @throws OnewriterError as {@link encodeStatement}, with `details.statementIndex`
 */
export function encodeTransaction(
  statements: readonly StatementInput[],
  flags: OperationFlags,
): EncodedWrite {
  const rests = statements.map((statement, index) => {
    try {
      return encodeRest(statement);
    } catch (error) {
      throw atStatement(error, index);
    }
  });
  const suffix = encodeFlags(flags);
  const bytes = rests.reduce((sum, rest) => sum + Buffer.byteLength(rest) + 12, Buffer.byteLength(suffix));
  const write = sized(
    statements.map(statement => statement.sql),
    bytes,
    bytes,
    indexes => `{"t":[${rests.map((rest, index) => `{"s":${indexes[index]}${rest}}`).join(',')}]${suffix}}`,
  );
  return isDurable(flags) ? { ...write, durable: true } : write;
}

/** Encodes a script. @throws OnewriterError INVALID_ARGUMENT, STATEMENT_TOO_LARGE */
export function encodeScript(script: string, flags: OperationFlags): EncodedWrite {
  const suffix = encodeFlags(flags);
  const bytes = Buffer.byteLength(suffix);
  const write = sized([script], suffix.length, bytes, indexes => `{"x":${indexes[0]}${suffix}}`);
  return isDurable(flags) ? { ...write, durable: true } : write;
}

/** The same error, telling which statement of a transaction or script it is about. */
export function atStatement(error: unknown, statementIndex: number): unknown {
  if (!(error instanceof OnewriterError) || error.details.statementIndex !== undefined) return error;
  return new OnewriterError(error.code, error.message, { ...error.details, statementIndex }, error.cause);
}

function sized(
  sql: readonly string[],
  length: number,
  bytes: number,
  format: (indexes: readonly number[]) => string,
): EncodedWrite {
  const size = operationBytes(length, bytes);
  let sqlBytes = 0;
  for (const text of sql) sqlBytes += text.length;
  return { sql, format, operationBytes: size, sqlBytes };
}

/** With room for the rest of its JSON. @throws OnewriterError STATEMENT_TOO_LARGE */
function operationBytes(length: number, bytes: number): number {
  if (length <= LIMITS.maxOperationBytes && bytes <= LIMITS.maxOperationBytes) return bytes + 16;
  throw new OnewriterError(
    'STATEMENT_TOO_LARGE',
    `The write's parameters are over ${LIMITS.maxOperationBytes} bytes, encoded; split it.`,
  );
}

/** The members of a WireStatement after its index. */
function encodeRest(statement: StatementInput): string {
  const params = encodeBindings(statement.params);
  return statement.expect === undefined ? params : `${params},"e":${encodeExpectation(statement.expect)}`;
}

/** Parameters as members of a WireStatement; '' for none. @throws OnewriterError INVALID_VALUE, INVALID_ARGUMENT */
export function encodeBindings(params: SqlParameters): string {
  assertParameterCount(params);
  // Plain values are on the wire what they are here: no copy of them is needed.
  const wire =
    Array.isArray(params) && params.length > 0 && params.every(isPlain) ? params : encodeParameters(params);
  return wire === undefined ? '' : `,"p":${JSON.stringify(wire)}`;
}

/** Whether JSON carries the value exactly; see encodeValue. */
function isPlain(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  return value === null;
}

function encodeExpectation(expect: StatementExpectation): string {
  if (expect === null || typeof expect !== 'object') throw badExpectation();
  for (const [name, value] of Object.entries(expect)) {
    if (value === undefined) continue;
    if ((name !== 'changes' && name !== 'rows') || !Number.isSafeInteger(value) || value < 0) {
      throw badExpectation();
    }
  }
  return JSON.stringify({ changes: expect.changes, rows: expect.rows });
}

function badExpectation(): OnewriterError {
  return new OnewriterError(
    'INVALID_ARGUMENT',
    'expect takes whole numbers, not negative, for changes or rows.',
  );
}

function encodeFlags(flags: OperationFlags): string {
  const key = flags.idempotencyKey;
  const detached = (flags.detached ? ',"d":1' : '') + encodeOrigin(flags);
  if (key === undefined) return detached;
  if (
    typeof key !== 'string' ||
    key.length === 0 ||
    key.length > LIMITS.maxIdempotencyKeyLength ||
    !key.isWellFormed()
  ) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `idempotencyKey must be a string of 1 to ${LIMITS.maxIdempotencyKeyLength} characters.`,
    );
  }
  return `,"k":${JSON.stringify(key)}${detached}`;
}

/** @throws OnewriterError INVALID_ARGUMENT */
function isDurable({ durable }: OperationFlags): boolean {
  if (durable === undefined) return false;
  if (durable === 'replica') return true;
  throw new OnewriterError('INVALID_ARGUMENT', "durable takes 'replica'.");
}

/** The members of an operation that hold its request's id and its sender. @throws OnewriterError INVALID_ARGUMENT */
export function encodeOrigin({ requestId, sender }: Pick<OperationFlags, 'requestId' | 'sender'>): string {
  if (sender === undefined) return encodeRequestId(requestId);
  if (typeof sender !== 'string' || !SENDER_PATTERN.test(sender))
    throw new OnewriterError('INVALID_ARGUMENT', `sender must match ${SENDER_PATTERN}.`);
  return encodeRequestId(requestId) + encodeSender(sender);
}

function encodeRequestId(id: string | undefined): string {
  if (id === undefined) return '';
  if (
    typeof id !== 'string' ||
    id.length === 0 ||
    id.length > LIMITS.maxRequestIdLength ||
    !id.isWellFormed()
  ) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `requestId must be a string of 1 to ${LIMITS.maxRequestIdLength} characters.`,
    );
  }
  return `,"r":${JSON.stringify(id)}`;
}

const NO_FLAGS: OperationFlags = Object.freeze({});

/** The flags in a caller's options. */
export function flagsOf(options: WriteOptions | undefined): OperationFlags {
  if (
    options?.idempotencyKey === undefined &&
    options?.requestId === undefined &&
    options?.sender === undefined &&
    options?.durable === undefined
  )
    return NO_FLAGS;
  const { idempotencyKey, requestId, sender, durable } = options;
  return { idempotencyKey, requestId, sender, durable };
}
