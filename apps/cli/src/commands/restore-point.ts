import { timeoutForBytes } from '@onewriter/files';
import { BYTES_UNIT } from '@onewriter/operations/files';
import { assertTenantId } from '@onewriter/protocol';
import { type PointReport, type PointRequest, restorePoint as putPoint } from '@onewriter/replicator';
import { parseTimeout } from '../jobs/job-options.ts';
import { openRedisToKnow } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { audited, operatorName } from '../operator.ts';
import { createProgress, describeRate } from '../progress.ts';
import { parsePoint } from '../replica/parse-point.ts';
import { replicaAccess } from '../replica/replica-access.ts';
import { count } from '../table.ts';
import { findTarget, placeOf, withDataDir } from '../target.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter restore <tenant> --at` and `onewriter branch`, as the command line gives them. */
export interface RestorePointOptions {
  readonly at?: string | undefined;
  readonly as?: string | undefined;
  readonly from?: string | undefined;
  readonly replace?: boolean | undefined;
  readonly leavePaused?: boolean | undefined;
  readonly timeout?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Without a size that is known. */
const ASSUMED_BYTES = 1024 * 1024 * 1024;

/** Makes a new tenant of one as it was at a point. */
export function branch(tenant: string, name: string, options: RestorePointOptions): Promise<number> {
  return restorePoint(tenant, { ...options, at: options.at ?? 'newest', as: name });
}

/** Restores a tenant as it was at a point, out of the replica: as a new tenant, or in the place of its file, which is kept. */
export async function restorePoint(from: string, options: RestorePointOptions): Promise<number> {
  assertTenantId(from);
  if (options.as !== undefined) assertTenantId(options.as);
  if (options.as !== undefined && options.replace) throw new UsageError('Give --as or --replace, not both.');
  const point = parsePoint(options.at ?? 'newest');
  const givenMs = parseTimeout(options.timeout);
  const target = findTarget(options.dataDir);
  const access = replicaAccess(target.config, options.from);
  const tenant = options.as ?? from;
  // A signal in the middle would leave the tenant paused: what is left after the check is short, and is finished.
  const stopping = new AbortController();
  const onSignal = () => stopping.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const redis = options.offline ? undefined : await openRedisToKnow(target, 'a broker writes');
  const progress = createProgress(options.json);
  const beganAt = performance.now();
  try {
    const request: PointRequest = {
      ...{ access, tenant: from, point, as: options.as, redis, who: operatorName() },
      replace: options.replace === true,
      leavePaused: options.leavePaused === true,
      limits: {
        timeoutMs: () => givenMs ?? timeoutForBytes(ASSUMED_BYTES),
        memoryBytes: target.config.readMemoryBytes,
      },
      priority: 'usual',
    };
    const detail = `from the replica, ${options.at ?? 'newest'} of ${from}`;
    const work = () =>
      asOperation(
        target,
        { kind: 'restore', tenants: [tenant], detail, unit: BYTES_UNIT },
        { summarize: (result: PointReport) => ({ result }), json: options.json, offline: options.offline },
        context =>
          putPoint(placeOf(target), {
            ...request,
            signal: AbortSignal.any([stopping.signal, context.signal]),
            onProgress: bytes => {
              context.progress(bytes);
              progress.update(describeRate(bytes, performance.now() - beganAt));
            },
          }),
      );
    const report = await (redis === undefined
      ? work()
      : audited(redis, target.group, 'tenant.restore', tenant, work, detail));
    progress.end();
    process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : asText(report, withDataDir(options)));
    return 0;
  } finally {
    progress.end();
    redis?.disconnect();
  }
}

/** @param place what commands that are printed need behind them */
function asText(report: PointReport, place: string): string {
  const { tenant, from, replaced, replacedCommitSeq, pointCommitSeq, atMs, rows, tables } = report;
  const lines = [
    `restored ${tenant} as ${from} was at commit ${pointCommitSeq}, ${new Date(atMs).toISOString()}: ${count(rows, 'row')} in ${count(tables, 'table')}, commit ${report.commitSeq}`,
  ];
  if (replaced !== null) {
    lines.push(`the file that was there is kept: ${replaced} (commit ${replacedCommitSeq ?? 'unknown'})`);
    lines.push(`undo: onewriter restore ${replaced} ${tenant} --replace${place}`);
  }
  for (const warning of report.warnings) lines.push(`warning: ${warning}`);
  if (report.queuedJobs !== null && report.queuedJobs > 0)
    lines.push(`${count(report.queuedJobs, 'queued job')} will be applied to it`);
  if (report.paused) lines.push(`it is paused; resume it: onewriter tenants resume ${tenant}${place}`);
  return `${lines.join('\n')}\n`;
}
