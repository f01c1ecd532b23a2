import { LIMITS, type OnewriterError } from '@onewriter/protocol';
import { BatchJob } from './batch-job.ts';
import { fenced } from './internal-tables.ts';
import type { ApplyStats, JobOutcome, QueuedJob } from './lane-task.ts';
import type { Progress } from './progress.ts';
import { encodeFailure, runOperation, TransactionEnded } from './run-operation.ts';
import { translateError } from './sqlite-errors.ts';
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
 * Each range is a transaction with a commit_seq of its own. A job that lies in several has its ledger row advanced
 * in each (`next_op`), so that a crash between them resumes where it stopped. A write runs at most twice per cut.
 */

export interface ApplyBatchOptions {
  readonly progress: Progress;
  /** The broker's clock, ms. */
  readonly now?: (() => number) | undefined;
  /** Called after each COMMIT; what it throws goes to the caller as it is, as if the process had died there. */
  readonly afterCommit?: (() => void) | undefined;
}

/** What came of a batch. */
export interface BatchResult {
  /** One per job, same order. */
  readonly jobs: readonly JobOutcome[];
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
  | { readonly kind: 'commit-refused'; readonly error: OnewriterError };

class Batch {
  readonly #database: TenantDatabase;
  readonly #options: ApplyBatchOptions;
  readonly #now: () => number;
  /** One per job of the task; a job that came twice is here twice. */
  readonly #jobs: readonly BatchJob[];
  #runs: readonly JobRun[] = [];
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
      if (job.remaining === 0) continue;
      runs.push({ job, index, from: next, to: next + job.remaining });
      next += job.remaining;
    }
    this.#runs = runs;
    return [0, next];
  }

  /** One transaction over a range of writes. Whatever goes wrong, nothing of it is left. */
  #attempt(from: number, to: number): Attempt {
    const { control } = this.#database;
    control.begin.run();
    const touched = this.#runs.filter(run => run.from < to && run.to > from);
    let at = from;
    let commitSeq: number;
    try {
      commitSeq = this.#advance();
      const nowMs = this.#now();
      for (const { job, index, from: first, to: end } of touched) {
        const last = Math.min(to, end) - first + job.first;
        for (let op = at - first + job.first; op < last; op++, at++) {
          this.#options.progress.at(index, op);
          job.add(this.#result(job, op, nowMs));
        }
        const results = job.joinResults();
        this.#database.ledger.record(job.id, commitSeq, nowMs, to < end ? last : null, results);
        if (to < end) continue;
        job.stage(results);
        // The parts are needed again only where earlier ranges committed some of them.
        if (from <= first) job.rewind(job.first);
      }
      this.#database.ledger.prune(nowMs);
    } catch (error) {
      this.#undo(touched, from);
      if (error instanceof TransactionEnded) return { kind: 'ended', at, error: error.cause };
      throw error;
    }
    const refused = this.#commit();
    if (refused !== undefined) {
      this.#undo(touched, from);
      return { kind: 'commit-refused', error: refused };
    }
    for (const run of touched) if (to >= run.to) run.job.settle(commitSeq);
    return { kind: 'committed' };
  }

  /** The fence: only the newest leader gets a commit_seq, and only with one does anything commit. */
  #advance(): number {
    const { ledger, epoch } = this.#database;
    const commitSeq = ledger.advance(epoch);
    if (commitSeq === undefined) throw fenced(ledger.fileEpoch());
    return commitSeq;
  }

  #result(job: BatchJob, op: number, nowMs: number): string {
    const failed = job.failed.get(op);
    if (failed !== undefined) return failed;
    const condemned = job.condemned?.[op] ?? job.condemned?.[-1];
    if (condemned !== undefined) return JSON.stringify({ e: condemned });
    const budgetBytes = Math.min(LIMITS.maxResultBytes, MAX_JOB_RESULT_BYTES - job.resultBytes);
    return runOperation(this.#database, job.message!, { jobId: job.id, op, nowMs }, budgetBytes);
  }

  /** @returns the error of a COMMIT that was refused because of what it holds. */
  #commit(): OnewriterError | undefined {
    const startedMs = performance.now();
    try {
      this.#database.control.commit.run();
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
    if (attempt.kind === 'commit-refused') {
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

  #fail(at: number, error: OnewriterError, ranges: Range[]): Range[] {
    const run = this.#runs.find(candidate => candidate.from <= at && at < candidate.to)!;
    const op = at - run.from + run.job.first;
    if (run.job.failed.has(op)) throw new TypeError('A write that was not run ended a transaction.');
    run.job.failed.set(op, encodeFailure(error));
    return ranges;
  }
}
