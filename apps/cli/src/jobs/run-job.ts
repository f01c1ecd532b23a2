import type { Redis } from 'ioredis';
import { backupTenant } from '../backup/backup-tenant.ts';
import { checkTenant } from '../check/check-tenant.ts';
import type { Target } from '../target.ts';
import type { JobKind } from './job-messages.ts';

/** Does one job. @param redis where a check asks it @throws OnewriterError about the tenant */
export async function runJob(
  target: Target,
  job: JobKind,
  tenant: string,
  redis: Redis | undefined,
): Promise<unknown> {
  return job.kind === 'backup'
    ? await backupTenant(target, tenant, job.out, job.verification)
    : await checkTenant(target, tenant, redis, job.verification);
}
