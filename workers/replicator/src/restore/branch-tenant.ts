import { resolve } from 'node:path';
import { type DataPlace, runOneJob } from '@onewriter/files';
import {
  type BranchAnswer,
  type BranchPoint,
  fromWireError,
  isHibernated,
  isOnewriterError,
  OnewriterError,
  tenantFile,
} from '@onewriter/protocol';
import { askBranch, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { openReplicaReader } from '../chain/replica-reader.ts';
import {
  jobEnv,
  openGivenReplica,
  type PublicAccess,
  publicAccess,
  replicaJob,
  withRoom,
} from '../jobs/replica-access.ts';
import { hasFile, type PointReport, type PointRequest, restorePoint } from './restore-point.ts';

/*
 * A branch is an entry in the replica, which names a commit of another tenant, and a note that the file lies there: the first read or
 * write brings it. Only a broker writes to the store; where it cannot, the file is copied out of the replica, as a restore does.
 */

/** What is to be branched; the new tenant is `as`. */
export type BranchTenantRequest = Omit<PointRequest, 'replace' | 'as'> & {
  readonly as: string;
  /** Whether the store is the one that the broker writes to. */
  readonly isOwnStore: boolean;
};

/** What a branch did: it has numbers of its content where it was copied. */
export type BranchReport = Omit<PointReport, 'rows' | 'tables'> & {
  readonly rows: number | null;
  readonly tables: number | null;
};

/** @throws OnewriterError as {@link restorePoint}; REPLICA_UNAVAILABLE where the store does not answer in time */
export async function branchTenant(place: DataPlace, request: BranchTenantRequest): Promise<BranchReport> {
  const { redis, as, isOwnStore, leavePaused } = request;
  if (hasFile(place, as) || isHibernated(place.dataDir, as))
    throw new OnewriterError('TENANT_BUSY', `There is a tenant ${as} already. Choose another name.`, {
      tenant: as,
    });
  const pointed =
    isOwnStore && redis !== undefined && !leavePaused ? await point(place, request, redis) : undefined;
  return pointed ?? restorePoint(place, { ...request, replace: false });
}

/** @returns undefined where it has to be copied */
async function point(
  place: DataPlace,
  request: BranchTenantRequest,
  redis: Redis,
): Promise<BranchReport | undefined> {
  const { tenant: from, as, who, onChecked, signal } = request;
  const at = request.point.kind === 'newest' ? undefined : await findPoint(place, request);
  signal?.throwIfAborted();
  onChecked?.();
  const reason = `branch of ${from}`;
  const hold = { name: 'restore', who, reason, exclusive: true, needsLeader: true } as const;
  const answer = await withHeldTenant(redis, place.group, as, hold, () =>
    askBranch(redis, place.group, as, { from, at, who }),
  ).catch((error: unknown): BranchAnswer => {
    if (!isOnewriterError(error, 'BROKER_UNAVAILABLE')) throw error;
    return { kind: 'refused', reason: error.message };
  });
  if (answer.kind === 'refused') return undefined;
  if (answer.kind === 'failed') throw fromWireError(answer.error);
  const { pos, commitSeq, atMs } = answer.at;
  return {
    ...{ tenant: as, from, file: resolve(tenantFile(place.dataDir, as, place.dbFile)) },
    ...{ replaced: null, replacedCommitSeq: null, pos, pointCommitSeq: commitSeq, atMs, commitSeq },
    ...{ rows: null, tables: null, bytes: 0, requests: 1, queuedJobs: null, paused: false, warnings: [] },
  };
}

function findPoint(
  place: DataPlace,
  { access, tenant, point, limits, priority, signal }: BranchTenantRequest,
): Promise<BranchPoint> {
  const job = replicaJob<FindPointArgs>('findBranchPoint', { ...publicAccess(access), point });
  const options = { limits: withRoom(limits), env: jobEnv(access), priority, signal };
  return runOneJob<BranchPoint>({ place, job }, tenant, options);
}

export interface FindPointArgs extends PublicAccess, Pick<PointRequest, 'point'> {}

/** In a process of its own: the state of a store with many tenants is large. @throws OnewriterError POSITION_UNKNOWN, REPLICA_… */
export async function findBranchPoint(
  { tenant }: { readonly tenant: string },
  { point, ...access }: FindPointArgs,
): Promise<BranchPoint> {
  const { store, keys } = await openGivenReplica(access);
  try {
    const { commitSeq, atMs, segments } = await openReplicaReader(store, keys).plan(tenant, point);
    const { entry, cutAt } = segments.at(-1)!;
    return { tenant: entry.tenant, pos: cutAt ?? entry.max, commitSeq, atMs, epoch: entry.epoch };
  } finally {
    await store.close();
  }
}
