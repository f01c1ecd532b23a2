import { fenced, isFollowUpJobId, LIMITS, type OnewriterError } from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { noteJobCommit, noteLastJobCommit } from '../ledger/job-commits.ts';
import type { NumberedCommit } from '../ledger/ledger.ts';
import type { Progress } from '../thread/progress.ts';
import type { BatchJob } from './batch-job.ts';
import { translateError } from './sqlite-errors.ts';

/** Largest results of one job in the ledger, encoded: several writes of the largest size. */
const MAX_JOB_RESULT_BYTES = 32 * 1024 * 1024;

/** The transactions of one batch: their fence, their rows in the ledger, their COMMIT. */
export class BatchCommits {
  readonly #database: TenantDatabase;
  readonly #progress: Progress;
  #count = 0;
  #ms = 0;
  #outcomeUnknown = false;

  constructor(database: TenantDatabase, progress: Progress) {
    this.#database = database;
    this.#progress = progress;
  }

  /** Transactions that are committed. */
  get count(): number {
    return this.#count;
  }

  /** Time in COMMIT. */
  get ms(): number {
    return this.#ms;
  }

  /** Whether some of the batch may be committed: a COMMIT failed, or an earlier delivery had commits. */
  get outcomeUnknown(): boolean {
    return this.#outcomeUnknown;
  }

  noteOutcomeUnknown(): void {
    this.#outcomeUnknown = true;
  }

  /** Counts a COMMIT that steps ran. */
  noteCommit(ms: number): void {
    this.#count++;
    this.#ms += ms;
  }

  /** The fence: only the newest leader gets a commit_seq, and only with one does anything commit. */
  advance(): NumberedCommit {
    const { ledger, epoch } = this.#database;
    const commit = ledger.advance(epoch);
    if (commit === undefined) throw fenced('file', ledger.fileEpoch());
    return commit;
  }

  /** Bytes that the results of the next write of a job may have. */
  budgetOf(job: BatchJob): number {
    return Math.min(LIMITS.maxResultBytes, MAX_JOB_RESULT_BYTES - job.resultBytes);
  }

  /**
   * Writes the ledger's row of a job.
   * @param firstOp the first write of the job that this transaction ran.
   * @param nextOp the first that is still to run; null: none.
   */
  record(
    commit: NumberedCommit,
    job: BatchJob,
    nowMs: number,
    firstOp: number,
    nextOp: number | null,
    results: string,
  ): void {
    const { db, ledger, runner } = this.#database;
    // Only an earlier delivery, or an earlier transaction of this one, can have left a row.
    const again = job.known || this.#count > 0;
    ledger.record(commit, job.id, nowMs, nextOp, results, again);
    // Steps of an open transaction overtake all waiting jobs: older jobs are still to come.
    if (!isFollowUpJobId(job.id)) ledger.noteJob(job.addedAt);
    if (nextOp !== null) noteJobCommit(db, job.id, nowMs, [commit.seq, firstOp, nextOp]);
    else if (again) noteLastJobCommit(db, job.id, [commit.seq, firstOp, job.message!.ops.length]);
    runner.forgetLastRowid();
  }

  /** @returns the error of a COMMIT that was refused because of the transaction's content. */
  commit(commit: NumberedCommit): OnewriterError | undefined {
    const startedMs = performance.now();
    this.#progress.atFiles(true);
    try {
      this.#database.commit(commit);
      this.#database.committed();
      this.#count++;
      return undefined;
    } catch (thrown) {
      const error = translateError(thrown);
      // A constraint leaves the transaction open. A virtual table that cannot commit ends it: "SQL logic error".
      if (error.code === 'CONSTRAINT_VIOLATION' || error.code === 'SQL_ERROR') return error;
      // The commit may be in the WAL, flushed or not; only the ledger of the reopened file shows it.
      if (error.code === 'DATABASE_IO_ERROR') this.#outcomeUnknown = true;
      throw error;
    } finally {
      this.#progress.atFiles(false);
      this.#ms += performance.now() - startedMs;
    }
  }
}
