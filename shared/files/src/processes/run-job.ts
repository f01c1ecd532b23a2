import type { Redis } from 'ioredis';
import { backupTenant } from '../backup/backup-tenant.ts';
import { checkTenant } from '../check/check-tenant.ts';
import { stageBackup } from '../restore/stage-backup.ts';
import type { JobSettings } from './job-messages.ts';

/** Does one job. @param redis where a check asks it @throws OnewriterError about the tenant */
export async function runJob(
  { place, job }: JobSettings,
  tenant: string,
  redis: Redis | undefined,
): Promise<unknown> {
  switch (job.kind) {
    case 'backup':
      return backupTenant(place, tenant, job.out, job.verification);
    case 'check':
      return checkTenant(place, tenant, redis, job.verification);
    case 'stage':
      return stageBackup(place, job.backup, job.draft);
    default:
      return job satisfies never;
  }
}
