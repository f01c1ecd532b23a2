import {
  COMMIT_ROW_PREFIX,
  fromWireError,
  isFollowUpJobId,
  isStepsJobId,
  LIMITS,
  OnewriterError,
  receiptId,
  type WireStepsOperation,
} from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { noteJobCommit, noteLastJobCommit } from '../ledger/job-commits.ts';
import type { NumberedCommit } from '../ledger/ledger.ts';
import { MAX_KNOWN_JOBS } from '../steps/open-transaction.ts';
import { type OwnStepsOptions, type OwnStepsResult, runOwnSteps } from '../steps/own-steps.ts';
import { OwnTransactionsNeeded, StepsFailed } from '../steps/run-steps.ts';
import { findProgress, forgetProgress, hasProgress, noteProgress } from '../steps/steps-progress.ts';
import type { ApplyStats, JobOutcome, QueuedJob, TransactionGrant } from '../thread/lane-task.ts';
import type { Progress } from '../thread/progress.ts';
import { BatchJob } from './batch-job.ts';
import { fenced } from './internal-tables.ts';
import {
  assertSteps,
  encodeFailure,
  FAILURE,
  isSingle,
  runOperation,
  TransactionEnded,
} from './run-operation.ts';
import { translateError } from './sqlite-errors.ts';

/*
 * All writes of a batch that are still to run stand in one row, numbered from 0. Normally they are one range and one
 * transaction:
 *
 *   BEGIN IMMEDIATE · fence and commit_seq · each write in its savepoint · a ledger row per job · COMMIT
 *
 * A write can spoil that for the others. Then the range is rolled back and cut:
 *
 *   ended the transaction with a constraint (OR ROLLBACK, RAISE(ROLLBACK)):   [ before and it | after ]
 *       it has failed for good and is not run again; the writes before it are.
 *   ended it, out of disk or memory:                                         [ before | it | after ]
 *       alone it may fit, or fails for good.
 *   COMMIT refused, and the write to blame is unknown:                        [ first half | second half ]
 *       until it is alone, and has failed for good.
 *   COMMIT refused by a virtual table that a failed write had made:           the same, without the failed writes
 *
 *   foreign keys are checked at COMMIT in this file:                         [ one | one | one … ]
 *       because the check covers the whole transaction, and each caller's write is to be judged alone.
 *
 *   steps that need transactions of their own:                               [ before | they | after ]
 *
 * Each range is a transaction with a commit_seq of its own. A job that lies in several has its ledger row advanced
 * in each (`next_op`), so that a crash between them resumes where it stopped. A write runs at most twice per cut.
 */

export interface ApplyBatchOptions {
  readonly progress: Progress;
  /** The data directory's identity, in short: a job with another is refused. */
  readonly dir?: string | undefined;
  /** Set if the batch is one job of steps that run alone; a transaction that they leave open gets this name. */
  readonly transaction?: TransactionGrant | undefined;
  /** Too many transactions are open in this thread to open another. */
  readonly full?: boolean | undefined;
  /** The broker's clock, ms. */
  readonly now?: (() => number) | undefined;
  /** Called after each COMMIT; its errors reach the caller unchanged, as if the process had died there. */
  readonly afterCommit?: (() => void) | undefined;
}

/** Result of a batch. */
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
   * Whether some of the batch is, or may be, in the ledger nevertheless: an earlier delivery or an earlier range committed, or
   * a COMMIT failed with an unknown outcome.
   */
  readonly uncertain: boolean;

  constructor(cause: OnewriterError, uncertain: boolean) {
    super(cause.message, { cause });
    this.uncertain = uncertain;
  }
}

/**
 * Applies jobs in order, except those that the ledger has. Each write succeeds or fails alone.
 *
 * @param jobs all for the tenant of `database`.
 * @throws BatchFailed for faults of the file or the fence; the open transaction is rolled back.
 */
export function applyBatch(
  database: TenantDatabase,
  jobs: readonly QueuedJob[],
  options: ApplyBatchOptions,
): BatchResult {
  try {
    return new Batch(database, jobs, options).apply();
  } finally {
    // Its stack holds the parameters of the write: for each open tenant a whole large job would stay in memory.
    database.runner.failure = undefined;
  }
}

/** `details.reason` of jobs that may have been applied so long ago that the ledger no longer has them. */
const OLDER_THAN_LEDGER = 'older than the ledger';

/** Largest results of one job in the ledger, encoded: several writes of the largest size. */
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
  /** @property end the first write that is not in it. */
  | { readonly kind: 'committed'; readonly end: number }
  | { readonly kind: 'ended'; readonly at: number; readonly error: OnewriterError }
  | { readonly kind: 'own'; readonly at: number }
  | { readonly kind: 'alone' }
  /** @property failures answers of the writes that failed and left nothing, by number. */
  | {
      readonly kind: 'commit-refused';
      readonly error: OnewriterError;
      readonly failures: ReadonlyMap<number, string>;
    };

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
      if (attempt.kind === 'committed') {
        this.#options.afterCommit?.();
        ranges.push([attempt.end, to]);
      } else ranges.push(...this.#cut(from, to, attempt));
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
      // Its twin is earlier in this batch.
      if (this.#jobs.indexOf(job) !== index) continue;
      if (job.message === undefined) continue;
      const row = this.#database.ledger.find(job.id);
      if (row !== undefined) job.resume(row);
      else if (this.#isForeign(job)) job.refuse(meantForAnother(), true);
      else if (this.#mayBePruned(job)) job.refuse(olderThanLedger(this.#database.ledger.prunedTo));
      else if (this.#options.transaction !== undefined) this.#planAlone(job, next);
      if (job.remaining === 0) continue;
      runs.push({ job, index, from: next, to: next + job.remaining });
      next += job.remaining;
    }
    this.#runs = runs;
    return [0, next];
  }

  #isForeign({ message }: BatchJob): boolean {
    const { dir } = this.#options;
    return dir !== undefined && message!.dir !== undefined && message!.dir !== dir;
  }

  /** False where an earlier delivery committed some of its steps: notes beside the ledger show those. */
  #mayBePruned({ id, addedAt }: BatchJob): boolean {
    const { ledger, db, transaction } = this.#database;
    if (!ledger.mayHavePruned(addedAt) || transaction?.jobs.has(id)) return false;
    return !isStepsJobId(id) || !hasProgress(db, id);
  }

  #planAlone(job: BatchJob, number: number): void {
    const { transaction } = this.#database;
    // For a job before the newest, the broker may have kept the answer.
    if (transaction?.jobs.has(job.id)) {
      const isNewest = [...transaction.jobs].at(-1) === job.id;
      job.repeat(isNewest ? transaction.results : '');
    } else this.#own.add(number);
  }

  /** Runs one transaction over a range of writes. On any error it leaves nothing. */
  #attempt(from: number, to: number): Attempt {
    if (to - from === 1 && this.#own.has(from)) return this.#attemptOwn(from);
    const { schema } = this.#database;
    if (to - from > 1 && schema.look().deferredKeys) return { kind: 'alone' };
    this.#database.begin();
    const touched = this.#runs.filter(run => run.from < to && run.to > from);
    const failures = new Map<number, string>();
    let at = from;
    let end = to;
    let commit: NumberedCommit;
    try {
      commit = this.#advance();
      const nowMs = this.#now();
      for (const { job, index, from: first, to: last } of touched) {
        while (at < Math.min(end, last)) {
          const op = at - first + job.first;
          this.#options.progress.at(index, op);
          const result = this.#result(job, op, nowMs, commit.seq);
          if (!job.failed.has(op) && result.startsWith(FAILURE) && !isSingle(job.message!.ops[op])) {
            failures.set(at, result);
          }
          job.add(result);
          at++;
          // It has made the first deferred key: later writes are judged alone.
          if (at < end && schema.deferredKeys) end = at;
        }
        const results = job.joinResults();
        const begun = Math.max(from - first, 0) + job.first;
        this.#record(commit, job, nowMs, begun, at < last ? at - first + job.first : null, results);
        if (at === last) {
          job.stage(results);
          // The parts are needed again only where earlier ranges committed some of them.
          if (from <= first) job.rewind(job.first);
        }
        if (at === end) break;
      }
      this.#database.ledger.prune();
    } catch (error) {
      this.#undo(touched, from);
      if (error instanceof OwnTransactionsNeeded) return { kind: 'own', at };
      if (error instanceof TransactionEnded) return { kind: 'ended', at, error: error.cause };
      // Not a write's own error, which is its answer: an undone virtual table can refuse the next savepoint, too.
      const spoiled = translateError(error);
      if (spoiled.code === 'SQL_ERROR' && (failures.size > 0 || to - from > 1)) {
        return { kind: 'commit-refused', error: spoiled, failures };
      }
      throw error;
    }
    const refused = this.#commit(commit);
    if (refused !== undefined) {
      this.#undo(touched, from);
      return { kind: 'commit-refused', error: refused, failures };
    }
    for (const run of touched) if (end >= run.to) run.job.settle(commit.seq);
    return { kind: 'committed', end };
  }

  /** Steps with transactions of their own. Where one stays open, or nothing was committed, no ledger has the answer. */
  #attemptOwn(number: number): Attempt {
    const run = this.#runOf(number);
    const { job } = run;
    const op = number - run.from + job.first;
    const nowMs = this.#now();
    const { db, ledger } = this.#database;
    const progress = findProgress(db, job.id, op);
    // Commits of an earlier delivery make a failure of this one uncertain.
    if (progress !== undefined) this.#outcomeUnknown = true;
    let recorded = false;
    const record = (commit: NumberedCommit, json: string) => {
      job.add(json);
      this.#record(commit, job, nowMs, op, number + 1 < run.to ? op + 1 : null, job.joinResults());
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
        if (json !== undefined) {
          record(commit, json);
          return;
        }
        noteProgress(db, job.id, op, nowMs, done);
        if (this.#options.transaction === undefined) {
          noteJobCommit(db, job.id, nowMs, [commit.seq, op, op + 1]);
        } else {
          const name = `${COMMIT_ROW_PREFIX}${receiptId(job.id, op)}-${commit.seq}`;
          ledger.record(commit, name, nowMs, null, '[]', false);
        }
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
      return { kind: 'committed', end: number + 1 };
    }
    let { commitSeq } = result;
    if (!recorded) {
      this.#database.begin();
      const commit = this.#advance();
      record(commit, result.json);
      ledger.prune();
      const refused = this.#commit(commit);
      commitSeq = commit.seq;
      if (refused !== undefined) throw refused;
    }
    if (number + 1 < run.to) return { kind: 'committed', end: number + 1 };
    job.stage(job.joinResults());
    job.settle(commitSeq);
    return { kind: 'committed', end: number + 1 };
  }

  /** @returns also the answer where the steps as a whole failed. */
  #runOwn(job: BatchJob, op: number, options: OwnStepsOptions): OwnStepsResult {
    const operation = job.message!.ops[op] as Partial<WireStepsOperation> | null | undefined;
    const condemned = job.condemned?.[op] ?? job.condemned?.[-1];
    try {
      // Commits of an earlier delivery stay. The step after them was stopped, and none after that was applied.
      if (condemned !== undefined && options.progress !== undefined) {
        const done = options.progress.q;
        const skipped = (operation?.q ?? []).slice(done.length + 1).map(() => '0');
        const q = [...done, JSON.stringify({ e: condemned }), ...skipped];
        return { json: `{"q":[${q.join()}],"a":1}`, commitSeq: 0, open: false, theirs: false };
      }
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

  /** The job may be delivered again while the transaction is open, and its steps must not run twice in it. */
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
    firstOp: number,
    nextOp: number | null,
    results: string,
  ): void {
    const { db, ledger, runner } = this.#database;
    // Only an earlier delivery, or an earlier transaction of this one, can have left a row.
    const again = job.known || this.#commits > 0;
    ledger.record(commit, job.id, nowMs, nextOp, results, again);
    // Steps of an open transaction overtake all waiting jobs: older jobs are still to come.
    if (!isFollowUpJobId(job.id)) ledger.noteJob(job.addedAt);
    if (nextOp !== null) noteJobCommit(db, job.id, nowMs, [commit.seq, firstOp, nextOp]);
    else if (again) noteLastJobCommit(db, job.id, [commit.seq, firstOp, job.message!.ops.length]);
    runner.forgetLastRowid();
  }

  #result(job: BatchJob, op: number, nowMs: number, commitSeq: number): string {
    const failed = job.failed.get(op);
    if (failed !== undefined) return failed;
    const condemned = job.condemned?.[op] ?? job.condemned?.[-1];
    if (condemned !== undefined) {
      // Some of its steps may be committed: then the answer says which.
      if (findProgress(this.#database.db, job.id, op) !== undefined) throw new OwnTransactionsNeeded();
      return JSON.stringify({ e: condemned });
    }
    const place = { jobId: job.id, op, nowMs, commitSeq, asksTotal: job.asksTotal };
    return runOperation(this.#database, job.message!, place, this.#budgetOf(job));
  }

  /** @returns the error of a COMMIT that was refused because of the transaction's content. */
  #commit(commit: NumberedCommit): OnewriterError | undefined {
    const startedMs = performance.now();
    this.#options.progress.atFiles(true);
    try {
      this.#database.commit(commit);
      this.#database.committed();
      this.#commits++;
      return undefined;
    } catch (thrown) {
      const error = translateError(thrown);
      // A constraint leaves the transaction open. A virtual table that cannot commit ends it: "SQL logic error".
      if (error.code === 'CONSTRAINT_VIOLATION' || error.code === 'SQL_ERROR') return error;
      // The commit may be in the WAL, flushed or not; only the ledger of the reopened file shows it.
      if (error.code === 'DATABASE_IO_ERROR') this.#outcomeUnknown = true;
      throw error;
    } finally {
      this.#options.progress.atFiles(false);
      this.#commitMs += performance.now() - startedMs;
    }
  }

  #undo(touched: readonly JobRun[], from: number): void {
    this.#database.rollback();
    for (const run of touched) run.job.rewind(Math.max(from - run.from, 0) + run.job.first);
  }

  /** The ranges to try instead of a range that failed, last first. */
  #cut(from: number, to: number, attempt: Exclude<Attempt, { kind: 'committed' }>): Range[] {
    const alone = to - from === 1;
    if (attempt.kind === 'alone') {
      return Array.from({ length: to - from }, (_, index) => [to - index - 1, to - index]);
    }
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
      if (attempt.error.code === 'SQL_ERROR' && attempt.failures.size > 0) {
        // A virtual table that was made and undone refuses every COMMIT. Those writes have failed; the others go without them.
        for (const [number, result] of attempt.failures) this.#fail(number, result, []);
        return [[from, to]];
      }
      if (alone && this.#isSteps(from)) {
        this.#own.add(from);
        return [[from, to]];
      }
      if (alone) return this.#fail(from, encodeFailure(attempt.error), [[from, to]]);
      const middle = from + Math.floor((to - from) / 2);
      return [
        [middle, to],
        [from, middle],
      ];
    }
    const { at, error } = attempt;
    if (alone || error.code === 'CONSTRAINT_VIOLATION') {
      return this.#fail(at, encodeFailure(error), [
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

  /** @param result the answer of a write that is not run again. */
  #fail(at: number, result: string, ranges: Range[]): Range[] {
    const run = this.#runOf(at);
    const op = at - run.from + run.job.first;
    if (run.job.failed.has(op)) throw new TypeError('A write that was not run ended a transaction.');
    run.job.failed.set(op, result);
    return ranges;
  }
}

/** Whether the deadline of steps that are still to begin is over. */
function isLate({ by, tx }: WireStepsOperation, { progress }: OwnStepsOptions, nowMs: number): boolean {
  return by !== undefined && tx === undefined && progress === undefined && nowMs > by;
}

function meantForAnother(): OnewriterError {
  return new OnewriterError(
    'MISCONFIGURED',
    'The write comes from a client of another data directory: two installations share this Redis and ONEWRITER_GROUP. It was not applied.',
    { reason: 'another data directory' },
  );
}

/** @param prunedTo ms by Redis' clock */
function olderThanLedger(prunedTo: number): OnewriterError {
  return new OnewriterError(
    'OUTCOME_UNKNOWN',
    `Redis got this job by ${new Date(prunedTo).toISOString()}; jobs of that time are no longer in the ledger, so it may have been applied before. It is not applied now.`,
    { reason: OLDER_THAN_LEDGER },
  );
}

function tooLate(): OnewriterError {
  return new OnewriterError(
    'TRANSACTION_BUSY',
    'Other clients had the writer of this tenant until the deadline; nothing was run.',
  );
}
