import { boundMessage, fenced, OnewriterError, type SessionPragma, withoutEffect } from '@onewriter/protocol';
import { DanglingRows } from '../batch/dangling-rows.ts';
import { translateError } from '../batch/sqlite-errors.ts';
import type { CompiledStatement } from '../batch/statement-cache.ts';
import type { TenantDatabase } from '../file/tenant-database.ts';
import type { NumberedCommit } from '../ledger/ledger.ts';
import type { TransactionGrant } from '../thread/lane-task.ts';
import type { OpenTransaction } from './open-transaction.ts';
import {
  type ControlStep,
  type StepSession,
  StepsFailed,
  type StepsProgress,
  type StepsRun,
} from './run-steps.ts';
import { readOnlyTransaction, refuseMalformed } from './shared-steps.ts';
import { noTransaction, tooLate, tooManyOpen } from './step-refusals.ts';
import { runAtomically } from './step-savepoint.ts';

/*
 * Steps with transactions of their own. Each commit is exactly-once separately:
 *
 *   BEGIN IMMEDIATE · statements · SAVEPOINT · fence and commit_seq · progress so far · COMMIT
 *
 * The progress is the ledger's row of the job if nothing is left to run, else a note from which a redelivery continues after
 * this commit. A COMMIT that fails because of the transaction's content leaves it open, without its note, as SQLite does.
 *
 * A virtual table that cannot commit ends the transaction instead: "SQL logic error".
 *
 * SAVEPOINT outside a transaction begins one, and the RELEASE that matches commits it.
 *
 * Without foreign keys every COMMIT looks for rows whose parent is missing now and was not before, and is refused if there are any.
 * In the middle of a rebuild there are: so statements outside a transaction share one, the group, until foreign keys are on again
 * or the request ends. An error in it undoes all of it.
 */

/** The circumstances of steps, and the callbacks that record them. */
export interface OwnStepsOptions {
  /** Name of the transaction that may stay open; undefined: none may. */
  readonly transaction?: TransactionGrant | undefined;
  /** Too many are open: none may begin. */
  readonly full?: boolean | undefined;
  readonly progress?: StepsProgress | undefined;
  readonly budgetBytes: number;
  /**
   * Called inside the transaction before a COMMIT.
   * @param json of the WireStepsResult where nothing is left to run, else undefined.
   */
  readonly beforeCommit: (commit: NumberedCommit, json: string | undefined, progress: StepsProgress) => void;
  /** The COMMIT failed because of its content; the writes of {@link beforeCommit} are undone. */
  readonly commitFailed: () => void;
  /** It is committed. @param commitMs duration of the COMMIT. */
  readonly committed: (commitMs: number) => void;
}

/** The transactions of steps that have their own. */
export class OwnSession implements StepSession {
  commitSeq = 0;
  readonly #database: TenantDatabase;
  readonly #options: OwnStepsOptions;
  /** What the PRAGMA sets holds for the next request. */
  readonly #isKept: boolean;
  readonly #run: () => StepsRun;
  /** The caller's savepoints in the open transaction, innermost last. */
  #savepoints: string[];
  /** The transaction was begun by the first of them. */
  #bySavepoint: boolean;
  #readOnly: boolean;
  #wrote: boolean;
  readonly #jobs: Set<string>;
  #foreignKeysOff: boolean;
  /** Whether they are, where no transaction of the steps is open. */
  #offAfter: boolean;
  #dangling: DanglingRows | undefined;
  /** The next transaction begins with deferred foreign keys. */
  #defersNext = false;
  /** The steps that share a transaction without having begun one. */
  #group: number[] | undefined;

  constructor(database: TenantDatabase, options: OwnStepsOptions, isKept: boolean, run: () => StepsRun) {
    const open = database.transaction;
    this.#database = database;
    this.#options = options;
    this.#isKept = isKept;
    this.#run = run;
    this.#savepoints = [...(open?.savepoints ?? [])];
    this.#bySavepoint = open?.bySavepoint ?? false;
    this.#readOnly = open?.readOnly ?? false;
    this.#wrote = open?.wrote ?? false;
    this.#jobs = open?.jobs ?? new Set();
    this.#dangling = open?.dangling;
    this.#foreignKeysOff = open?.dangling !== undefined;
    this.#offAfter = open?.foreignKeysOffAfter ?? false;
  }

  get autocommit(): boolean {
    return this.#group !== undefined || !this.#database.db.inTransaction;
  }

  /** Members of the result: how the client's session continues, and its last commit. */
  toJson(commitSeq = this.commitSeq): string {
    const keys = this.#isKept ? `,"fk":${this.#offAfter ? 0 : 1}` : '';
    return commitSeq > 0 ? `${keys},"seq":${commitSeq}` : keys;
  }

  /** The state of the open transaction that its next steps need. */
  toOpen(id: string): OpenTransaction {
    return {
      id,
      savepoints: this.#savepoints,
      bySavepoint: this.#bySavepoint,
      readOnly: this.#readOnly,
      wrote: this.#wrote,
      dangling: this.#dangling,
      foreignKeysOffAfter: this.#offAfter,
      jobs: this.#jobs,
      results: '',
    };
  }

  statement(compiled: CompiledStatement, execute: () => void, failed: (error: unknown) => void): void {
    const writes = compiled.kind === 'write';
    if (!this.autocommit) {
      if (writes && this.#readOnly) throw readOnlyTransaction();
      if (writes) this.#wrote = true;
      runAtomically(this.#database, execute);
      return;
    }
    if (!writes) {
      execute();
      return;
    }
    if (this.#foreignKeysOff) {
      this.#runInGroup(execute);
      return;
    }
    const { db, runner, stepControl } = this.#database;
    this.#begin(false);
    const before = runner.counters.read().total;
    try {
      this.#wrote = true;
      try {
        runAtomically(this.#database, execute);
      } catch (error) {
        // OR FAIL keeps the rows before the one that failed, and they are committed.
        const left = db.inTransaction && error === runner.failure && runner.counters.read().total !== before;
        if (!left) throw error;
        failed(error);
        this.#commit();
        throw error;
      }
      this.#commit(before);
    } catch (error) {
      if (db.inTransaction) stepControl.rollback.run();
      this.#database.schema.undone();
      throw error;
    }
  }

  /** Begins, or continues after commits of an earlier delivery, with foreign keys off. */
  switchForeignKeysOff(): void {
    this.#database.switchForeignKeysOff();
    this.#foreignKeysOff = true;
    this.#offAfter = true;
  }

  /** Commits the group, if there is one. @returns why that is refused; its steps have failed then */
  endGroup(): unknown {
    const group = this.#group;
    if (group === undefined) return undefined;
    this.#group = undefined;
    try {
      this.#commit(undefined, 'Send a rebuild between BEGIN and COMMIT, or as one request.');
      return undefined;
    } catch (error) {
      if (error instanceof StepsFailed) throw error;
      this.#undoGroup(group, error);
      return error;
    }
  }

  #runInGroup(execute: () => void): void {
    if (this.#group === undefined) {
      this.#begin(false);
      this.#group = [];
    }
    const group = this.#group;
    const { index } = this.#run();
    this.#wrote = true;
    try {
      runAtomically(this.#database, execute);
    } catch (error) {
      this.#group = undefined;
      this.#undoGroup(group, error);
      throw error;
    }
    if (group.at(-1) !== index) group.push(index);
  }

  #undoGroup(group: readonly number[], error: unknown): void {
    const { db, schema, stepControl } = this.#database;
    if (db.inTransaction) stepControl.rollback.run();
    schema.undone();
    this.#run().undo(group, error);
  }

  control(step: ControlStep, sql: string, done: () => void): void {
    const { db, stepControl } = this.#database;
    if (this.#group !== undefined) {
      // For SQLite none is open.
      if (step.kind === 'commit' || step.kind === 'rollback') throw noTransaction(step.kind);
      const refused = this.endGroup();
      if (refused !== undefined) throw refused;
    }
    switch (step.kind) {
      case 'begin':
        if (this.#options.full === true && this.autocommit) throw tooManyOpen();
        this.#begin(step.readOnly);
        done();
        return;
      case 'commit':
        done();
        this.#commit();
        return;
      case 'rollback':
        stepControl.rollback.run();
        this.#database.schema.undone();
        this.#ended();
        done();
        return;
      case 'savepoint':
        if (this.autocommit) {
          this.#begin(false);
          this.#bySavepoint = true;
        }
        db.exec(sql);
        this.#savepoints.push(step.name);
        done();
        return;
      case 'release':
      case 'rollback-to':
        this.#toSavepoint(step.kind, step.name, sql, done);
        return;
      case 'session':
        if (!step.usual && this.autocommit && !this.#hasEffect(step.pragma)) throw withoutEffect(step.pragma);
        this.#setPragma(step, sql);
        done();
        return;
      case 'malformed':
        refuseMalformed(db, sql);
    }
  }

  /** What is not kept is reset at the end of the request. */
  #hasEffect(pragma: SessionPragma): boolean {
    return (this.#isKept && pragma === 'foreign_keys') || this.#run().mayWriteLater;
  }

  #setPragma({ pragma, usual }: Extract<ControlStep, { readonly kind: 'session' }>, sql: string): void {
    const { db } = this.#database;
    const isOpen = !this.autocommit;
    this.#database.sessionChanged = true;
    if (pragma === 'defer_foreign_keys') {
      if (isOpen) db.prepare(sql).run();
      // What the writer reads between two transactions would reset it.
      else this.#defersNext = !usual;
      return;
    }
    if (isOpen) {
      this.#setKeysWithin(usual, sql);
      return;
    }
    db.prepare(sql).run();
    this.#foreignKeysOff = !usual;
    this.#offAfter = !usual;
  }

  /**
   * In an open transaction SQLite ignores it. Here off holds until its end, on from its end where it has written: its COMMIT
   * looks at everything.
   */
  #setKeysWithin(usual: boolean, sql: string): void {
    if (usual) this.#offAfter = false;
    if (usual !== this.#foreignKeysOff) return; // so already
    if (this.#wrote || this.#savepoints.length > 0) {
      if (!usual) throw tooLate();
      return;
    }
    // A new transaction is the same as one in which nothing was done.
    const readOnly = this.#readOnly;
    this.#database.stepControl.rollback.run();
    this.#database.db.prepare(sql).run();
    this.#foreignKeysOff = !usual;
    this.#begin(readOnly);
  }

  /** No transaction is open any more. */
  #ended(): void {
    this.#dangling = undefined;
    if (this.#foreignKeysOff === this.#offAfter) return;
    this.#foreignKeysOff = this.#offAfter;
    this.#database.db.pragma(`foreign_keys = ${this.#offAfter ? 'OFF' : 'ON'}`);
  }

  #begin(readOnly: boolean): void {
    const { db, ledger, epoch } = this.#database;
    try {
      this.#database.begin();
    } catch (error) {
      // SQLite's error for a second BEGIN is the step's result; a lock of another process is not.
      if (db.inTransaction) throw error;
      throw new StepsFailed(error);
    }
    const fileEpoch = ledger.fileEpoch();
    if (fileEpoch !== epoch) throw new StepsFailed(fenced('file', fileEpoch));
    this.#savepoints = [];
    this.#bySavepoint = false;
    this.#readOnly = readOnly;
    this.#wrote = false;
    this.#dangling = this.#foreignKeysOff ? new DanglingRows(db) : undefined;
    if (!this.#defersNext) return;
    this.#defersNext = false;
    db.pragma('defer_foreign_keys = ON');
  }

  #toSavepoint(kind: 'release' | 'rollback-to', name: string, sql: string, done: () => void): void {
    const at = this.#savepoints.lastIndexOf(name);
    if (at < 0) {
      throw new OnewriterError('SQL_ERROR', boundMessage(`no such savepoint: ${name}`), {
        sqliteCode: 'SQLITE_ERROR',
      });
    }
    if (kind === 'release' && at === 0 && this.#bySavepoint) {
      done();
      this.#commit();
      return;
    }
    this.#database.db.exec(sql);
    this.#savepoints.length = kind === 'release' ? at : at + 1;
    this.#database.schema.undone();
    done();
  }

  /**
   * Ends the transaction with its note, if it wrote.
   * @param totalBefore for a statement outside a transaction: `total_changes()` before it. If the COMMIT is refused, the
   * statement has changed nothing.
   * @param remedy where references are broken.
   */
  #commit(totalBefore?: number, remedy?: string): void {
    const { db, ledger, epoch, runner, stepControl } = this.#database;
    if (this.autocommit || !this.#wrote) {
      this.#database.commit(undefined); // nothing to note; or SQLite's own error
      this.#ended();
      return;
    }
    // As where SQLite refuses a COMMIT, the transaction stays open.
    this.#dangling?.assertNoneAdded(remedy);
    const counters = runner.counters.read();
    const run = this.#run();
    let commit: NumberedCommit | undefined;
    try {
      stepControl.statement.run();
      commit = ledger.advance(epoch);
      if (commit === undefined) throw fenced('file', ledger.fileEpoch());
      const json = run.endsAtCommit ? run.toJson(true, this.toJson(commit.seq)) : undefined;
      this.#options.beforeCommit(commit, json, run.progress);
    } catch (error) {
      throw new StepsFailed(error);
    }
    const startedMs = performance.now();
    try {
      this.#database.commit(commit);
    } catch (thrown) {
      const { code } = translateError(thrown);
      if (code !== 'CONSTRAINT_VIOLATION' && code !== 'SQL_ERROR') throw new StepsFailed(thrown, true);
      if (db.inTransaction) {
        stepControl.rollbackToStatement.run();
        stepControl.releaseStatement.run();
      }
      runner.counters.restore(
        totalBefore === undefined ? counters : { ...counters, changes: 0, total: totalBefore },
      );
      this.#options.commitFailed();
      throw thrown;
    }
    const commitMs = performance.now() - startedMs;
    this.#database.committed();
    this.commitSeq = commit.seq;
    this.#ended();
    runner.counters.restore(counters);
    try {
      this.#options.committed(commitMs);
    } catch (error) {
      throw new StepsFailed(error);
    }
  }
}
