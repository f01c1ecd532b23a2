import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  type DataPlace,
  type JobContext,
  type JobLimits,
  type PutRequest,
  putTenant,
} from '@onewriter/files';
import { OnewriterError, tenantFile } from '@onewriter/protocol';
import type { Point } from '../chain/point.ts';
import {
  jobEnv,
  openGivenReplica,
  type PublicAccess,
  publicAccess,
  type ReplicaAccess,
  replicaJob,
  withRoom,
} from '../jobs/replica-access.ts';
import { RestoreSource, type StagedReplica } from './stage-replica.ts';

/** How a file out of a store is put in its place. */
export interface PlaceRequest {
  /** Whether a present file may be put aside. */
  readonly replace: boolean;
  /** Whether it stays paused afterwards. */
  readonly leavePaused?: boolean | undefined;
  /** Undefined: the caller vouches that no broker runs. */
  readonly redis: PutRequest['redis'];
  /** Who does it, for those who find the tenant held. */
  readonly who: string;
  readonly limits: JobLimits;
  readonly priority?: 'low' | 'usual' | undefined;
  /** Stops it as long as nothing has changed; afterwards it is finished. */
  readonly signal?: AbortSignal | undefined;
  /** Stored bytes that are read. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Called when the file is checked: from here on it is finished, whatever the signal says. */
  readonly onChecked?: (() => void) | undefined;
}

/** What is to be restored out of a replica. */
export interface PointRequest extends PlaceRequest {
  readonly access: ReplicaAccess;
  readonly tenant: string;
  readonly point: Point;
  /** Name of the new tenant that it becomes; undefined: the tenant itself. */
  readonly as?: string | undefined;
}

/** What a restore out of a replica did. */
export interface PointReport {
  /** That has the file now. */
  readonly tenant: string;
  readonly from: string;
  readonly file: string;
  /** The file that was there before, under its new name; null for a new tenant. */
  readonly replaced: string | null;
  readonly replacedCommitSeq: number | null;
  /** The point that it is at. */
  readonly pos: number;
  readonly pointCommitSeq: number;
  readonly atMs: number;
  /** The number that the restore itself has. */
  readonly commitSeq: number;
  readonly rows: number;
  readonly tables: number;
  readonly bytes: number;
  readonly requests: number;
  /** Jobs that wait in the queue: they are applied to what was restored. */
  readonly queuedJobs: number | null;
  readonly paused: boolean;
  readonly warnings: readonly string[];
}

/**
 * Restores a tenant as it was at a point, as a new tenant or in the place of its file.
 *
 * @throws OnewriterError POSITION_UNKNOWN, REPLICA_…, TENANT_BUSY (there is a file and `replace` is not set), ABORTED, and as
 * `putTenant`. Nothing has changed then, unless the message says otherwise.
 */
export async function restorePoint(place: DataPlace, request: PointRequest): Promise<PointReport> {
  const { access, tenant: from, point, replace, leavePaused = false } = request;
  const tenant = request.as ?? from;
  const isThere = hasFile(place, tenant);
  if (isThere && (!replace || request.as !== undefined)) {
    const hint =
      request.as === undefined
        ? 'To put it aside: --replace. To look at the point first, restore it under another name: --as <new>.'
        : 'Choose another name.';
    throw new OnewriterError('TENANT_BUSY', `Tenant ${tenant} has a file already. ${hint}`, { tenant });
  }
  const put = await putTenant<StagedReplica>(place, {
    ...request,
    tenant,
    where: isThere ? 'replace' : 'new',
    job: draft =>
      replicaJob<StageReplicaArgs>('stageReplica', { ...publicAccess(access), from, point, draft }, draft),
    env: jobEnv(access),
    limits: withRoom(request.limits),
    // The ledger describes the file that it is in.
    keepsLedger: false,
    leavePaused,
    reason: `from the replica of ${from}`,
  });
  const { pos, commitSeq, atMs, rows, tables, bytes, requests } = put.staged;
  return {
    ...{ tenant, from, file: put.file, replaced: put.replaced },
    replacedCommitSeq: put.old?.commitSeq ?? null,
    ...{ pos, pointCommitSeq: commitSeq, atMs, rows, tables, bytes, requests },
    commitSeq: put.commitSeq,
    ...{ queuedJobs: put.queuedJobs, paused: put.paused, warnings: put.warnings },
  };
}

/** Whether a tenant has a file that would have to be put aside. */
export function hasFile({ dataDir, dbFile }: DataPlace, tenant: string): boolean {
  return existsSync(resolve(tenantFile(dataDir, tenant, dbFile)));
}

export interface StageReplicaArgs extends PublicAccess {
  readonly from: string;
  readonly point: Point;
  readonly draft: string;
  /** A larger file is not made. */
  readonly maxBytes?: number | undefined;
}

/** In a process of its own. @throws OnewriterError as {@link restorePoint} */
export async function stageReplica(
  { onProgress }: Pick<JobContext, 'onProgress'>,
  { from, point, draft, maxBytes, ...access }: StageReplicaArgs,
): Promise<StagedReplica> {
  const replica = await openGivenReplica(access);
  try {
    return await new RestoreSource(replica).stage(from, point, draft, { onProgress, maxBytes });
  } finally {
    await replica.store.close();
  }
}
