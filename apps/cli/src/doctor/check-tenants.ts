import { formatBytes } from '@onewriter/files';
import { LIMITS } from '@onewriter/protocol';
import { type CatalogueEntry, describeHolder, endsByPerson, isPausedByPerson } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import type { Target } from '../target.ts';
import { catalogueOf } from '../tenants/catalogue.ts';
import { checkHibernated } from './check-hibernated.ts';
import { bad, type Diagnosis, ok } from './diagnosis.ts';
import { nextForAlert } from './next-for-alert.ts';
import { MAX_NAMES, someOf } from './some-of.ts';

/** A log is written back at 4 MB, as a rule; one of this size is held by a reader, or by a broker that is gone. */
const LARGE_WAL_BYTES = 64 * 1024 * 1024;
/** A program that works on a file needs seconds. */
const LONG_HOLD_MS = 180_000;

/** Looks at all tenants for what keeps their writes from being applied. */
export async function checkTenants(target: Target, redis: Redis): Promise<Diagnosis[]> {
  const catalogue = catalogueOf(target, redis);
  const tenants = await catalogue.look(await catalogue.names());
  const diagnoses: Diagnosis[] = [];
  const parked = tenants.filter(entry => entry.parked !== null);
  for (const entry of parked.slice(0, MAX_NAMES)) {
    const { code, message, since } = entry.parked!;
    diagnoses.push(
      bad(
        'error',
        'parked',
        `${entry.tenant} cannot be written${since === '' ? '' : ` since ${since}`}: ${code} ${message}`,
        nextForAlert('OnewriterTenantParked'),
      ),
    );
  }
  const names = tenants.filter(({ holders }) => isPausedByPerson(holders)).map(({ tenant }) => tenant);
  if (names.length > 0) {
    diagnoses.push(
      bad(
        'warning',
        'paused',
        names.length === 1
          ? `1 tenant is paused: ${names[0]}. Its writes wait.`
          : `${names.length} tenants are paused: ${someOf(names)}. Their writes wait.`,
        names.length === 1
          ? `Resume it when the reason is gone: onewriter tenants resume ${names[0]}.`
          : 'Resume each when its reason is gone: onewriter tenants resume <tenant>.',
      ),
    );
  }
  const full = tenants
    .filter(({ waitingJobs, activeJobs }) => waitingJobs + activeJobs >= LIMITS.maxQueueDepth)
    .map(({ tenant }) => tenant);
  if (full.length > 0) {
    diagnoses.push(
      bad(
        'error',
        'queues',
        `The queues of ${someOf(full)} are full: new writes are refused.`,
        nextForAlert('OnewriterQueueDeep'),
      ),
    );
  }
  const large = tenants.filter(({ size }) => size !== undefined && size.walBytes >= LARGE_WAL_BYTES);
  for (const { tenant, size } of large.slice(0, MAX_NAMES)) {
    diagnoses.push(
      bad(
        'warning',
        'wal',
        `The write-ahead log of ${tenant} has ${formatBytes(size!.walBytes)}: a reader holds it, or no broker has it open.`,
        `\`onewriter status\` names the reader; fuser -v ${target.dataDir}/tenants/${tenant}/* does, too.`,
      ),
    );
  }
  diagnoses.push(...findLongHolds(tenants));
  const away = tenants.filter(({ hibernated }) => hibernated !== undefined).map(({ tenant }) => tenant);
  diagnoses.push(...checkHibernated(away, target.config.replicaUrl));
  const hibernated = away.length === 0 ? '' : `, ${away.length} hibernated`;
  return diagnoses.length > 0
    ? diagnoses
    : [ok('tenants', `${tenants.length} tenants${hibernated}, none paused or parked`)];
}

/** Programs that hold a tenant for longer than their work takes. */
function findLongHolds(tenants: readonly CatalogueEntry[]): Diagnosis[] {
  const long = tenants.flatMap(({ tenant, holders }) =>
    holders
      .filter(holder => !endsByPerson(holder) && Date.now() - Date.parse(holder.since!) > LONG_HOLD_MS)
      .map(holder => `${tenant}: ${describeHolder(holder)}`),
  );
  if (long.length === 0) return [];
  return [
    bad(
      'warning',
      'holds',
      `Some operations hold tenants for minutes, whose writes wait: ${someOf(long)}.`,
      'See what that process does, and end it if it hangs: its hold ends half a minute later.',
    ),
  ];
}
