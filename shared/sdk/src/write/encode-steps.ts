import {
  classifyStep,
  type ErrorDetails,
  LIMITS,
  OnewriterError,
  readCondition,
  type StepClass,
  splitScript,
  TRANSACTION_ID_PATTERN,
  toWireError,
} from '@onewriter/protocol';
import type { Step, StepError, StepsRequest } from '../steps-types.ts';
import {
  atStatement,
  type EncodedWrite,
  encodeBindings,
  encodeOrigin,
  type OperationFlags,
} from './encoded-write.ts';
import { encodeRows } from './import-pieces.ts';
import { assertParameters } from './parameters.ts';

/*
 * How a request travels:
 *
 *   with other writes      where its steps can run in a savepoint of their common transaction
 *   in a job of its own    (b) it may leave a transaction open, or set something of the connection
 *   before all that waits  (s) it continues the open transaction
 */

/**
 * Encodes a request of steps.
 * @param timeoutMs how long its caller waits.
 * @throws OnewriterError INVALID_ARGUMENT, INVALID_VALUE, STATEMENT_TOO_LARGE; TypeError. A statement that is not allowed is
 * not refused here: that is its step's error.
 */
export function encodeSteps(
  request: StepsRequest,
  timeoutMs: number,
  origin: Pick<OperationFlags, 'requestId' | 'sender'> = {},
): EncodedWrite {
  const { steps, transaction, interactive, foreignKeys, expectCommitSeq, expectIncarnation, readOnly } =
    request;
  if (!Array.isArray(steps) || steps.length === 0) throw invalid('steps() takes at least one step.');
  if (steps.length > LIMITS.maxSteps) {
    throw tooLarge(`${steps.length} steps; at most ${LIMITS.maxSteps} are allowed`, {
      maxSteps: LIMITS.maxSteps,
    });
  }
  if (transaction !== undefined && !TRANSACTION_ID_PATTERN.test(transaction)) {
    throw invalid('transaction is the id of an open transaction.');
  }
  if (expectCommitSeq !== undefined && !Number.isSafeInteger(expectCommitSeq)) {
    throw invalid('expectCommitSeq is a whole number.');
  }
  if (expectIncarnation !== undefined && !/^[0-9a-f]*$/.test(expectIncarnation)) {
    throw invalid('expectIncarnation is the id of an incarnation.');
  }
  if (foreignKeys !== undefined && foreignKeys !== 'on' && foreignKeys !== 'off') {
    throw invalid("foreignKeys is 'on' or 'off'.");
  }
  const rests = steps.map((step, index) => {
    try {
      return encodeRest(step, steps.length);
    } catch (error) {
      throw atStatement(error, index);
    }
  });
  const isRead = readOnly !== undefined;
  if (isRead && (transaction !== undefined || interactive || foreignKeys !== undefined)) {
    throw invalid('readOnly is not for steps of a transaction of the writer.');
  }
  const alone = isRead
    ? undefined
    : transaction !== undefined
      ? 's'
      : mustRunAlone(request)
        ? 'b'
        : undefined;
  const suffix =
    (alone === 'b' ? `,"by":${Date.now() + timeoutMs}` : '') +
    (transaction === undefined ? '' : `,"tx":"${transaction}"`) +
    (interactive ? ',"i":1' : '') +
    (readOnly === 'inside' ? ',"rt":1' : '') +
    (foreignKeys === undefined ? '' : `,"fk":${foreignKeys === 'on' ? 1 : 0}`) +
    (expectCommitSeq === undefined ? '' : `,"at":${expectCommitSeq}`) +
    (expectIncarnation === undefined ? '' : `,"in":"${expectIncarnation}"`) +
    encodeOrigin(origin);
  let operationBytes = rests.reduce((sum, rest) => sum + Buffer.byteLength(rest) + 12, 64 + suffix.length);
  // After the texts of the steps those of imported rows.
  const sql = steps.map(({ sql, refused }) => (refused === undefined ? sql : ''));
  const pieces = steps.map(({ importRows }) => {
    if (importRows === undefined) return undefined;
    const rows = encodeRows(importRows, true);
    const from = sql.length;
    sql.push(...rows.sql);
    operationBytes += rows.bytes;
    return (indexes: readonly number[]) => `,"w":${rows.format(indexes.slice(from, from + rows.sql.length))}`;
  });
  const sqlBytes = [...new Set(sql)].reduce((sum, text) => sum + text.length, 0);
  if (operationBytes + sqlBytes > LIMITS.maxOperationBytes) {
    throw tooLarge(`over ${LIMITS.maxOperationBytes} bytes, encoded`, {
      maxOperationBytes: LIMITS.maxOperationBytes,
    });
  }
  const format = (indexes: readonly number[]) =>
    `{"q":[${rests.map((rest, index) => `{"s":${indexes[index]}${rest}${pieces[index]?.(indexes) ?? ''}}`).join(',')}]${suffix}}`;
  if (isRead) return { sql, format, operationBytes, sqlBytes, isRead };
  return { sql, format, operationBytes, sqlBytes, alone, live: alone === 'b' && interactive === true };
}

/** The members of a WireStep after its index. */
function encodeRest(step: Step, steps: number): string {
  if (step === null || typeof step !== 'object') throw new TypeError('A step is an object.');
  if (typeof step.sql !== 'string') throw new TypeError('A step has its SQL text in sql.');
  const condition = step.condition === undefined ? undefined : readCondition(step.condition, steps);
  const conditionJson = condition === undefined ? '' : `,"c":${JSON.stringify(condition)}`;
  if (step.refused !== undefined) return `,"e":${encodeRefusal(step.refused)}${conditionJson}`;
  return (
    encodeBindings(assertParameters(step.params)) +
    (step.script ? ',"x":1' : '') +
    (step.rows === false ? ',"n":1' : '') +
    (step.describe ? ',"d":1' : '') +
    conditionJson
  );
}

function encodeRefusal({ code, message, sqliteCode }: StepError): string {
  return JSON.stringify(toWireError(new OnewriterError(code, message, { sqliteCode })));
}

function mustRunAlone({ steps, interactive, foreignKeys, expectCommitSeq }: StepsRequest): boolean {
  if (expectCommitSeq !== undefined || foreignKeys === 'off') return true;
  // Thousands of steps may have one text, and classifying it takes longer for a longer one.
  const known = { script: new Set<string>(), statement: new Set<string>() };
  return steps.some(step => {
    const seen = step.script ? known.script : known.statement;
    if (step.refused !== undefined || seen.has(step.sql)) return false;
    seen.add(step.sql);
    const kinds = step.kinds ?? classifyAll(step).map(({ kind }) => kind);
    return kinds.some(kind => isForAlone(kind, interactive === true));
  });
}

/** A savepoint outside a transaction begins one; a PRAGMA of the connection has no effect inside one. */
function isForAlone(kind: StepClass['kind'], interactive: boolean): boolean {
  if (kind === 'begin') return interactive;
  return kind === 'savepoint' || kind === 'release' || kind === 'rollback-to' || kind === 'session';
}

/** Nothing for what the rules refuse: it does not run. */
function classifyAll({ sql, script }: Step): readonly StepClass[] {
  try {
    return (script ? splitScript(sql) : [sql]).map(classifyOne);
  } catch {
    return [];
  }
}

function classifyOne(sql: string): StepClass {
  try {
    return classifyStep(sql);
  } catch {
    return { kind: 'malformed' };
  }
}

function invalid(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}

function tooLarge(what: string, details: ErrorDetails): OnewriterError {
  return new OnewriterError('STATEMENT_TOO_LARGE', `The request is ${what}; split it.`, details);
}
