import { type DataPlace, jobLimits } from '@onewriter/files';
import { OnewriterError } from '@onewriter/protocol';
import { hibernateTenant, type ReplicaAccess } from '@onewriter/replicator';
import { TenantCatalogue, TenantFolders } from '@onewriter/tenants';
import type { Replica } from '../replica/replica.ts';
import { Hibernation } from './hibernation.ts';
import type { LeaderOptions } from './leader-options.ts';

/** Of a process that proves what the store has. */
const MEMORY_BYTES = 512 * 1024 * 1024;

/** Undefined where no setting asks for it. @throws OnewriterError MISCONFIGURED without a replica */
export function createHibernation(
  { config, link, log }: Pick<LeaderOptions, 'config' | 'link' | 'log'>,
  place: DataPlace,
  access: ReplicaAccess | undefined,
  shipping: Pick<Replica, 'note'> | undefined,
  settle: (tenant: string) => void,
): Hibernation | undefined {
  const { hibernateAfterMs: afterMs, diskBudget: budgetBytes } = config;
  if (afterMs === undefined && budgetBytes === undefined) return undefined;
  if (access === undefined || shipping === undefined) {
    throw new OnewriterError(
      'MISCONFIGURED',
      'ONEWRITER_HIBERNATE_AFTER_MS and ONEWRITER_DISK_BUDGET need a replica: set ONEWRITER_REPLICA_URL.',
    );
  }
  const { redis } = link;
  const catalogue = new TenantCatalogue(redis, place.group, new TenantFolders(place.dataDir, place.dbFile));
  const limits = jobLimits(place, MEMORY_BYTES);
  return new Hibernation({
    ...{ place, catalogue, afterMs, budgetBytes, settle, log },
    hibernate: ({ tenant, reason, signal }) =>
      hibernateTenant(place, {
        ...{
          access,
          redis,
          tenant,
          reason,
          limits,
          signal,
          who: 'the broker',
          priority: 'low',
          ifIdle: true,
        },
        shorten: () => shipping.note({ kind: 'shorten', tenant }),
      }),
  });
}
