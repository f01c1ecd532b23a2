import { isReadJobId, isStepsJobId, OnewriterError } from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { hasProgress } from '../steps/steps-progress.ts';
import type { BatchJob } from './batch-job.ts';

/** A job with writes to run. */
export interface JobRun {
  readonly job: BatchJob;
  /** Its place in the task. */
  readonly index: number;
  /** The numbers of its writes, the second exclusive. */
  readonly from: number;
  readonly to: number;
}

/** The writes of a batch that are to run, numbered from 0. */
export interface BatchPlan {
  readonly runs: readonly JobRun[];
  /** Numbers of writes that are steps with transactions of their own. */
  readonly own: ReadonlySet<number>;
  /** How many writes are to run. */
  readonly writes: number;
}

/** What decides about a job besides the ledger; see ApplyBatchOptions. */
export interface BatchPlanOptions {
  readonly dirs: ReadonlySet<string> | undefined;
  /** The batch is one job of steps that run alone. */
  readonly alone: boolean;
}

/** `details.reason` of jobs that may have been applied so long ago that the ledger no longer has them. */
const OLDER_THAN_LEDGER = 'older than the ledger';

/** Asks the ledger about every job, refuses those that must not run, and numbers the writes that are left. */
export function planBatch(
  database: TenantDatabase,
  jobs: readonly BatchJob[],
  { dirs, alone }: BatchPlanOptions,
): BatchPlan {
  const runs: JobRun[] = [];
  const own = new Set<number>();
  let next = 0;
  for (const [index, job] of jobs.entries()) {
    // Its twin is earlier in this batch.
    if (jobs.indexOf(job) !== index) continue;
    if (job.message === undefined) continue;
    if (isReadJobId(job.id)) {
      if (isForeign(job, dirs)) job.refuse(meantForAnother('read'), true);
      continue;
    }
    const row = database.ledger.find(job.id);
    if (row !== undefined) job.resume(row);
    else if (isForeign(job, dirs)) job.refuse(meantForAnother('write'), true);
    else if (mayBePruned(database, job)) job.refuse(olderThanLedger(database.ledger.prunedTo));
    else if (alone && !repeats(database, job)) own.add(next);
    if (job.remaining === 0) continue;
    runs.push({ job, index, from: next, to: next + job.remaining });
    next += job.remaining;
  }
  return { runs, own, writes: next };
}

function isForeign({ message }: BatchJob, dirs: ReadonlySet<string> | undefined): boolean {
  return dirs !== undefined && message!.dir !== undefined && !dirs.has(message!.dir);
}

/** False where an earlier delivery committed some of its steps: notes beside the ledger show those. */
function mayBePruned({ ledger, db, transaction }: TenantDatabase, { id, addedAt }: BatchJob): boolean {
  if (!ledger.mayHavePruned(addedAt) || transaction?.jobs.has(id)) return false;
  return !isStepsJobId(id) || !hasProgress(db, id);
}

/** Whether the open transaction has the job already; then the job repeats its answer. */
function repeats({ transaction }: TenantDatabase, job: BatchJob): boolean {
  if (!transaction?.jobs.has(job.id)) return false;
  // For a job before the newest, the broker may have kept the answer.
  const isNewest = [...transaction.jobs].at(-1) === job.id;
  job.repeat(isNewest ? transaction.results : '');
  return true;
}

function meantForAnother(what: 'read' | 'write'): OnewriterError {
  return new OnewriterError(
    'MISCONFIGURED',
    `The ${what} comes from a client of another data directory: two installations share this Redis and ONEWRITER_GROUP. It was not ${what === 'read' ? 'run' : 'applied'}.`,
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
