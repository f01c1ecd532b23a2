import { groupKeys, LIMITS } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { formatBytes } from '../table.ts';
import type { Target } from '../target.ts';
import { readQueues, readSizes } from '../tenants/list-tenants.ts';
import { bad, type Diagnosis, ok } from './diagnosis.ts';
import { nextForAlert } from './next-for-alert.ts';

const MAX_NAMES = 10;
/** A log is written back at 4 MB, as a rule; one of this size is held by a reader, or by a broker that is gone. */
const LARGE_WAL_BYTES = 64 * 1024 * 1024;
/** As long as a request to let go of a file may take. */
const RELEASE_MS = 120_000;

/** Looks at all tenants for what keeps their writes from being applied. */
export async function checkTenants(target: Target, redis: Redis): Promise<Diagnosis[]> {
  const sizes = await readSizes(target);
  const { paused, parked, depths } = await readQueues(redis, target.group, [...sizes.keys()]);
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
  if (paused.size > 0) {
    diagnoses.push(
      bad(
        'warning',
        'paused',
        `${paused.size} tenants are paused: ${someOf([...paused])}. Their writes wait.`,
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
  diagnoses.push(...(await checkReleases(target, redis)));
  return diagnoses.length > 0 ? diagnoses : [ok('tenants', `${sizes.size} tenants, none paused or parked`)];
}

/** Requests to let go of a file that somebody made and did not end: whoever made them died. */
async function checkReleases(target: Target, redis: Redis): Promise<Diagnosis[]> {
  const releasing = await redis.hgetall(groupKeys(target.group).releasing);
  const stale = Object.entries(releasing)
    .filter(([, id]) => Date.now() - timeOf(id) > RELEASE_MS)
    .map(([tenant]) => tenant);
  if (stale.length === 0) return [];
  return [
    bad(
      'warning',
      'releases',
      `A command or gateway died while it worked on the files of ${someOf(stale)}; they may be paused.`,
      'Check each (onewriter check <tenant>), then resume it (onewriter tenants resume <tenant>).',
    ),
  ];
}

/** When an id was made: the first 48 bits of a UUIDv7, ms since the epoch. Source: RFC 9562, section 5.7. */
function timeOf(id: string): number {
  return Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16);
}

function someOf(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).join(', ');
  return names.length > MAX_NAMES ? `${shown} and ${names.length - MAX_NAMES} more` : shown;
}
