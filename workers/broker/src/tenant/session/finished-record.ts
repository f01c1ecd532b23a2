import { isStepsJobId } from '@onewriter/protocol';
import type { JobOutcome } from '@onewriter/writer';
import type { FinishedJob } from '../../queue/tenant-queue.ts';

/**
 * The record that Redis keeps of a job. For steps that run alone it also says whether the ledger has their row (`recorded`): steps that
 * committed nothing, or left a transaction open, have none. Jobs of reads have none. Every other completed job has one.
 */
export function toFinishedJob(outcome: JobOutcome): FinishedJob {
  const { id, error, commitSeq, writes, failures, answer } = outcome;
  if (error !== undefined) return { id, state: 'failed', value: `${error.code}: ${error.message}` };
  // An answer repeated while the transaction is open has no commit.
  const recorded = isStepsJobId(id) ? `,"recorded":${answer === undefined && commitSeq > 0}` : '';
  const value = `{"commitSeq":${commitSeq},"writes":${writes},"failures":${failures}${recorded}}`;
  return { id, state: 'completed', value };
}
