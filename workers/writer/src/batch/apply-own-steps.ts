import {
  COMMIT_ROW_PREFIX,
  fromWireError,
  LIMITS,
  OnewriterError,
  receiptId,
  type WireStepsOperation,
} from '@onewriter/protocol';
import type { TenantDatabase } from '../file/tenant-database.ts';
import { noteJobCommit } from '../ledger/job-commits.ts';
import type { NumberedCommit } from '../ledger/ledger.ts';
import { areForeignKeysOff } from '../steps/foreign-keys-after.ts';
import { MAX_KNOWN_JOBS } from '../steps/open-transaction.ts';
import type { OwnStepsOptions } from '../steps/own-session.ts';
import { type OwnStepsResult, runOwnSteps } from '../steps/own-steps.ts';
import { StepsFailed } from '../steps/run-steps.ts';
import { findProgress, forgetProgress, noteProgress } from '../steps/steps-progress.ts';
import type { ApplyBatchOptions } from './apply-options.ts';
import type { BatchCommits } from './batch-commits.ts';
import type { BatchJob } from './batch-job.ts';
import { assertSteps, encodeFailure } from './run-operation.ts';

/**
 * Applies one write that is steps with transactions of their own. Where one stays open, or nothing was committed, no ledger
 * has the answer.
 *
 * @param op which write of the job.
 */
export function applyOwnSteps(
  database: TenantDatabase,
  commits: BatchCommits,
  job: BatchJob,
  op: number,
  options: ApplyBatchOptions,
): void {
  const { db, ledger } = database;
  const nowMs = (options.now ?? Date.now)();
  const isLast = op + 1 === job.message!.ops.length;
  const progress = findProgress(db, job.id, op);
  // Commits of an earlier delivery make a failure of this one uncertain.
  if (progress !== undefined) commits.noteOutcomeUnknown();
  let recorded = false;
  const record = (commit: NumberedCommit, json: string) => {
    job.add(json);
    commits.record(commit, job, nowMs, op, isLast ? null : op + 1, job.joinResults());
    if (progress !== undefined || commits.count > 0) forgetProgress(db, job.id, op);
    recorded = true;
  };
  const commitsBefore = commits.count;
  const result = runOrFail(database, commits, job, op, nowMs, {
    transaction: options.transaction,
    full: options.full,
    progress,
    budgetBytes: commits.budgetOf(job),
    beforeCommit: (commit, json, done) => {
      database.runner.writes.setOnly(job.writerOf(op));
      if (json !== undefined) {
        record(commit, json);
        return;
      }
      noteProgress(db, job.id, op, nowMs, done);
      if (options.transaction === undefined) {
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
      commits.noteCommit(commitMs);
      options.afterCommit?.();
    },
  });
  const committed = progress !== undefined || commits.count > commitsBefore;
  if (options.transaction !== undefined && !recorded && (result.open || !committed)) {
    job.stageUnrecorded(`[${result.json}]`);
    if (result.theirs) remember(database, job, `[${result.json}]`);
    job.settle(result.commitSeq);
    return;
  }
  let { commitSeq } = result;
  if (!recorded) {
    database.begin();
    const commit = commits.advance();
    record(commit, result.json);
    ledger.prune();
    const refused = commits.commit(commit);
    commitSeq = commit.seq;
    if (refused !== undefined) throw refused;
  }
  if (!isLast) return;
  job.stage(job.joinResults());
  job.settle(commitSeq);
}

/** @returns also the answer where the steps as a whole failed. */
function runOrFail(
  database: TenantDatabase,
  commits: BatchCommits,
  job: BatchJob,
  op: number,
  nowMs: number,
  options: OwnStepsOptions,
): OwnStepsResult {
  const operation = job.message!.ops[op] as Partial<WireStepsOperation> | null | undefined;
  const poison = job.poisonOf(op);
  try {
    // Commits of an earlier delivery stay. The step after them was stopped, and none after that was applied.
    if (poison !== undefined && options.progress !== undefined) {
      const done = options.progress.q;
      const skipped = (operation?.q ?? []).slice(done.length + 1).map(() => '0');
      const q = [...done, JSON.stringify({ e: poison }), ...skipped];
      const json = `{"q":[${q.join()}],"a":1${foreignKeysOf(job.message!.sql, operation, options)}}`;
      return { json, commitSeq: 0, open: false, theirs: false };
    }
    if (poison !== undefined) throw fromWireError(poison);
    assertSteps(operation?.q);
    if (isLate(operation as WireStepsOperation, options, nowMs)) throw tooLate();
    return runOwnSteps(database, job.message!.sql, operation as WireStepsOperation, options);
  } catch (thrown) {
    if (thrown instanceof StepsFailed) {
      if (thrown.uncertain) commits.noteOutcomeUnknown();
      throw thrown.cause;
    }
    if (!(thrown instanceof OnewriterError)) throw thrown;
    const open = database.transaction !== undefined;
    if (!open) database.rollback();
    return { json: encodeFailure(thrown), commitSeq: 0, open, theirs: false };
  }
}

/** Member of the result: how the client's session continues behind a step that was stopped. */
function foreignKeysOf(
  sql: readonly string[],
  operation: Partial<WireStepsOperation> | null | undefined,
  { progress }: OwnStepsOptions,
): string {
  if (operation?.fk === undefined) return '';
  return `,"fk":${areForeignKeysOff(sql, operation as WireStepsOperation, progress) ? 0 : 1}`;
}

/** The job may be delivered again while the transaction is open, and its steps must not run twice in it. */
function remember({ transaction }: TenantDatabase, job: BatchJob, results: string): void {
  if (transaction === undefined) return;
  transaction.jobs.add(job.id);
  if (transaction.jobs.size > MAX_KNOWN_JOBS) {
    transaction.jobs.delete(transaction.jobs.values().next().value!);
  }
  transaction.results = results.length <= LIMITS.maxEventBytes ? results : '';
}

/** Whether the deadline of steps that are still to begin is over. */
function isLate({ by, tx }: WireStepsOperation, { progress }: OwnStepsOptions, nowMs: number): boolean {
  return by !== undefined && tx === undefined && progress === undefined && nowMs > by;
}

function tooLate(): OnewriterError {
  return new OnewriterError(
    'TRANSACTION_BUSY',
    'Other clients had the writer of this tenant until the deadline; nothing was run.',
  );
}
