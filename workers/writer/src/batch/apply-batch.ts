import { isReadJobId, kindOfOperation, type OnewriterError, type ScriptPlan } from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import type { NumberedCommit } from '../ledger/ledger.ts';
import { OwnerReads, type ReadJob } from '../reads/owner-reads.ts';
import { OwnTransactionsNeeded } from '../steps/run-steps.ts';
import { findProgress } from '../steps/steps-progress.ts';
import type { ApplyStats, JobOutcome, QueuedJob } from '../thread/lane-task.ts';
import type { ApplyBatchOptions } from './apply-options.ts';
import { applyOwnSteps } from './apply-own-steps.ts';
import { BatchCommits } from './batch-commits.ts';
import { BatchJob } from './batch-job.ts';
import { type JobRun, planBatch } from './batch-plan.ts';
import { type Cut, commitInRanges, cutRange, type Range, type Setback } from './range-plan.ts';
import {
  encodeFailure,
  FAILURE,
  isSingle,
  planForeignKeys,
  runOperation,
  TransactionEnded,
} from './run-operation.ts';
import { translateError } from './sqlite-errors.ts';

/*
 * A range of writes, normally the whole batch, is one transaction:
 *
 *   BEGIN IMMEDIATE · fence and commit_seq · each write in its savepoint · a ledger row per job · COMMIT
 *
 * Where a write spoils it for the others, the range is rolled back and cut (range-plan.ts). Each range has a commit_seq of its
 * own. A job that lies in several has its ledger row advanced in each (`next_op`), so that a crash between them resumes where
 * it stopped. A write runs at most twice per cut.
 */

/** Result of a batch. */
export interface BatchResult {
  /** One per job, same order. */
  readonly jobs: readonly JobOutcome[];
  /** The transaction that is open now. */
  readonly open: string | undefined;
  readonly stats: Pick<ApplyStats, 'applyMs' | 'commitMs' | 'commits' | 'readMs'>;
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

type Attempt =
  /** @property end the first write that is not in it. */
  | { readonly kind: 'committed'; readonly end: number }
  | {
      readonly kind: 'setback';
      readonly setback: Setback;
      /** The answer of a write that failed for good with it. */
      readonly answerOf: (number: number) => string;
    };

class Batch {
  readonly #database: TenantDatabase;
  readonly #options: ApplyBatchOptions;
  readonly #now: () => number;
  readonly #commits: BatchCommits;
  /** One per job of the task; a job that came twice is here twice. */
  readonly #jobs: readonly BatchJob[];
  #runs: readonly JobRun[] = [];
  /** Writes that need transactions of their own. */
  readonly #own = new Set<number>();

  constructor(database: TenantDatabase, jobs: readonly QueuedJob[], options: ApplyBatchOptions) {
    this.#database = database;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#commits = new BatchCommits(database, options.progress);
    const byId = new Map<string, BatchJob>();
    this.#jobs = jobs.map(queued => {
      const job = byId.get(queued.id) ?? new BatchJob(queued);
      byId.set(queued.id, job);
      return job;
    });
  }

  apply(): BatchResult {
    const startedMs = performance.now();
    commitInRanges(
      this.#guard(() => this.#plan()),
      range => {
        const attempt = this.#guard(() => this.#attempt(range));
        if (attempt.kind === 'setback') return this.#cut(range, attempt);
        this.#options.afterCommit?.();
        return attempt.end;
      },
    );
    const readMs = this.#runReads();
    const totalMs = performance.now() - startedMs;
    const { ms: commitMs, count: commits } = this.#commits;
    return {
      jobs: this.#jobs.map(job => job.outcome()),
      open: this.#database.transaction?.id,
      stats: { applyMs: totalMs - commitMs, commitMs, commits, ...(readMs === undefined ? {} : { readMs }) },
    };
  }

  /** After the writes: a read sees all that its client sent before it. @returns how long they took; undefined where there are none */
  #runReads(): number | undefined {
    const { reads = new OwnerReads(), progress, allowance } = this.#options;
    const jobs: ReadJob[] = [];
    for (const [index, job] of this.#jobs.entries()) {
      const isTwin = this.#jobs.indexOf(job) !== index;
      if (isReadJobId(job.id) && job.remaining > 0 && !isTwin) jobs.push({ job, index });
    }
    if (jobs.length === 0) return undefined;
    const startedMs = performance.now();
    this.#guard(() => reads.run(this.#database, jobs, progress, allowance));
    return performance.now() - startedMs;
  }

  #guard<Result>(run: () => Result): Result {
    try {
      return run();
    } catch (error) {
      this.#database.rollback();
      const { outcomeUnknown, count } = this.#commits;
      const uncertain = outcomeUnknown || count > 0 || this.#jobs.some(job => job.known);
      throw new BatchFailed(translateError(error), uncertain);
    }
  }

  #plan(): Range {
    const { dirs, transaction } = this.#options;
    const plan = planBatch(this.#database, this.#jobs, { dirs, alone: transaction !== undefined });
    this.#runs = plan.runs;
    for (const number of plan.own) this.#own.add(number);
    return [0, plan.writes];
  }

  /** Runs one transaction over a range of writes. On any error it leaves nothing. */
  #attempt([from, to]: Range): Attempt {
    const alone = to - from === 1 && this.#own.has(from);
    const plan = alone ? this.#planForeignKeys(from) : undefined;
    if (alone && plan === undefined) return this.#attemptOwn(from);
    const { schema, runner, capture } = this.#database;
    const { writes } = runner;
    const isNoted = capture !== undefined;
    if (to - from > 1 && schema.look().deferredKeys) return setBack({ kind: 'deferred-keys' });
    // It has no effect inside a transaction.
    if (plan?.foreignKeys === 'off') this.#database.switchForeignKeysOff();
    this.#database.begin();
    const touched = this.#runs.filter(run => run.from < to && run.to > from);
    const failures = new Map<number, string>();
    let at = from;
    let end = to;
    let commit: NumberedCommit;
    try {
      commit = this.#commits.advance();
      const nowMs = this.#now();
      for (const { job, index, from: first, to: last } of touched) {
        while (at < Math.min(end, last)) {
          const op = at - first + job.first;
          this.#options.progress.at(index, op);
          const { kinds } = writes;
          const result = this.#result(job, op, nowMs, commit.seq, alone);
          if (!result.startsWith(FAILURE)) {
            if (isNoted) writes.add(job.writerOf(op));
          } else {
            writes.kinds = kinds;
            if (!job.failed.has(op) && !isSingle(job.message!.ops[op])) failures.set(at, result);
          }
          job.add(result);
          at++;
          // It has made the first deferred key: later writes are judged alone.
          if (at < end && schema.deferredKeys) end = at;
        }
        const results = job.joinResults();
        const begun = Math.max(from - first, 0) + job.first;
        this.#commits.record(commit, job, nowMs, begun, at < last ? at - first + job.first : null, results);
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
      if (error instanceof OwnTransactionsNeeded) return setBack({ kind: 'own', at });
      if (error instanceof TransactionEnded) {
        const final = error.cause.code === 'CONSTRAINT_VIOLATION';
        return setBack({ kind: 'ended', at, final }, () => encodeFailure(error.cause));
      }
      // Not a write's own error, which is its answer: an undone virtual table can refuse the next savepoint, too.
      const spoiled = translateError(error);
      if (spoiled.code === 'SQL_ERROR' && (failures.size > 0 || to - from > 1)) {
        return this.#refused([from, to], spoiled, failures);
      }
      throw error;
    }
    const refusal = this.#commits.commit(commit);
    if (refusal !== undefined) {
      this.#undo(touched, from);
      return this.#refused([from, to], refusal, failures);
    }
    for (const run of touched) if (end >= run.to) run.job.settle(commit.seq);
    if (this.#database.sessionChanged) this.#database.rollback(); // foreign keys are on again
    return { kind: 'committed', end };
  }

  #planForeignKeys(number: number): ScriptPlan | undefined {
    const { job, from } = this.#runOf(number);
    return planForeignKeys(job.message!.sql, job.message!.ops[number - from + job.first]);
  }

  #attemptOwn(number: number): Attempt {
    const { job, index, from } = this.#runOf(number);
    const op = number - from + job.first;
    this.#options.progress.at(index, op);
    applyOwnSteps(this.#database, this.#commits, job, op, this.#options);
    return { kind: 'committed', end: number + 1 };
  }

  /** @param failures answers of the writes that failed and left nothing, by number. */
  #refused([from, to]: Range, error: OnewriterError, failures: ReadonlyMap<number, string>): Attempt {
    // A virtual table that was made and undone refuses every COMMIT. Those writes have failed; the others go without them.
    if (error.code === 'SQL_ERROR' && failures.size > 0) {
      const undone = [...failures.keys()];
      return setBack({ kind: 'commit-refused', undone, steps: false }, number => failures.get(number)!);
    }
    const steps = to - from === 1 && this.#isSteps(from);
    return setBack({ kind: 'commit-refused', undone: [], steps }, () => encodeFailure(error));
  }

  #result(job: BatchJob, op: number, nowMs: number, commitSeq: number, alone: boolean): string {
    const failed = job.failed.get(op);
    if (failed !== undefined) return failed;
    const poison = job.poisonOf(op);
    if (poison !== undefined) {
      // Some of its steps may be committed: then the answer says which.
      if (findProgress(this.#database.db, job.id, op) !== undefined) throw new OwnTransactionsNeeded();
      return JSON.stringify({ e: poison });
    }
    const place = { jobId: job.id, op, nowMs, commitSeq, asksTotal: job.asksTotal, alone };
    return runOperation(this.#database, job.message!, place, this.#commits.budgetOf(job));
  }

  #undo(touched: readonly JobRun[], from: number): void {
    this.#database.rollback();
    for (const run of touched) run.job.rewind(Math.max(from - run.from, 0) + run.job.first);
  }

  #cut(range: Range, { setback, answerOf }: Extract<Attempt, { kind: 'setback' }>): Cut {
    const cut = cutRange(range, setback);
    if (cut.own !== undefined) this.#own.add(cut.own);
    for (const number of cut.failed) this.#fail(number, answerOf(number));
    return cut;
  }

  #isSteps(number: number): boolean {
    const { job, from } = this.#runOf(number);
    const op = number - from + job.first;
    return kindOfOperation(job.message!.ops[op]) === 'steps' && !job.failed.has(op);
  }

  /** @param answer of a write that is not run again. */
  #fail(number: number, answer: string): void {
    const { job, from } = this.#runOf(number);
    const op = number - from + job.first;
    if (job.failed.has(op)) throw new TypeError('A write that was not run ended a transaction.');
    job.failed.set(op, answer);
  }

  #runOf(number: number): JobRun {
    return this.#runs.find(candidate => candidate.from <= number && number < candidate.to)!;
  }
}

function setBack(setback: Setback, answerOf: (number: number) => string = noAnswer): Attempt {
  return { kind: 'setback', setback, answerOf };
}

function noAnswer(number: number): string {
  throw new TypeError(`Write ${number} has not failed.`);
}
