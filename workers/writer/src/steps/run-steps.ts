import {
  classifyStep,
  decodeParameters,
  fromWireError,
  isMet,
  OnewriterError,
  parametersOf,
  type StepClass,
  type StepStates,
  splitScript,
  toWireError,
  type WireRowsOperation,
  type WireRowsResult,
  type WireStep,
  type WireStepsOperation,
} from '@onewriter/protocol';
import { runRows } from '../batch/run-rows.ts';
import { ShadowTables } from '../batch/shadow-tables.ts';
import { isFileError, translateError } from '../batch/sqlite-errors.ts';
import type { CompiledStatement } from '../batch/statement-cache.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { describeStep, elapsed, typesOf } from './describe-step.ts';

/*
 * Steps run one after the other; one that fails does not end the others. A StepSession decides where their transactions come
 * from:
 *
 *   SharedSession   savepoints of the transaction that a batch of writes shares       (shared-steps.ts)
 *   OwnSession      transactions of the steps' own, one of which may stay open        (own-session.ts)
 *   BlockedSession  none: another client's transaction is open on the connection      (own-steps.ts)
 *
 * Steps of a transaction that is gone are `dead`: each fails until one is ROLLBACK, so that no part of it is committed
 * separately.
 */

/** The transactions that steps run in. */
export interface StepSession {
  /** Whether no transaction of the steps is open. */
  readonly autocommit: boolean;
  /**
   * Runs a statement, and commits its changes if no transaction is open.
   * @param execute also notes its result. @param failed notes an error, before the remaining changes are committed.
   */
  statement(compiled: CompiledStatement, execute: () => void, failed: (error: unknown) => void): void;
  /** Begins, ends or structures a transaction, or sets a PRAGMA. @param done notes its result, before a commit. */
  control(step: ControlStep, sql: string, done: () => void): void;
}

/** A step that is not an ordinary statement. */
export type ControlStep = Exclude<StepClass, { readonly kind: 'statement' }>;

/** Steps done in an earlier delivery. */
export interface StepsProgress {
  /** JSON of each result. */
  readonly q: readonly string[];
  /** Statements done of the next script. */
  readonly x: number;
}

/** An error that the session could not contain: of the file, or the fence. The steps end there. */
export class StepsFailed extends Error {
  /** A COMMIT failed with an unknown outcome. */
  readonly uncertain: boolean;

  constructor(cause: unknown, uncertain = false) {
    super('The steps ended.', { cause });
    this.uncertain = uncertain;
  }
}

/** The steps cannot run in a shared transaction; they are run again, alone, with transactions of their own. */
export class OwnTransactionsNeeded extends Error {}

/** One request of steps. */
export class StepsRun implements StepStates {
  readonly #database: TenantDatabase;
  readonly #sql: readonly string[];
  readonly #op: WireStepsOperation;
  readonly #session: StepSession;
  readonly #results: string[] = [];
  readonly #ok: boolean[] = [];
  #budgetBytes: number;
  #scriptDone = 0;
  /** The statements of the current step, where it is a script. */
  #script: readonly string[] = NO_SCRIPT;
  /** The last step, and the last statement of the script, that may write. Looked for once: there may be very many PRAGMAs. */
  readonly #lastWriter = {
    step: undefined as number | undefined,
    statement: undefined as number | undefined,
  };
  #dead: boolean;

  /** @param dead the transaction they belong to is gone. @param budgetBytes bound of the results, encoded. */
  constructor(
    database: TenantDatabase,
    sql: readonly string[],
    op: WireStepsOperation,
    session: StepSession,
    budgetBytes: number,
    dead: boolean,
    progress?: StepsProgress | undefined,
  ) {
    this.#database = database;
    this.#sql = sql;
    this.#op = op;
    this.#session = session;
    this.#budgetBytes = budgetBytes;
    this.#dead = dead;
    for (const json of progress?.q ?? []) this.#note(json, json.startsWith('{"r"'));
    this.#scriptDone = progress?.x ?? 0;
  }

  isOk(step: number): boolean {
    return this.#ok[step] === true;
  }

  get autocommit(): boolean {
    return !this.#dead && this.#session.autocommit;
  }

  /** The steps done so far. */
  get progress(): StepsProgress {
    return { q: this.#results, x: this.#scriptDone };
  }

  /** @throws StepsFailed; errors of a shared session. */
  run(): void {
    const { q } = this.#op;
    for (let index = this.#results.length; index < q.length; index++) {
      const step = q[index]!;
      // Within a script the condition was met before.
      if (this.#scriptDone === 0 && step.c !== undefined && !isMet(step.c, this)) {
        this.#note('0', false);
        continue;
      }
      const startedMs = performance.now();
      this.#script = NO_SCRIPT;
      this.#lastWriter.statement = undefined;
      try {
        if (step.e !== undefined) throw fromWireError(step.e);
        if (step.d === 1) this.#describe(this.#textOf(step), startedMs);
        else if (step.w !== undefined) this.#runRows(step, step.w, startedMs);
        else if (step.x === 1) this.#runScript(this.#textOf(step), startedMs);
        else this.#runOne(this.#textOf(step), step, startedMs);
      } catch (thrown) {
        this.#failAt(index, thrown);
      }
      this.#scriptDone = 0;
    }
  }

  /** How many steps have a result; the current one, while it runs, is the next. */
  get index(): number {
    return this.#results.length;
  }

  /** Makes the error the result of earlier steps whose changes were undone. */
  undo(steps: Iterable<number>, thrown: unknown): void {
    const json = JSON.stringify({ e: toWireError(translateError(thrown)) });
    for (const step of steps) {
      if (step >= this.#results.length) continue;
      this.#results[step] = json;
      this.#ok[step] = false;
    }
  }

  /** Makes the error the result of step `index`, the current one, instead of its noted results. */
  #failAt(index: number, thrown: unknown): void {
    this.#results.length = index;
    this.#ok.length = index;
    this.#fail(thrown);
  }

  /** Whether what follows the current statement may write, or begin a transaction. */
  get mayWriteLater(): boolean {
    const last = this.#lastWriter;
    last.step ??= this.#op.q.findLastIndex(step => this.#mayWrite(step));
    last.statement ??= this.#script.findLastIndex(mayWrite);
    return last.step > this.#results.length || last.statement > this.#scriptDone;
  }

  /** Whether all remaining steps would be skipped if the transaction ended now. */
  get endsAtCommit(): boolean {
    const states: StepStates = { isOk: step => this.isOk(step), autocommit: true };
    return (
      this.#scriptDone === 0 &&
      this.#op.q.slice(this.#results.length).every(({ c }) => c !== undefined && !isMet(c, states))
    );
  }

  /** JSON of a WireStepsResult, with the remaining steps as skipped. */
  toJson(autocommit: boolean, more = ''): string {
    const skipped = Array.from({ length: this.#op.q.length - this.#results.length }, () => '0');
    return `{"q":[${[...this.#results, ...skipped].join()}],"a":${autocommit ? 1 : 0}${more}}`;
  }

  #note(json: string, ok: boolean): void {
    this.#results.push(json);
    this.#ok.push(ok);
    this.#budgetBytes -= json.length;
  }

  #fail(thrown: unknown): void {
    if (thrown instanceof StepsFailed || thrown instanceof OwnTransactionsNeeded) throw thrown;
    const error = translateError(thrown);
    if (isFileError(error)) throw new StepsFailed(thrown);
    this.#note(JSON.stringify({ e: toWireError(error) }), false);
  }

  /** Compiles a statement in the transaction, which knows the tables it made. */
  #describe(sql: string, startedMs: number): void {
    if (this.#dead) throw transactionGone();
    this.#note(describeStep(this.#database.db, sql, startedMs), true);
  }

  #runScript(script: string, startedMs: number): void {
    const statements = splitScript(script);
    this.#script = statements;
    const shadows = new ShadowTables(this.#database.db);
    while (this.#scriptDone < statements.length) {
      const statementIndex = this.#scriptDone;
      try {
        this.#runSql(
          statements[statementIndex]!,
          compiled => shadows.run(compiled, () => this.#database.runner.runForEffect(compiled)),
          () => {
            this.#scriptDone++;
          },
          sql => shadows.compile(sql),
        );
      } catch (thrown) {
        if (thrown instanceof StepsFailed || thrown instanceof OwnTransactionsNeeded) throw thrown;
        const { code, message, details, cause } = translateError(thrown);
        throw new OnewriterError(code, message, { ...details, statementIndex }, cause);
      }
    }
    this.#note(`{"r":[0,0],"ms":${elapsed(startedMs)}}`, true);
  }

  #runOne(sql: string, step: WireStep, startedMs: number): void {
    let result = '[0,0]';
    let types = '';
    // Transaction control has no parameters, and is not compiled by SQLite.
    if (step.p !== undefined && classifyStep(sql).kind !== 'statement')
      parametersOf(sql).toArguments(decodeParameters(step.p));
    this.#runSql(
      sql,
      compiled => {
        result = this.#database.runner.run(compiled, step.p, this.#budgetBytes, step.n !== 1);
        if (compiled.returnsRows) {
          types = typesOf(compiled.statement);
        }
      },
      () => this.#note(`{"r":${result}${types},"ms":${elapsed(startedMs)}}`, true),
    );
  }

  /** Runs a piece of an import. */
  #runRows(step: WireStep, piece: WireRowsOperation, startedMs: number): void {
    const place = { jobId: '', op: 0, nowMs: Date.now() };
    let inserted = 0;
    this.#runSql(
      this.#textOf(step),
      () => {
        const json = runRows(this.#database, this.#sql, piece, place, this.#budgetBytes);
        const result = JSON.parse(json) as WireRowsResult;
        inserted = 'w' in result ? result.w - (result.i ?? 0) : 0;
      },
      () => this.#note(`{"r":[${inserted},0],"ms":${elapsed(startedMs)}}`, true),
    );
  }

  /**
   * Runs one statement.
   * @param done called when it was executed, before it is committed.
   * @param compileOnce for a script: its statements are compiled when earlier ones have made the tables, and seldom
   * repeat.
   */
  #runSql(
    sql: string,
    execute: (compiled: CompiledStatement) => void,
    done: () => void,
    compileOnce?: (sql: string) => CompiledStatement,
  ): void {
    const step = classifyStep(sql);
    if (this.#dead) {
      if (step.kind !== 'rollback') throw transactionGone();
      this.#dead = false;
      done();
      return;
    }
    if (step.kind !== 'statement') {
      this.#session.control(step, sql, done);
      return;
    }
    const compiled = compileOnce?.(sql) ?? this.#database.statements.get(sql);
    const index = this.#results.length;
    this.#session.statement(
      compiled,
      () => {
        execute(compiled);
        done();
      },
      error => {
        // A script ends with its first error.
        this.#scriptDone = 0;
        this.#failAt(index, error);
      },
    );
  }

  #mayWrite(step: WireStep): boolean {
    if (step.e !== undefined || step.d === 1) return false;
    const sql = this.#textOf(step);
    return step.x === 1 ? splitScript(sql).some(mayWrite) : mayWrite(sql);
  }

  #textOf({ s }: WireStep): string {
    const text = this.#sql[s];
    if (typeof text === 'string') return text;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      'The step refers to an SQL text that the job does not carry.',
    );
  }
}

const NO_SCRIPT: readonly string[] = Object.freeze([]);

function mayWrite(sql: string): boolean {
  try {
    const step = classifyStep(sql);
    if (step.kind === 'statement') return step.statement.kind === 'write';
    return step.kind === 'begin' || step.kind === 'savepoint';
  } catch {
    return false; // refused where it is run
  }
}

function transactionGone(): OnewriterError {
  return new OnewriterError(
    'TRANSACTION_TIMEOUT',
    'The transaction is no longer open; unless a COMMIT was sent in it, none of it was applied. Roll back, and begin again.',
  );
}
