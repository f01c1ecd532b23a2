import { MAX_WORST_TENANTS, type StatusReplica } from '@onewriter/protocol';
import type { ReplicaAnswers } from '../../replica/replica-answers.ts';
import type { ReplicaState } from '../../replica/replica-state.ts';

/** What the status says of the replica; undefined where there is none, or nothing is known yet. */
export function readReplicaStatus(
  { status, available }: Pick<ReplicaState, 'status' | 'available'>,
  { waiting }: Pick<ReplicaAnswers, 'waiting'>,
  bufferBytes: number,
): StatusReplica | undefined {
  if (status === undefined) return undefined;
  const worst = status.worst.slice(0, MAX_WORST_TENANTS);
  return { ...status, worst, available, bufferBytes, waitingJobs: waiting };
}
