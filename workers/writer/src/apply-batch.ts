import { fromWireError, LIMITS, OnewriterError, type WireStepsOperation } from '@onewriter/protocol';
import { BatchJob } from './batch-job.ts';
import { fenced } from './internal-tables.ts';
import type { ApplyStats, JobOutcome, QueuedJob, TransactionGrant } from './lane-task.ts';
import type { NumberedCommit } from './ledger.ts';
import { MAX_KNOWN_JOBS } from './open-transaction.ts';
import { type OwnStepsOptions, type OwnStepsResult, runOwnSteps } from './own-steps.ts';
import type { Progress } from './progress.ts';
import { assertSteps, encodeFailure, runOperation, TransactionEnded } from './run-operation.ts';
import { OwnTransactionsNeeded, StepsFailed } from './run-steps.ts';
import { translateError } from './sqlite-errors.ts';
import { findProgress, forgetProgress, noteProgress } from './steps-progress.ts';
import type { TenantDatabase } from './tenant-database.ts';

/*
 * All writes of a batch that are still to run stand in one row, numbered from 0. Normally they are one range and one
 * transaction:
 *
 *   BEGIN IMMEDIATE · fence and commit_seq · each write in its savepoint · a ledger row per job · COMMIT
 *
 * A write can spoil that for the others, and then the range is rolled back and cut:
 *
 *   ended the transaction with a constraint (OR ROLLBACK, RAISE(ROLLBACK)):   [ before and it | after ]
 *       it has failed for good and is not run again; what was before it is.
 *   ended it for want of something (disk full, memory):                      [ before | it | after ]
 *       alone it may fit, or fails for good.
 *   COMMIT refused (deferred foreign key), nobody knows whose it is:          [ first half | second half ]
 *       until it is alone, and has failed for good.
 *
 *   steps that need transactions of their own:                               [ before | they | after ]
 *
 * Each range is a transaction with a commit_seq of its own. A job that lies in several has its ledger row advanced
 * in each (`next_op`), so that a crash between them resumes where it stopped. A write runs at most twice per cut.
 */

export interface ApplyBatchOptions {
  readonly progress: Progress;
  /** The batch is one job of steps that run alone; what it leaves open has this name. */
  readonly transaction?: TransactionGrant | undefined;
  /** Too many transactions are open in this thread for another. */
  readonly full?: boolean | undefined;
  /** The broker's clock, ms. */
  readonly now?: (() => number) | undefined;
  /** Called after each COMMIT; what it throws goes to the caller as it is, as if the process had died there. */
  readonly afterCommit?: (() => void) | undefined;
}

/** What came of a batch. */
export interface BatchResult {
  /** One per job, same order. */
  readonly jobs: readonly JobOutcome[];
  /** The transaction that is open now. */
  readonly open: string | undefined;
  readonly stats: Pick<ApplyStats, 'applyMs' | 'commitMs' | 'commits'>;
}

/** The batch could not be finished. */
export class BatchFailed extends Error {
  declare readonly cause: OnewriterError;
  /**
   * Whether some of the batch is in the ledger all the same, or may be: an earlier delivery or an earlier range
   * committed, or a COMMIT failed in a way that leaves its outcome open.
   */
  readonly uncertain: boolean;

  constructor(cause: OnewriterError, uncertain: boolean) {
    super(cause.message, { cause });
    this.uncertain = uncertain;
  }
}

/**
 * Applies jobs in order; what the ledger knows is not applied again. Each write succeeds or fails alone.
 *
 * @param jobs all for the tenant of `database`.
 * @throws BatchFailed for faults of the file or the fence; the open transaction is rolled back.
 */
export function applyBatch(
  database: TenantDatabase,
  jobs: readonly QueuedJob[],
  options: ApplyBatchOptions,
): BatchResult {
  return new Batch(database, jobs, options).apply();
}

/** Results of one job that the ledger takes, encoded: several writes of the largest size. */
const MAX_JOB_RESULT_BYTES = 32 * 1024 * 1024;

/** A range of writes, the second exclusive. */
type Range = readonly [from: number, to: number];

/** A job with writes to run. */
interface JobRun {
  readonly job: BatchJob;
  /** Its place in the task. */
  readonly index: number;
  /** The numbers of its writes, the second exclusive. */
  readonly from: number;
  readonly to: number;
}

type Attempt =
  | { readonly kind: 'committed' }
  | { readonly kind: 'ended'; readonly at: number; readonly error: OnewriterError }
  | { readonly kind: 'own'; readonly at: number }
  | { readonly kind: 'commit-refused'; readonly error: OnewriterError };

class Batch {
  readonly #database: TenantDatabase;
  readonly #options: ApplyBatchOptions;
  readonly #now: () => number;
  /** One per job of the task; a job that came twice is here twice. */
  readonly #jobs: readonly BatchJob[];
  #runs: readonly JobRun[] = [];
  /** Writes that are steps with transactions of their own. */
  readonly #own = new Set<number>();
  #commits = 0;
  #commitMs = 0;
  #outcomeUnknown = false;

  constructor(database: TenantDatabase, jobs: readonly QueuedJob[], options: ApplyBatchOptions) {
    this.#database = database;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    const byId = new Map<string, BatchJob>();
    this.#jobs = jobs.map(queued => {
      const job = byId.get(queued.id) ?? new BatchJob(queued);
      byId.set(queued.id, job);
      return job;
    });
  }

  apply(): BatchResult {
    const startedMs = performance.now();
    const ranges: Range[] = [this.#guard(() => this.#plan())];
    for (let range = ranges.pop(); range !== undefined; range = ranges.pop()) {
      const [from, to] = range;
      if (from === to) continue;
      const attempt = this.#guard(() => this.#attempt(from, to));
      if (attempt.kind === 'committed') this.#options.afterCommit?.();
      else ranges.push(...this.#cut(from, to, attempt));
    }
    const totalMs = performance.now() - startedMs;
    return {
      jobs: this.#jobs.map(job => job.outcome()),
      open: this.#database.transaction?.id,
      stats: { applyMs: totalMs - this.#commitMs, commitMs: this.#commitMs, commits: this.#commits },
    };
  }

  #guard<Result>(run: () => Result): Result {
    try {
      return run();
    } catch (error) {
      this.#database.rollback();
      const uncertain = this.#outcomeUnknown || this.#commits > 0 || this.#jobs.some(job => job.known);
      throw new BatchFailed(translateError(error), uncertain);
    }
  }

  /** Asks the ledger about every job and numbers the writes that are left. */
  #plan(): Range {
    const runs: JobRun[] = [];
    let next = 0;
    for (const [index, job] of this.#jobs.entries()) {
      // Its twin came earlier in this batch.
      if (this.#jobs.indexOf(job) !== index) continue;
      if (job.message === undefined) continue;
      const row = this.#database.ledger.find(job.id);
      if (row !== undefined) job.resume(row);
      else if (this.#options.transaction !== undefined) this.#planAlone(job, next);
      if (job.remaining === 0) continue;
      runs.push({ job, index, from: next, to: next + job.remaining });
      next += job.remaining;
    }
    this.#runs = runs;
    return [0, next];
  }

  #planAlone(job: BatchJob, number: number): void {
    const { transaction } = this.#database;
    // Of an older one the broker may have kept the answer.
    if (transaction?.jobs.has(job.id)) {
      const isNewest = [...transaction.jobs].at(-1) === job.id;
      job.repeat(isNewest ? transaction.results : '');
    } else this.#own.add(number);
  }

  /** One transaction over a range of writes. Whatever goes wrong, nothing of it is left. */
  #attempt(from: number, to: number): Attempt {
    if (to - from === 1 && this.#own.has(from)) return this.#attemptOwn(from);
    const { control } = this.#database;
    control.begin.run();
    const touched = this.#runs.filter(run => run.from < to && run.to > from);
    let at = from;
    let commit: NumberedCommit;
    try {
      commit = this.#advance();
      const nowMs = this.#now();
      for (const { job, index, from: first, to: end } of touched) {
        const last = Math.min(to, end) - first + job.first;
        for (let op = at - first + job.first; op < last; op++, at++) {
          this.#options.progress.at(index, op);
          job.add(this.#result(job, op, nowMs, commit.seq));
        }
        const results = job.joinResults();
        this.#record(commit, job, nowMs, to < end ? last : null, results);
        if (to < end) continue;
        job.stage(results);
        // The parts are needed again only where earlier ranges committed some of them.
        if (from <= first) job.rewind(job.first);
      }
      this.#database.ledger.prune(nowMs);
    } catch (error) {
      this.#undo(touched, from);
      if (error instanceof OwnTransactionsNeeded) return { kind: 'own', at };
      if (error instanceof TransactionEnded) return { kind: 'ended', at, error: error.cause };
      throw error;
    }
    const refused = this.#commit(commit);
    if (refused !== undefined) {
      this.#undo(touched, from);
      return { kind: 'commit-refused', error: refused };
    }
    for (const run of touched) if (to >= run.to) run.job.settle(commit.seq);
    return { kind: 'committed' };
  }

  /** Steps with transactions of their own. Where one stays open, or nothing was committed, no ledger has the answer. */
  #attemptOwn(number: number): Attempt {
    const run = this.#runOf(number);
    const { job } = run;
    const op = number - run.from + job.first;
    const nowMs = this.#now();
    const { db, ledger, control } = this.#database;
    const progress = findProgress(db, job.id, op);
    // What an earlier delivery committed makes a failure of this one uncertain.
    if (progress !== undefined) this.#outcomeUnknown = true;
    let recorded = false;
    const record = (commit: NumberedCommit, json: string) => {
      job.add(json);
      this.#record(commit, job, nowMs, number + 1 < run.to ? op + 1 : null, job.joinResults());
      if (progress !== undefined || this.#commits > 0) forgetProgress(db, job.id, op);
      recorded = true;
    };
    this.#options.progress.at(run.index, op);
    const commitsBefore = this.#commits;
    const result = this.#runOwn(job, op, {
      transaction: this.#options.transaction,
      full: this.#options.full,
      progress,
      budgetBytes: this.#budgetOf(job),
      beforeCommit: (commit, json, done) => {
        if (json === undefined) noteProgress(db, job.id, op, nowMs, done);
        else record(commit, json);
      },
      commitFailed: () => {
        if (recorded) job.rewind(op);
        recorded = false;
      },
      committed: commitMs => {
        this.#commits++;
        this.#commitMs += commitMs;
        this.#options.afterCommit?.();
      },
    });
    const committed = progress !== undefined || this.#commits > commitsBefore;
    if (this.#options.transaction !== undefined && !recorded && (result.open || !committed)) {
      job.stageUnrecorded(`[${result.json}]`);
      if (result.theirs) this.#remember(job, `[${result.json}]`);
      job.settle(result.commitSeq);
      return { kind: 'committed' };
    }
    let { commitSeq } = result;
    if (!recorded) {
      control.begin.run();
      const commit = this.#advance();
      record(commit, result.json);
      ledger.prune(nowMs);
      const refused = this.#commit(commit);
      commitSeq = commit.seq;
      if (refused !== undefined) throw refused;
    }
    if (number + 1 < run.to) return { kind: 'committed' };
    job.stage(job.joinResults());
    job.settle(commitSeq);
    return { kind: 'committed' };
  }

  /** @returns also the answer where the steps as a whole failed. */
  #runOwn(job: BatchJob, op: number, options: OwnStepsOptions): OwnStepsResult {
    const operation = job.message!.ops[op] as Partial<WireStepsOperation> | null | undefined;
    const condemned = job.condemned?.[op] ?? job.condemned?.[-1];
    try {
      if (condemned !== undefined) throw fromWireError(condemned);
      assertSteps(operation?.q);
      if (isLate(operation as WireStepsOperation, options, this.#now())) throw tooLate();
      return runOwnSteps(this.#database, job.message!.sql, operation as WireStepsOperation, options);
    } catch (thrown) {
      if (thrown instanceof StepsFailed) {
        if (thrown.uncertain) this.#outcomeUnknown = true;
        throw thrown.cause;
      }
      if (!(thrown instanceof OnewriterError)) throw thrown;
      const open = this.#database.transaction !== undefined;
      if (!open) this.#database.rollback();
      return { json: encodeFailure(thrown), commitSeq: 0, open, theirs: false };
    }
  }

  /** It may be delivered again while the transaction is open: steps are not run twice in it. */
  #remember(job: BatchJob, results: string): void {
    const { transaction } = this.#database;
    if (transaction === undefined) return;
    transaction.jobs.add(job.id);
    if (transaction.jobs.size > MAX_KNOWN_JOBS) {
      transaction.jobs.delete(transaction.jobs.values().next().value!);
    }
    transaction.results = results.length <= LIMITS.maxEventBytes ? results : '';
  }

  #runOf(number: number): JobRun {
    return this.#runs.find(candidate => candidate.from <= number && number < candidate.to)!;
  }

  #budgetOf(job: BatchJob): number {
    return Math.min(LIMITS.maxResultBytes, MAX_JOB_RESULT_BYTES - job.resultBytes);
  }

  /** The fence: only the newest leader gets a commit_seq, and only with one does anything commit. */
  #advance(): NumberedCommit {
    const { ledger, epoch } = this.#database;
    const commit = ledger.advance(epoch);
    if (commit === undefined) throw fenced(ledger.fileEpoch());
    return commit;
  }

  #record(
    commit: NumberedCommit,
    job: BatchJob,
    nowMs: number,
    nextOp: number | null,
    results: string,
  ): void {
    // Only an earlier delivery, or an earlier transaction of this one, can have left a row.
    const again = job.known || this.#commits > 0;
    this.#database.ledger.record(commit, job.id, nowMs, nextOp, results, again);
  }

  #result(job: BatchJob, op: number, nowMs: number, commitSeq: number): string {
    const failed = job.failed.get(op);
    if (failed !== undefined) return failed;
    const condemned = job.condemned?.[op] ?? job.condemned?.[-1];
    if (condemned !== undefined) return JSON.stringify({ e: condemned });
    const place = { jobId: job.id, op, nowMs, commitSeq };
    return runOperation(this.#database, job.message!, place, this.#budgetOf(job));
  }

  /** @returns the error of a COMMIT that was refused because of what it holds. */
  #commit(commit: NumberedCommit): OnewriterError | undefined {
    const startedMs = performance.now();
    try {
      this.#database.commit(commit);
      this.#database.committed();
      this.#commits++;
      return undefined;
    } catch (thrown) {
      const error = translateError(thrown);
      if (error.code === 'CONSTRAINT_VIOLATION') return error;
      // The commit may be in the WAL, flushed or not; only the ledger of the file opened anew can tell.
      if (error.code === 'DATABASE_IO_ERROR') this.#outcomeUnknown = true;
      throw error;
    } finally {
      this.#commitMs += performance.now() - startedMs;
    }
  }

  #undo(touched: readonly JobRun[], from: number): void {
    this.#database.rollback();
    for (const run of touched) run.job.rewind(Math.max(from - run.from, 0) + run.job.first);
  }

  /** What to do instead of a range that failed, last first. */
  #cut(from: number, to: number, attempt: Exclude<Attempt, { kind: 'committed' }>): Range[] {
    const alone = to - from === 1;
    if (attempt.kind === 'own') {
      const { at } = attempt;
      this.#own.add(at);
      return [
        [at + 1, to],
        [at, at + 1],
        [from, at],
      ];
    }
    if (attempt.kind === 'commit-refused') {
      if (alone && this.#isSteps(from)) {
        this.#own.add(from);
        return [[from, to]];
      }
      if (alone) return this.#fail(from, attempt.error, [[from, to]]);
      const middle = from + Math.floor((to - from) / 2);
      return [
        [middle, to],
        [from, middle],
      ];
    }
    const { at, error } = attempt;
    if (alone || error.code === 'CONSTRAINT_VIOLATION') {
      return this.#fail(at, error, [
        [at + 1, to],
        [from, at + 1],
      ]);
    }
    return [
      [at + 1, to],
      [at, at + 1],
      [from, at],
    ];
  }

  #isSteps(number: number): boolean {
    const { job, from } = this.#runOf(number);
    const operation = job.message!.ops[number - from + job.first];
    return operation !== undefined && 'q' in operation && !job.failed.has(number - from + job.first);
  }

  #fail(at: number, error: OnewriterError, ranges: Range[]): Range[] {
    const run = this.#runOf(at);
    const op = at - run.from + run.job.first;
    if (run.job.failed.has(op)) throw new TypeError('A write that was not run ended a transaction.');
    run.job.failed.set(op, encodeFailure(error));
    return ranges;
  }
}

/** Whether the client of steps that are still to begin has given up. */
function isLate({ by, tx }: WireStepsOperation, { progress }: OwnStepsOptions, nowMs: number): boolean {
  return by !== undefined && tx === undefined && progress === undefined && nowMs > by;
}

function tooLate(): OnewriterError {
  return new OnewriterError(
    'TRANSACTION_BUSY',
    'Others had the writer of this tenant until the deadline; nothing was run.',
  );
}
