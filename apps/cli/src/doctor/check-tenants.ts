import { LIMITS } from '@onewriter/protocol';
import { describeHolder } from '@onewriter/runtime';
import type { Redis } from 'ioredis';
import { formatBytes } from '../table.ts';
import type { Target } from '../target.ts';
import { readQueues, readSizes, type TenantQueues } from '../tenants/list-tenants.ts';
import { bad, type Diagnosis, ok } from './diagnosis.ts';
import { nextForAlert } from './next-for-alert.ts';

const MAX_NAMES = 10;
/** A log is written back at 4 MB, as a rule; one of this size is held by a reader, or by a broker that is gone. */
const LARGE_WAL_BYTES = 64 * 1024 * 1024;
/** A program that works on a file needs seconds. */
const LONG_HOLD_MS = 180_000;

/** Looks at all tenants for what keeps their writes from being applied. */
export async function checkTenants(target: Target, redis: Redis): Promise<Diagnosis[]> {
  const sizes = await readSizes(target);
  const { holders, parked, depths } = await readQueues(redis, target.group, [...sizes.keys()]);
  const diagnoses: Diagnosis[] = [];
  for (const [tenant, { code, message, since }] of [...parked].slice(0, MAX_NAMES)) {
    diagnoses.push(
      bad(
        'error',
        'parked',
        `${tenant} cannot be written since ${since}: ${code} ${message}`,
        nextForAlert('OnewriterTenantParked'),
      ),
    );
  }
  const paused = [...holders].filter(([, all]) => all.some(({ expiresAt }) => expiresAt === null));
  if (paused.length > 0) {
    const names = paused.map(([tenant]) => tenant);
    diagnoses.push(
      bad(
        'warning',
        'paused',
        `${names.length} tenants are paused: ${someOf(names)}. Their writes wait.`,
        'Resume each when its reason is gone: onewriter tenants resume <tenant>.',
      ),
    );
  }
  const full = [...depths].filter(([, depth]) => depth >= LIMITS.maxQueueDepth).map(([tenant]) => tenant);
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
  const large = [...sizes].filter(([, { walBytes }]) => walBytes >= LARGE_WAL_BYTES);
  for (const [tenant, { walBytes }] of large.slice(0, MAX_NAMES)) {
    diagnoses.push(
      bad(
        'warning',
        'wal',
        `The write-ahead log of ${tenant} has ${formatBytes(walBytes)}: a reader holds it, or no broker has it open.`,
        `\`onewriter status\` names the reader; fuser -v ${target.dataDir}/tenants/${tenant}/* does, too.`,
      ),
    );
  }
  diagnoses.push(...findLongHolds(holders));
  return diagnoses.length > 0 ? diagnoses : [ok('tenants', `${sizes.size} tenants, none paused or parked`)];
}

/** Programs that hold a tenant for longer than their work takes. */
function findLongHolds(holders: TenantQueues['holders']): Diagnosis[] {
  const long = [...holders].flatMap(([tenant, all]) =>
    all
      .filter(({ since, expiresAt }) => expiresAt !== null && Date.now() - Date.parse(since!) > LONG_HOLD_MS)
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

function someOf(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).join(', ');
  return names.length > MAX_NAMES ? `${shown} and ${names.length - MAX_NAMES} more` : shown;
}
