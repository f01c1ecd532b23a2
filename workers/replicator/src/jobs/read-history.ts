import { type DataPlace, type JobLimits, type ProcessOptions, runOneJob } from '@onewriter/files';
import type { HistoryPoint } from '@onewriter/protocol';
import { openReplicaReader } from '../chain/replica-reader.ts';
import {
  jobEnv,
  openGivenReplica,
  type PublicAccess,
  publicAccess,
  type ReplicaAccess,
  replicaJob,
  withRoom,
} from './replica-access.ts';

/** Whose history is asked for. */
export interface HistoryRequest extends Pick<ProcessOptions, 'priority' | 'signal'> {
  readonly access: ReplicaAccess;
  readonly tenant: string;
  /** Points at most. */
  readonly limit: number;
  readonly limits: JobLimits;
}

/**
 * The points that a tenant can be restored to, the newest first, read in a process of its own: the state of a store with many tenants
 * is large. @throws OnewriterError REPLICA_…, ABORTED, STATEMENT_TIMEOUT
 */
export function readHistoryInProcess(
  place: DataPlace,
  { access, tenant, limit, limits, priority, signal }: HistoryRequest,
): Promise<readonly HistoryPoint[]> {
  const job = replicaJob<ReadHistoryArgs>('readHistory', { ...publicAccess(access), tenant, limit });
  return runOneJob({ place, job }, tenant, {
    ...{ limits: withRoom(limits), env: jobEnv(access), priority, signal },
  });
}

export interface ReadHistoryArgs extends PublicAccess {
  readonly tenant: string;
  readonly limit: number;
}

/** In a process of its own. @throws OnewriterError REPLICA_… */
export async function readHistory(
  _context: unknown,
  { tenant, limit, ...access }: ReadHistoryArgs,
): Promise<readonly HistoryPoint[]> {
  const { store, keys } = await openGivenReplica(access);
  try {
    return await openReplicaReader(store, keys).history(tenant, limit);
  } finally {
    await store.close();
  }
}
