import { type DataPlace, type JobContext, jobLimits, runOneJob } from '@onewriter/files';
import { openReplicaReader } from '../chain/replica-reader.ts';
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
import { scratchDraft } from '../restore/scratch-draft.ts';
import type { ReadFull } from '../ship/full-queue.ts';
import { snapshotFromStore } from './snapshot-from-store.ts';

/** What segments take while they are read, and made again. */
const MEMORY_BYTES = 1024 * 1024 * 1024;

/** Gives a branch that has no file a full segment of its own, by a process of low priority: what its parent was may expire then. */
export function copyBranchInProcess(place: DataPlace, access: ReplicaAccess): ReadFull {
  return (tenant, pos, signal) => {
    const job = replicaJob<CopyStoredArgs>('copyStored', { ...publicAccess(access), pos });
    const limits = withRoom(jobLimits(place, MEMORY_BYTES));
    return runOneJob<PackedSegment>({ place, job }, tenant, { limits, env: jobEnv(access), signal });
  };
}

export interface CopyStoredArgs extends PublicAccess {
  readonly pos: number;
}

/** In a process of its own. @throws OnewriterError POSITION_UNKNOWN, DATABASE_FULL, REPLICA_… */
export async function copyStored(
  { place, tenant }: Pick<JobContext, 'place' | 'tenant'>,
  { pos, ...access }: CopyStoredArgs,
): Promise<PackedSegment> {
  const { store, keys } = await openGivenReplica(access);
  const draft = scratchDraft(place.dataDir, `branch-${tenant}`);
  try {
    return await snapshotFromStore(openReplicaReader(store, keys), tenant, pos, draft.path);
  } finally {
    draft.discard();
    await store.close();
  }
}
