import {
  answerOfStep,
  classifyStep,
  decodeParameters,
  isOnewriterError,
  mayOutliveSchema,
  OnewriterError,
  parametersOf,
  type SqlValue,
  splitScript,
} from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import { isStepMet, type StepColumn, type StepError, type StepResult } from '../dialects/hrana/steps.ts';
import { assertSo, toExact } from './pragma-answers.ts';
import { checkSchema, prepareRead } from './prepare-read.ts';
import { toReadError } from './read-errors.ts';
import type { ReadStepTask } from './read-messages.ts';

/** Where the results of steps go. */
export interface StepSink {
  begin(step: number, columns: readonly StepColumn[]): void;
  /** Resolves when there is room for more. @throws OnewriterError RESULT_TOO_LARGE, which ends all steps */
  row(row: SqlValue[]): Promise<void> | void;
  end(durationMs: number, readonly?: boolean): void;
  error(step: number, error: StepError): void;
  /** The rest is not wanted. */
  readonly cancelled: boolean;
}

/** The connection that steps run on. */
export interface StepSource {
  readonly db: Database.Database;
  /**
   * Opens the tenant's file again where the one that is open does not count any more. Not where a transaction has a
   * snapshot of it.
   * @returns false where there was no need
   */
  renew(): boolean;
}

/**
 * Runs steps on a connection, one after the other. A step that fails ends nothing but itself.
 * @returns whether any of them has read, so that a transaction that is open now has its snapshot
 * @throws OnewriterError RESULT_TOO_LARGE
 */
export async function runSteps(
  source: StepSource,
  tenant: string,
  steps: readonly ReadStepTask[],
  sink: StepSink,
): Promise<boolean> {
  const outcomes: StepResult['type'][] = [];
  const meter = { reads: 0 };
  for (const [index, step] of steps.entries()) {
    if (sink.cancelled) break;
    if (!isStepMet(step.condition, outcomes, !source.db.inTransaction)) {
      outcomes.push('skipped');
      continue;
    }
    try {
      if (step.refused !== undefined) throw new Refused(step.refused);
      const started = performance.now();
      const readonly = await runOnCurrent(source, index, step, sink, meter);
      sink.end(performance.now() - started, readonly);
      outcomes.push('ok');
    } catch (error) {
      if (isOnewriterError(error, 'RESULT_TOO_LARGE')) throw error;
      sink.error(index, error instanceof Refused ? error.error : toStepError(error, tenant));
      outcomes.push('error');
    }
  }
  return meter.reads > 0;
}

/** Runs a step; once more where it failed because its file had been replaced, which shows before it has any result. */
async function runOnCurrent(
  source: StepSource,
  index: number,
  step: ReadStepTask,
  sink: StepSink,
  meter: { reads: number },
): Promise<boolean | undefined> {
  let begun = false;
  const watched: StepSink = {
    begin: (...args) => {
      begun = true;
      sink.begin(...args);
    },
    row: row => sink.row(row),
    end: (...args) => sink.end(...args),
    error: (...args) => sink.error(...args),
    get cancelled() {
      return sink.cancelled;
    },
  };
  // Before it: it could be answered by a file whose schema is gone.
  if (step.script || step.describe || mayOutliveSchema(step.sql)) source.renew();
  try {
    return await runStep(source.db, index, step, watched, meter);
  } catch (error) {
    if (begun || step.script || !isAboutFile(error) || !source.renew()) throw error;
    return await runStep(source.db, index, step, watched, meter);
  }
}

function isAboutFile(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_');
}

class Refused extends Error {
  readonly error: StepError;

  constructor(error: StepError) {
    super(error.message);
    this.error = error;
  }
}

function toStepError(cause: unknown, tenant: string): StepError {
  const { code, message, details } = toReadError(cause, tenant);
  return { code, message, sqliteCode: details.sqliteCode };
}

/** @returns for a described statement, whether it only reads */
async function runStep(
  db: Database.Database,
  index: number,
  step: ReadStepTask,
  sink: StepSink,
  meter: { reads: number },
): Promise<boolean | undefined> {
  if (step.script) {
    for (const sql of splitScript(step.sql))
      await runStatement(db, { sql, rows: false }, () => {}, sink, meter);
    sink.begin(index, []);
    return undefined;
  }
  if (step.describe) {
    const answer = answerOfStep(step.sql);
    if (answer !== undefined) {
      sink.begin(index, answer.columns.map(toColumn));
      return true;
    }
    // It is not run, and so would be described as it was before another process changed the schema.
    checkSchema(db);
    const statement = db.prepare(step.sql);
    sink.begin(index, columnsOf(statement));
    return statement.readonly;
  }
  await runStatement(db, step, columns => sink.begin(index, columns), sink, meter);
  return undefined;
}

async function runStatement(
  db: Database.Database,
  { sql, params, rows }: ReadStepTask,
  begin: (columns: readonly StepColumn[]) => void,
  sink: StepSink,
  meter: { reads: number },
): Promise<void> {
  const answer = answerOfStep(sql);
  if (answer !== undefined) {
    assertSo(db, answer);
    begin(answer.columns.map(toColumn));
    if (rows !== false && answer.row.length > 0) await sink.row(answer.row.map(toExact));
    return;
  }
  const statement = prepareRead<unknown[]>(db, withoutReadonly(sql));
  const values = parametersOf(sql).toArguments(decodeParameters(params));
  if (!statement.reader) {
    // SQLite takes a name after COMMIT TRANSACTION, for example; what is not known for what it is does not run.
    if (classifyStep(sql).kind === 'malformed') {
      throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'This form of transaction control is not allowed.');
    }
    statement.run(...values);
    begin([]);
    return;
  }
  meter.reads++;
  const iterator = statement
    .raw(true)
    .safeIntegers(true)
    .iterate(...values);
  try {
    // The first step compiles again where the schema has changed; only then are the columns right.
    let next = iterator.next();
    begin(columnsOf(statement));
    while (!next.done && !sink.cancelled) {
      if (rows !== false) {
        const full = sink.row(next.value as SqlValue[]);
        if (full !== undefined) await full;
      }
      next = iterator.next();
    }
  } finally {
    iterator.return?.();
  }
}

/** SQLite knows no READONLY; this connection is. */
function withoutReadonly(sql: string): string {
  if (!/readonly/i.test(sql)) return sql;
  const known = classifyStep(sql);
  return known.kind === 'begin' && known.readOnly ? 'BEGIN' : sql;
}

function toColumn(name: string): StepColumn {
  return { name, decltype: null };
}

function columnsOf(statement: Database.Statement<unknown[], unknown>): StepColumn[] {
  if (!statement.reader) return [];
  return statement.columns().map(({ name, type }) => ({ name, decltype: type }));
}
