import { type DataPlace, type JobContext, type JobLimits, runOneJob } from '@onewriter/files';
import { findDatabaseFile, OnewriterError, tenantFile } from '@onewriter/protocol';
import type { PackedSegment } from '../format/pack.ts';
import {
  jobEnv,
  openGivenReplica,
  type PublicAccess,
  publicAccess,
  type ReplicaAccess,
  replicaJob,
  withRoom,
} from '../jobs/replica-access.ts';
import { withLiveSnapshot } from './live-snapshot.ts';
import { storeFull } from './store-full.ts';

/** What is to be read whole. */
export interface SnapshotRequest {
  readonly place: DataPlace;
  readonly access: ReplicaAccess;
  readonly tenant: string;
  /** The number that the segment gets: not below that of any commit that is stored. */
  readonly pos: number;
  readonly limits: JobLimits;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Stores all pages of a tenant's file while it is in use, by a process of low priority. `end` of the segment is where in the log they
 * are from: what the log has behind it goes on from there.
 * @returns the segment, for the next pack
 * @throws OnewriterError TENANT_NOT_FOUND, DATABASE_…, SNAPSHOT_ENDED, REPLICA_…, ABORTED, STATEMENT_TIMEOUT
 */
export function snapshotTenant(request: SnapshotRequest): Promise<PackedSegment> {
  const { place, access, tenant, pos, limits, signal } = request;
  const job = replicaJob<TakeSnapshotArgs>('takeSnapshot', { ...publicAccess(access), pos });
  return runOneJob({ place, job }, tenant, { limits: withRoom(limits), env: jobEnv(access), signal });
}

export interface TakeSnapshotArgs extends PublicAccess {
  readonly pos: number;
}

/** In a process of its own. @throws as {@link snapshotTenant} */
export async function takeSnapshot(
  { place, tenant }: Pick<JobContext, 'place' | 'tenant'>,
  { pos, ...access }: TakeSnapshotArgs,
): Promise<PackedSegment> {
  const found = findDatabaseFile(tenantFile(place.dataDir, tenant, place.dbFile));
  if (found === undefined)
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file.`, { tenant });
  const { store, keys } = await openGivenReplica(access);
  try {
    return await withLiveSnapshot(found.path, place.busyTimeoutMs, snapshot => {
      const { position: end, commitSeq, epoch } = snapshot;
      const { incarnation } = found;
      const state = { tenant, pos, commitSeq, atMs: Date.now(), epoch, incarnation, end };
      return storeFull(store, keys, snapshot, state);
    });
  } finally {
    await store.close();
  }
}
