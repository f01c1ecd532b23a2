import { formatBytes } from '@onewriter/files';
import { assertTenantId, OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import { hibernateTenant } from '@onewriter/replicator';
import { connect } from '@onewriter/sdk';
import { EXIT } from '../exit-codes.ts';
import { limitsOf } from '../jobs/job-options.ts';
import { stopSignal } from '../jobs/stop-signal.ts';
import { openRedis } from '../open-redis.ts';
import { audited, operatorName } from '../operator.ts';
import { printError } from '../print-error.ts';
import { createProgress } from '../progress.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { connectOptions, findTarget, placeOf, requireDataDir, type Target } from '../target.ts';
import { foldersOf } from '../tenants/catalogue.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter hibernate` and `wake`, as the command line gives them. */
export interface HibernateOptions {
  readonly all?: boolean | undefined;
  readonly reason?: string | undefined;
  readonly force?: boolean | undefined;
  readonly timeout?: string | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What became of one tenant, as `--json` lists it. */
interface Change {
  readonly tenant: string;
  readonly state: 'hibernated' | 'awake' | 'unchanged';
  /** Of its file. */
  readonly bytes: number | null;
  readonly error: WireError | null;
}

/** Files that come at a time: the broker bounds them, too. */
const WAKES_AT_ONCE = 4;
const WAKE_TIMEOUT_MS = 60_000;

/** Takes tenants' files away once the replica has proved that it gives them back. One that fails stays as it was. */
export async function hibernate(names: readonly string[], options: HibernateOptions): Promise<number> {
  const target = findTargetOf(names, options);
  const access = replicaAccess(target.config);
  const limits = limitsOf(target, options.timeout);
  const folders = foldersOf(target);
  const tenants = options.all ? await folders.withFiles() : [...new Set(names)];
  const redis = await openRedis(target);
  const stopping = stopSignal();
  const { reason = 'by hand', force } = options;
  const who = operatorName();
  try {
    return await changeAll(tenants, 1, options, async tenant => {
      const request = { access, redis, tenant, who, reason, force, limits, signal: stopping };
      const note = await audited(redis, target.group, 'tenant.hibernate', tenant, () =>
        hibernateTenant(placeOf(target), request),
      );
      return { tenant, state: note === undefined ? 'unchanged' : 'hibernated', bytes: note?.bytes ?? null };
    });
  } finally {
    redis.disconnect();
  }
}

/** Brings hibernated tenants' files back, as a write or a read of each would. */
export async function wake(names: readonly string[], options: HibernateOptions): Promise<number> {
  const target = findTargetOf(names, options);
  const folders = foldersOf(target);
  const tenants = options.all ? await folders.names() : [...new Set(names)];
  const looks = new Map((await folders.look(tenants)).map((look, index) => [tenants[index]!, look]));
  const isHibernated = (tenant: string) => looks.get(tenant)?.hibernated !== undefined;
  await using onewriter = await connect(await connectOptions(target));
  const chosen = options.all ? tenants.filter(isHibernated) : tenants;
  return changeAll(chosen, WAKES_AT_ONCE, options, async tenant => {
    await onewriter.tenant(tenant).prepare('SELECT 1', { timeoutMs: WAKE_TIMEOUT_MS }).get();
    const bytes = looks.get(tenant)?.hibernated?.bytes ?? null;
    return { tenant, state: isHibernated(tenant) ? 'awake' : 'unchanged', bytes };
  });
}

function findTargetOf(names: readonly string[], { all, dataDir }: HibernateOptions): Target {
  for (const name of names) assertTenantId(name);
  if ((names.length === 0) === !all) throw new UsageError('Give tenants, or --all.');
  const target = findTarget(dataDir);
  requireDataDir(target);
  return target;
}

/** One that fails does not end the work on the others. @returns 1 where one failed */
async function changeAll(
  tenants: readonly string[],
  atOnce: number,
  { json }: HibernateOptions,
  change: (tenant: string) => Promise<Omit<Change, 'error'>>,
): Promise<number> {
  const progress = createProgress(json);
  const changes: Change[] = [];
  const waiting = tenants.values();
  const work = async () => {
    for (const tenant of waiting) {
      const done = await changeOne(tenant, change);
      changes.push(done);
      progress.end();
      if (!json) report(done);
      progress.update(`${changes.length} of ${tenants.length} done`, changes.length / tenants.length);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  progress.end();
  if (json) process.stdout.write(`${JSON.stringify(changes)}\n`);
  return changes.every(({ error }) => error === null) ? EXIT.ok : EXIT.failed;
}

async function changeOne(
  tenant: string,
  change: (tenant: string) => Promise<Omit<Change, 'error'>>,
): Promise<Change> {
  try {
    return { ...(await change(tenant)), error: null };
  } catch (error) {
    if (!(error instanceof OnewriterError) || error.code === 'ABORTED') throw error;
    return { tenant, state: 'unchanged', bytes: null, error: toWireError(error) };
  }
}

function report({ tenant, state, bytes, error }: Change): void {
  if (error !== null) printError(error);
  else process.stdout.write(`${tenant}: ${state}${bytes === null ? '' : `, ${formatBytes(bytes)}`}\n`);
}
