import { isStepsJobId } from '@onewriter/protocol';
import type { JobOutcome } from '@onewriter/writer';
import type { FinishedJob } from '../../queue/tenant-queue.ts';

/**
 * The record that Redis keeps of a job. For steps that run alone it also says whether the ledger has their row (`recorded`): steps that
 * committed nothing, or left a transaction open, have none. Jobs of reads have none. Every other completed job has one.
 * @param replicatedAt when the replica had it, ms since the epoch; 0: that was waited for in vain; undefined: it was not waited for
 */
export function toFinishedJob(outcome: JobOutcome, replicatedAt?: number | undefined): FinishedJob {
  const { id, error, commitSeq, writes, failures, answer } = outcome;
  if (error !== undefined) return { id, state: 'failed', value: `${error.code}: ${error.message}` };
  // An answer repeated while the transaction is open has no commit.
  const recorded = isStepsJobId(id) ? `,"recorded":${answer === undefined && commitSeq > 0}` : '';
  const replica = replicatedAt === undefined ? '' : `,"replicatedAt":${replicatedAt}`;
  const value = `{"commitSeq":${commitSeq},"writes":${writes},"failures":${failures}${recorded}${replica}}`;
  return { id, state: 'completed', value };
}
