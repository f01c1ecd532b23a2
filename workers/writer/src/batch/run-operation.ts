import {
  decodeParameters,
  kindOfOperation,
  LIMITS,
  matchOperation,
  OnewriterError,
  type OperationCases,
  parametersOf,
  planScript,
  readCondition,
  type ScriptPlan,
  splitScript,
  toWireError,
  type WireOperation,
  type WireScriptOperation,
  type WireStatement,
  type WireStep,
  type WireStepsOperation,
  type WireTransactionOperation,
  type WriteJobMessage,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { fingerprint, hasCommitSeq, type StoredKey, withCommitSeq } from '../ledger/idempotency-keys.ts';
import { OwnTransactionsNeeded, StepsFailed } from '../steps/run-steps.ts';
import { runSharedSteps } from '../steps/shared-steps.ts';
import { DanglingRows } from './dangling-rows.ts';
import { runRows } from './run-rows.ts';
import { ShadowTables } from './shadow-tables.ts';
import { isFileError, translateError } from './sqlite-errors.ts';
import { compileStatement } from './statement-cache.ts';
import { RowidInDoubt } from './statement-runner.ts';

/**
 * A write ended the transaction it shared with others (`OR ROLLBACK`, `RAISE(ROLLBACK)`, a full disk): nothing of
 * the transaction is left. The cause is the write's own error.
 */
export class TransactionEnded extends Error {
  declare readonly cause: OnewriterError;

  constructor(cause: OnewriterError) {
    super('A write ended the transaction.', { cause });
  }
}

/** The position of a write. */
export interface OperationPlace {
  readonly jobId: string;
  /** Index of the write in its job. */
  readonly op: number;
  /** ms, broker's clock. */
  readonly nowMs: number;
  /** The number of its commit. */
  readonly commitSeq: number;
  /** Whether a statement of the job may ask for `total_changes()`. */
  readonly asksTotal: boolean;
  /** It is the only write of its transaction, and {@link planForeignKeys} was followed. */
  readonly alone: boolean;
}

/**
 * Runs one write inside the open transaction, in a savepoint of its own: it succeeds whole, or leaves nothing.
 *
 * @param budgetBytes bound of its results, encoded.
 * @returns JSON of a WireOperationResult; a failure of the write itself is a result.
 * @throws TransactionEnded; OwnTransactionsNeeded; OnewriterError DATABASE_IO_ERROR, DATABASE_CORRUPT, DATABASE_READONLY, after which
 * the connection must not be used.
 */
export function runOperation(
  database: TenantDatabase,
  message: WriteJobMessage,
  place: OperationPlace,
  budgetBytes: number,
): string {
  const { runner, control, schema } = database;
  const op = message.ops[place.op];
  const single = isSingle(op);
  for (let resets = !single; ; resets = true) {
    control.savepoint.run();
    if (resets) runner.startAnew(place.asksTotal);
    else runner.startShared();
    try {
      const json = runOnce(database, message, place, budgetBytes);
      control.release.run();
      return json;
    } catch (thrown) {
      if (thrown instanceof OwnTransactionsNeeded) throw thrown;
      const error = translateError(thrown instanceof StepsFailed ? thrown.cause : thrown);
      runner.forgetLastRowid();
      schema.undone();
      if (isFileError(error)) throw error;
      if (!database.db.inTransaction) throw new TransactionEnded(error);
      try {
        // For a single statement SQLite has undone all that must be undone, and kept the rows that OR FAIL keeps. Under a key
        // nothing may stay: a failed write is not stored, so its repeat runs again.
        const keeps =
          single &&
          op?.k === undefined &&
          thrown === runner.failure &&
          thrown instanceof Database.SqliteError;
        if (!keeps) control.rollbackTo.run();
        control.release.run();
      } catch {
        // A virtual table can refuse it. Then the whole transaction is unreliable.
        database.rollback();
        throw new TransactionEnded(error);
      }
      if (!(thrown instanceof RowidInDoubt)) return encodeFailure(error);
    }
  }
}

/** Whether a write is one statement, which is atomic without a savepoint. */
export function isSingle(op: WireOperation | null | undefined): boolean {
  return kindOfOperation(op) === 'statement';
}

/**
 * The beginning of an error's JSON. Every error in results begins so, and nothing else does: inside a JSON string the quotes
 * would be escaped.
 */
export const FAILURE = '{"e":';

/** JSON of a failed write's result. */
export function encodeFailure(error: OnewriterError): string {
  return JSON.stringify({ e: toWireError(error) });
}

function runOnce(
  database: TenantDatabase,
  message: WriteJobMessage,
  place: OperationPlace,
  budgetBytes: number,
): string {
  const op = message.ops[place.op];
  assertShape(op);
  const context: RunContext = { database, sql: message.sql, place, budgetBytes };
  // The import's mark replaces an idempotency key.
  if (op.k === undefined || kindOfOperation(op) === 'rows') return matchOperation(op, RUN, context);
  const print = fingerprint(op, message.sql);
  const stored = database.keys.find(op.k, print);
  if (stored !== undefined) return resultOf(database, stored);
  const json = withCommitSeq(matchOperation(op, RUN, context), place.commitSeq);
  database.keys.store(op.k, print, place.jobId, place.op, place.nowMs, json);
  database.runner.forgetLastRowid();
  return json;
}

/** An older broker's stored result has no commit. The ledger knows it for a while; after that the result stays without one. */
function resultOf(database: TenantDatabase, { result, jobId }: StoredKey): string {
  if (hasCommitSeq(result)) return result;
  const commitSeq = database.ledger.find(jobId)?.commit_seq;
  return commitSeq === undefined ? result : withCommitSeq(result, commitSeq);
}

function isObject(value: unknown): boolean {
  return value !== null && typeof value === 'object';
}

/** Refuses a message that no SDK sends, before any of it is used. */
function assertShape(op: WireOperation | undefined): asserts op is WireOperation {
  const kind = kindOfOperation(op);
  if (kind === undefined) throw malformed('The write is not an object.');
  if (kind === 'steps') assertSteps((op as Partial<WireStepsOperation>).q);
  if (kind !== 'transaction') return;
  const statements = (op as Partial<WireTransactionOperation>).t;
  if (!Array.isArray(statements) || statements.length > LIMITS.maxTransactionStatements) {
    throw malformed(`A transaction has at most ${LIMITS.maxTransactionStatements} statements.`);
  }
  if (!statements.every(isObject)) throw malformed('A statement of the transaction is not an object.');
}

/** Refuses steps that no SDK sends. */
export function assertSteps(steps: unknown): void {
  if (!Array.isArray(steps) || steps.length === 0 || steps.length > LIMITS.maxSteps) {
    throw malformed(`A request has 1 to ${LIMITS.maxSteps} steps.`);
  }
  if (!steps.every(isObject)) throw malformed('A step is not an object.');
  for (const { c } of steps as WireStep[]) if (c !== undefined) readCondition(c, steps.length);
}

interface RunContext {
  readonly database: TenantDatabase;
  readonly sql: readonly string[];
  readonly place: OperationPlace;
  readonly budgetBytes: number;
}

/** How each kind of write is run. */
const RUN: OperationCases<string, RunContext> = {
  statement: (op, { database, sql, budgetBytes }) => runStatement(database, sql, op, budgetBytes),
  transaction: (op, context) => {
    const { database, sql, budgetBytes } = context;
    return runPlanned(context, textsOf(sql, op), frame =>
      runTransaction(database, sql, op.t, budgetBytes, frame),
    );
  },
  script: (op, context) => {
    const statements = textsOf(context.sql, op);
    return runPlanned(context, statements, frame => runScript(context.database, statements, frame));
  },
  steps: (op, { database, sql, budgetBytes }) => runSharedSteps(database, sql, op, budgetBytes),
  rows: (op, { database, sql, place, budgetBytes }) => runRows(database, sql, op, place, budgetBytes),
};

/** Runs statements with foreign keys as they say. */
function runPlanned(
  { database, place }: RunContext,
  statements: readonly string[],
  run: (frame: ReadonlySet<number> | undefined) => string,
): string {
  const plan = planScript(statements);
  if (plan === undefined || plan.foreignKeys === 'on') return run(plan?.frame);
  if (!place.alone) throw new OwnTransactionsNeeded();
  if (plan.foreignKeys === 'deferred') {
    database.db.pragma('defer_foreign_keys = ON'); // until the COMMIT, which checks
    return run(plan.frame);
  }
  const dangling = new DanglingRows(database.db);
  const json = run(plan.frame);
  dangling.assertNoneAdded();
  return json;
}

/**
 * What a write that runs alone does with foreign keys.
 * @returns undefined for what leaves them on; for steps, which see to it themselves; and for what fails when it is run
 */
export function planForeignKeys(
  sql: readonly string[],
  op: WireOperation | undefined,
): ScriptPlan | undefined {
  try {
    assertShape(op);
    const plan = 't' in op || 'x' in op ? planScript(textsOf(sql, op)) : undefined;
    return plan?.foreignKeys === 'on' ? undefined : plan;
  } catch (error) {
    if (error instanceof OnewriterError) return undefined;
    throw error;
  }
}

function textsOf(
  sql: readonly string[],
  op: WireTransactionOperation | WireScriptOperation,
): readonly string[] {
  // A statement without a text fails where it runs.
  return 't' in op ? op.t.map(({ s }) => String(sql[s] ?? '')) : splitScript(textAt(sql, op.x));
}

function runStatement(
  database: TenantDatabase,
  sql: readonly string[],
  statement: WireStatement,
  budgetBytes: number,
): string {
  const { runner } = database;
  const json = runner.run(database.statements.get(textAt(sql, statement.s)), statement.p, budgetBytes);
  const expected = statement.e;
  if (expected !== undefined) {
    assertExpected('changes', expected?.changes, runner.changes);
    assertExpected('rows', expected?.rows, runner.rows);
  }
  return json;
}

function runTransaction(
  database: TenantDatabase,
  sql: readonly string[],
  statements: readonly WireStatement[],
  budgetBytes: number,
  frame?: ReadonlySet<number> | undefined,
): string {
  const results: string[] = [];
  let left = budgetBytes;
  for (const [index, statement] of statements.entries()) {
    const json = atStatement(index, () =>
      frame?.has(index) ? passOver(sql, statement) : runStatement(database, sql, statement, left),
    );
    left -= Buffer.byteLength(json);
    results.push(json);
  }
  return `{"t":[${results.join()}]}`;
}

/** A statement that only says how the others are to be run. */
function passOver(sql: readonly string[], { s, p, e }: WireStatement): string {
  parametersOf(textAt(sql, s)).toArguments(p === undefined ? undefined : decodeParameters(p));
  assertExpected('changes', e?.changes, 0);
  assertExpected('rows', e?.rows, 0);
  return '[0,0]';
}

function runScript(
  database: TenantDatabase,
  statements: readonly string[],
  frame?: ReadonlySet<number> | undefined,
): string {
  const { db, runner } = database;
  // Only a dump needs to write to shadow tables, and it has a frame.
  const shadows = frame === undefined ? undefined : new ShadowTables(db);
  for (const [index, statement] of statements.entries()) {
    if (frame?.has(index)) continue;
    atStatement(index, () => {
      if (shadows === undefined) return runner.runForEffect(compileStatement(db, statement));
      const compiled = shadows.compile(statement);
      return shadows.run(compiled, () => runner.runForEffect(compiled));
    });
  }
  return '{"t":[]}';
}

/** Adds the index of its statement to an error. */
function atStatement<Result>(statementIndex: number, run: () => Result): Result {
  try {
    return run();
  } catch (thrown) {
    const error = translateError(thrown);
    throw new OnewriterError(error.code, error.message, { ...error.details, statementIndex }, error.cause);
  }
}

function assertExpected(what: string, expected: number | undefined, actual: number): void {
  if (expected === undefined || expected === actual) return;
  throw new OnewriterError('EXPECTATION_FAILED', `Expected ${expected} ${what} and got ${actual}.`, {
    expected,
    actual,
  });
}

function textAt(sql: readonly string[], index: unknown): string {
  const text = typeof index === 'number' ? sql[index] : undefined;
  if (typeof text !== 'string')
    throw malformed('The write refers to an SQL text that the job does not carry.');
  return text;
}

function malformed(message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message);
}
