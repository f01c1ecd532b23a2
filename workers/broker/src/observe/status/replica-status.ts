import type { StatusReplica } from '@onewriter/protocol';
import type { ReplicaAnswers } from '../../replica/replica-answers.ts';
import type { ReplicaState } from '../../replica/replica-state.ts';

const MAX_WORST = 50;

/** What the status says of the replica; undefined where there is none, or nothing is known yet. */
export function readReplicaStatus(
  { status, available }: Pick<ReplicaState, 'status' | 'available'>,
  { waiting }: Pick<ReplicaAnswers, 'waiting'>,
  bufferBytes: number,
): StatusReplica | undefined {
  if (status === undefined) return undefined;
  const { stores, term, packs, tenants, lagMs, lagBytes, gaps, worst } = status;
  return {
    stores: stores.map(({ failingSinceMs, ...store }) => ({ ...store, failingSince: failingSinceMs })),
    ...{ available, term, packs, tenants, lagMs, lagBytes, bufferBytes, gaps, waitingJobs: waiting },
    worst: worst.slice(0, MAX_WORST).map(row => ({
      tenant: row.tenant,
      commitSeq: row.commitSeq,
      commitAt: row.commitMs,
      lagCommits: row.lagCommits,
      lagBytes: row.lagBytes,
      lagMs: row.lagMs,
      gaps: row.gaps,
      verifiedMs: row.verifiedMs,
    })),
  };
}
