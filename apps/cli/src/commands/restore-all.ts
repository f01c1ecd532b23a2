import { mkdirSync } from 'node:fs';
import { timeoutForBytes } from '@onewriter/files';
import { firstFitting } from '@onewriter/operations';
import { TENANTS_UNIT } from '@onewriter/operations/files';
import { readDataDirIdentity } from '@onewriter/protocol';
import { restoreAll as putAll, type RestoreAllReport, readStoredIdentity } from '@onewriter/replicator';
import { EXIT } from '../exit-codes.ts';
import { parseJobs, parseTimeout } from '../jobs/job-options.ts';
import { stopSignal } from '../jobs/stop-signal.ts';
import { openRedis } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { operatorName } from '../operator.ts';
import { createProgress } from '../progress.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { findLostGroup } from '../replica/take-over-group.ts';
import { findTarget, placeOf } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter restore --all`, as the command line gives them. */
export interface RestoreAllOptions {
  readonly from?: string | undefined;
  readonly jobs?: string | undefined;
  readonly timeout?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly takeOver?: boolean | undefined;
  readonly hibernated?: boolean | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Without a size that is known. */
const ASSUMED_BYTES = 1024 * 1024 * 1024;

/** Restores all tenants of a replica that the data directory does not have; it may be stopped, and goes on with the rest. */
export async function restoreAll(options: RestoreAllOptions): Promise<number> {
  const jobs = parseJobs(options.jobs);
  const givenMs = parseTimeout(options.timeout);
  const target = findTarget(options.dataDir);
  const access = replicaAccess(target.config, options.from);
  // A new machine has none yet.
  mkdirSync(target.dataDir, { recursive: true });
  if (options.takeOver && options.offline)
    throw new UsageError('--take-over is about the group in Redis: leave --offline out.');
  const ownId = readDataDirIdentity(target.dataDir)?.id;
  const lost = options.takeOver
    ? await findLostGroup(target, ownId, await readStoredIdentity(access))
    : undefined;
  // No broker leads a lost group, and holds of this directory are none of it.
  const redisUrl = options.offline || lost !== undefined ? undefined : target.redisUrl;
  if (redisUrl !== undefined) (await openRedis(target)).disconnect();
  const stopping = stopSignal();
  const progress = createProgress(options.json);
  try {
    const report = await asOperation(
      target,
      { kind: 'restore', tenants: null, detail: 'all of the replica', unit: TENANTS_UNIT },
      { summarize, json: options.json, offline: redisUrl === undefined, signal: stopping },
      context =>
        putAll(placeOf(target), {
          ...{ access, redisUrl, jobs, who: operatorName(), priority: 'usual' },
          hibernated: options.hibernated,
          limits: {
            timeoutMs: () => givenMs ?? timeoutForBytes(ASSUMED_BYTES),
            memoryBytes: target.config.readMemoryBytes,
          },
          signal: AbortSignal.any([stopping, context.signal]),
          onProgress: ({ done, total, tenant, error }) => {
            context.progress(done, total);
            if (error !== undefined) context.log(`${tenant}: ${error.code} ${error.message}`);
            progress.update(
              `${done} of ${total} ${options.hibernated ? 'noted' : 'restored'}`,
              total === 0 ? 1 : done / total,
            );
          },
        }),
    );
    // Not before all are here: the next broker applies what is queued.
    if (report.failed.length === 0) await lost?.release();
    progress.end();
    process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : asText(report));
    return report.failed.length === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    lost?.close();
    progress.end();
  }
}

function summarize({ restored, hibernated, present, failed }: RestoreAllReport) {
  const names = [...restored, ...hibernated].map(({ tenant }) => tenant);
  const counts = { restored: restored.length, hibernated: hibernated.length };
  const result = { ...counts, present: present.length, failed: failed.length };
  const [first] = failed;
  const error =
    first === undefined
      ? undefined
      : { code: first.error.code, message: `${first.tenant}: ${first.error.message}` };
  return { result: { ...result, tenants: firstFitting(names) }, error };
}

function asText({ restored, hibernated, present, failed, warnings }: RestoreAllReport): string {
  const lines = failed.map(({ tenant, error }) => `${tenant}: not restored: ${error.code} ${error.message}`);
  for (const { tenant, warnings: own } of restored)
    for (const warning of own) lines.push(`${tenant}: warning: ${warning}`);
  for (const warning of warnings) lines.push(`warning: ${warning}`);
  const kept = present.length === 0 ? '' : `; ${present.length} are here already, and were left as they are`;
  const done = restored.length + hibernated.length;
  const how = hibernated.length > 0 ? 'hibernated: each comes when it is used' : 'restored';
  lines.push(`${done} of ${done + failed.length} tenants ${how}${kept}`);
  if (failed.length > 0) lines.push('Run it again for the rest.');
  return `${lines.join('\n')}\n`;
}
