import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { adoptFile } from '../adopt/adopt-file.ts';
import { inspectFile } from '../adopt/inspect-file.ts';
import { backupFolder, backupTenant, removeDraftsOf } from '../backup/backup-tenant.ts';
import { checkTenant } from '../check/check-tenant.ts';
import { diffDatabases } from '../diff/diff-databases.ts';
import { stageLoad } from '../load/stage-load.ts';
import { releaseTenant } from '../release/release-tenant.ts';
import { numberCopy } from '../restore/file-numbers.ts';
import { stageBackup } from '../restore/stage-backup.ts';
import { planSplit } from '../split/plan-split.ts';
import { splitTenant } from '../split/split-tenant.ts';
import type { JobFunction, JobKind, JobRequest, JobSettings } from './job-messages.ts';

/**
 * Does one job.
 * @param redis where it asks one
 * @param onProgress how far it is, for the jobs that say it
 * @throws OnewriterError about the tenant
 */
export async function runJob(
  { place, job }: JobSettings,
  { tenant, file, task }: JobRequest,
  redis: Redis | undefined,
  onProgress: (progress: number) => void,
): Promise<unknown> {
  switch (job.kind) {
    case 'backup':
      return backupTenant(place, tenant, job.out, job.verification);
    case 'check':
      return checkTenant(place, tenant, redis, job.verification);
    case 'stage':
      return stageBackup(place, job.backup, job.draft);
    case 'load':
      return stageLoad(place, job, onProgress);
    case 'number':
      return numberCopy(place, tenant, job);
    case 'diff': {
      const file = realDatabasePath(tenantFile(place.dataDir, tenant, place.dbFile));
      return diffDatabases(file, job.former, { ...job, busyTimeoutMs: place.busyTimeoutMs });
    }
    case 'look':
      return inspectFile(realDatabasePath(file!), place.busyTimeoutMs);
    case 'adopt':
      return adoptFile(place, tenant, file!, job.root, redis, job.who);
    case 'release':
      return releaseTenant(place, tenant, redis, { ...job, target: file });
    case 'planSplit':
      return planSplit(job, place.busyTimeoutMs, onProgress);
    case 'split':
      return splitTenant(place, tenant, job, task!, redis);
    case 'call': {
      const exported = (await import(job.module)) as Record<string, JobFunction>;
      return exported[job.name]!({ place, tenant, redis, onProgress }, job.args as never);
    }
    default:
      return job satisfies never;
  }
}

/** Removes what a process left that was ended while it did a job for `tenant`. @throws Error of the file system */
export function cleanUpAfter(job: JobKind, tenant: string, pid: number): void {
  // The draft of a restore belongs to the process that restores.
  if (job.kind === 'backup') removeDraftsOf(backupFolder(job.out, tenant), pid);
}
