import {
  MAX_WORST_TENANTS,
  type StatusRehearsals,
  type StatusReplica,
  type StatusReplicaStore,
} from '@onewriter/protocol';
import type { ReplicaStatus } from '@onewriter/replicator';
import type { ReplicaAnswers } from '../../replica/replica-answers.ts';
import type { ReplicaState } from '../../replica/replica-state.ts';

/** What the status says of the replica; undefined where there is none, or nothing is known yet. */
export function readReplicaStatus(
  { status, available }: Pick<ReplicaState, 'status' | 'available'>,
  { waiting }: Pick<ReplicaAnswers, 'waiting'>,
  bufferBytes: number,
): StatusReplica | undefined {
  if (status === undefined) return undefined;
  const { stores, term, packs, tenants, lagMs, lagBytes, gaps, worst, failures = [] } = status;
  const { damaged, rehearsals } = status;
  return {
    stores: stores.map(toStore),
    ...{ available, term, packs, tenants, lagMs, lagBytes, bufferBytes, gaps, waitingJobs: waiting },
    worst: worst.slice(0, MAX_WORST_TENANTS).map(row => ({
      tenant: row.tenant,
      commitSeq: row.commitSeq,
      commitAt: row.commitMs,
      lagCommits: row.lagCommits,
      lagBytes: row.lagBytes,
      lagMs: row.lagMs,
      gaps: row.gaps,
      verifiedMs: row.verifiedMs,
    })),
    failures: failures.map(({ tenant, message, atMs }) => ({ tenant, message, at: atMs })),
    damaged,
    rehearsals: rehearsals && toRehearsals(rehearsals),
  };
}

function toStore({ failingSinceMs, copy, ...store }: ReplicaStatus['stores'][number]): StatusReplicaStore {
  return {
    ...store,
    failingSince: failingSinceMs,
    copy: copy && { ...copy, behindPacks: copy.behindPacks ?? null },
  };
}

function toRehearsals({
  lastMs,
  oldestMs,
  failed,
  ...counts
}: NonNullable<ReplicaStatus['rehearsals']>): StatusRehearsals {
  return {
    ...{ ...counts, lastAt: lastMs, oldestAt: oldestMs ?? null },
    failed: failed.map(({ atMs, ...row }) => ({ ...row, at: atMs })),
  };
}
