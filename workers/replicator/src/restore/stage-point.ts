import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { type DataPlace, type JobLimits, type ProcessOptions, runOneJob } from '@onewriter/files';
import type { Point } from '../chain/point.ts';
import { jobEnv, publicAccess, type ReplicaAccess, replicaJob, withRoom } from '../jobs/replica-access.ts';
import type { StageReplicaArgs } from './restore-point.ts';
import type { StagedReplica } from './stage-replica.ts';

/** A point that becomes a file which is only read. */
export interface StagePointRequest extends Pick<ProcessOptions, 'priority' | 'signal'> {
  readonly access: ReplicaAccess;
  readonly tenant: string;
  readonly point: Point;
  /** The file. Its folder is there, and the file is not. */
  readonly path: string;
  readonly limits: JobLimits;
  /** A larger file is not made. */
  readonly maxBytes?: number | undefined;
}

/** Where the header says how the file is written and read. Source: fileformat2.html, section 1.3. */
const VERSIONS_OFFSET = 18;
const WITHOUT_LOG = Buffer.of(1, 1);

/**
 * Restores a tenant as it was at a point to a file, in a process of its own. The file has no write-ahead log, so whoever reads it makes no
 * files beside it.
 * @throws OnewriterError POSITION_UNKNOWN, REPLICA_…, DATABASE_…, RESULT_TOO_LARGE, STATEMENT_TIMEOUT, ABORTED
 */
export async function stagePoint(
  place: DataPlace,
  { access, tenant, point, path, limits, maxBytes, ...processes }: StagePointRequest,
): Promise<StagedReplica> {
  const args = { ...publicAccess(access), from: tenant, point, draft: path, maxBytes };
  const job = replicaJob<StageReplicaArgs>('stageReplica', args, path);
  const options = { ...processes, limits: withRoom(limits), env: jobEnv(access) };
  const staged = await runOneJob<StagedReplica>({ place, job }, tenant, options);
  const file = openSync(path, 'r+');
  try {
    writeSync(file, WITHOUT_LOG, 0, WITHOUT_LOG.length, VERSIONS_OFFSET);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return staged;
}
