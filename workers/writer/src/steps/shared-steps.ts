import { OnewriterError, type WireStepsOperation } from '@onewriter/protocol';
import { mayDefer } from '../batch/schema-traits.ts';
import type { CompiledStatement } from '../batch/statement-cache.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { type ControlStep, OwnTransactionsNeeded, type StepSession, StepsRun } from './run-steps.ts';
import { nestedTransaction, noTransaction } from './step-refusals.ts';
import { runAtomically } from './step-savepoint.ts';

/**
 * Runs steps inside the transaction of a batch. BEGIN … COMMIT is a savepoint there, and so is each statement outside of
 * one. The difference is visible only in some cases, and then the steps are run with transactions of
 * their own: a statement that ends the whole transaction (OR ROLLBACK), savepoints and PRAGMAs of the caller, and foreign
 * keys that are deferred, because the release of a savepoint does not check them.
 *
 * @returns JSON of a WireStepsResult.
 * @throws OwnTransactionsNeeded; errors that end the batch's transaction, unchanged.
 */
export function runSharedSteps(
  database: TenantDatabase,
  sql: readonly string[],
  op: WireStepsOperation,
  budgetBytes: number,
): string {
  if (op.at !== undefined || op.fk === 0 || database.schema.deferredKeys) throw new OwnTransactionsNeeded();
  const session = new SharedSession(database);
  const run = new StepsRun(database, sql, op, session, budgetBytes, op.tx !== undefined);
  run.run();
  const { autocommit } = run;
  session.end();
  return run.toJson(autocommit, session.committed ? ',"seq":0' : '');
}

class SharedSession implements StepSession {
  /** Whether any change stays. */
  committed = false;
  readonly #database: TenantDatabase;
  #open = false;
  #readOnly = false;
  #wrote = false;

  constructor(database: TenantDatabase) {
    this.#database = database;
  }

  get autocommit(): boolean {
    return !this.#open;
  }

  statement(compiled: CompiledStatement, execute: () => void): void {
    const writes = compiled.kind === 'write';
    if (!writes) {
      execute();
      return;
    }
    if (this.#open && this.#readOnly) throw readOnlyTransaction();
    if (mayDefer(compiled)) throw new OwnTransactionsNeeded();
    try {
      runAtomically(this.#database, execute);
    } catch (error) {
      if (!this.#database.db.inTransaction) throw new OwnTransactionsNeeded();
      // OR FAIL may have left rows.
      if (!this.#open) this.committed = true;
      throw error;
    }
    if (this.#open) this.#wrote = true;
    else this.committed = true;
  }

  control(step: ControlStep, sql: string, done: () => void): void {
    const { db, stepControl } = this.#database;
    switch (step.kind) {
      case 'begin':
        if (this.#open) throw nestedTransaction();
        stepControl.transaction.run();
        this.#open = true;
        this.#readOnly = step.readOnly;
        this.#wrote = false;
        done();
        return;
      case 'commit':
        if (!this.#open) throw noTransaction('commit');
        stepControl.releaseTransaction.run();
        this.#open = false;
        this.committed ||= this.#wrote;
        done();
        return;
      case 'rollback':
        if (!this.#open) throw noTransaction('rollback');
        this.end();
        done();
        return;
      case 'malformed':
        refuseMalformed(db, sql);
        break;
      default:
        throw new OwnTransactionsNeeded();
    }
  }

  /** Rolls the open transaction back. */
  end(): void {
    if (!this.#open) return;
    this.#open = false;
    const { schema, stepControl } = this.#database;
    schema.undone();
    stepControl.rollbackToTransaction.run();
    stepControl.releaseTransaction.run();
  }
}

/** A statement that writes, in a transaction that was begun as READONLY. */
export function readOnlyTransaction(): OnewriterError {
  return new OnewriterError('SQL_ERROR', 'attempt to write a readonly database', {
    sqliteCode: 'SQLITE_READONLY',
  });
}

/** @throws SQLite's own error for transaction control that it cannot parse. */
export function refuseMalformed(db: TenantDatabase['db'], sql: string): never {
  db.prepare(sql);
  throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'This form of transaction control is not allowed.');
}
