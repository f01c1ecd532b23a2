import { type DataPlace, type JobLimits, type ProcessOptions, runOneJob } from '@onewriter/files';
import type { Point } from '../chain/point.ts';
import { jobEnv, publicAccess, type ReplicaAccess, replicaJob, withRoom } from '../jobs/replica-access.ts';
import type { StageReplicaArgs } from './restore-point.ts';
import { scratchDraft } from './scratch-draft.ts';
import type { StagedReplica } from './stage-replica.ts';

/** A point to look at. */
export interface ScratchRequest extends Pick<ProcessOptions, 'priority' | 'signal'> {
  readonly access: ReplicaAccess;
  readonly tenant: string;
  readonly point: Point;
  readonly limits: JobLimits;
  /** Stored bytes that are read. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** A tenant's file at a point, for a while; its path, and what was found. */
export interface ScratchFile extends Pick<StagedReplica, 'pos' | 'commitSeq' | 'atMs'> {
  readonly path: string;
}

/**
 * Restores a tenant as it was at a point to a file beside the tenants' folders, and removes it after `work`. What a process left that
 * was killed meanwhile is removed by the next one.
 * @throws OnewriterError POSITION_UNKNOWN, REPLICA_…, DATABASE_…, STATEMENT_TIMEOUT, ABORTED; whatever `work` throws
 */
export async function withScratchPoint<T>(
  place: DataPlace,
  request: ScratchRequest,
  work: (file: ScratchFile) => Promise<T>,
): Promise<T> {
  const { access, tenant, point, limits, priority, signal, onProgress } = request;
  const draft = scratchDraft(place.dataDir, tenant);
  try {
    const args = { ...publicAccess(access), from: tenant, point, draft: draft.path };
    const job = replicaJob<StageReplicaArgs>('stageReplica', args, draft.path);
    const options = { limits: withRoom(limits), env: jobEnv(access), priority, signal, onProgress };
    const { pos, commitSeq, atMs } = await runOneJob<StagedReplica>({ place, job }, tenant, options);
    return await work({ path: draft.path, pos, commitSeq, atMs });
  } finally {
    draft.discard();
  }
}
