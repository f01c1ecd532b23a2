import { timeoutForBytes } from '@onewriter/files';
import { BYTES_UNIT } from '@onewriter/operations/files';
import type { PlaceRequest } from '@onewriter/replicator';
import { parseTimeout } from '../jobs/job-options.ts';
import { openRedisToKnow } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { audited, operatorName } from '../operator.ts';
import { createProgress, describeRate } from '../progress.ts';
import { count } from '../table.ts';
import { type Target, withDataDir } from '../target.ts';

/** Options of all commands that put a file out of a store in a tenant's place. */
export interface PutOptions {
  readonly replace?: boolean | undefined;
  readonly leavePaused?: boolean | undefined;
  readonly timeout?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly dataDir?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What all of them report. */
export interface PutReport {
  readonly tenant: string;
  readonly replaced: string | null;
  readonly replacedCommitSeq: number | null;
  readonly queuedJobs: number | null;
  readonly paused: boolean;
  readonly warnings: readonly string[];
}

/** Without a size that is known. */
const ASSUMED_BYTES = 1024 * 1024 * 1024;

/**
 * Restores something as an operation that all processes see, and prints what came of it.
 * @param headline what was restored, for people
 * @throws whatever `put` throws
 */
export async function putFromStore<T extends PutReport>(
  target: Target,
  options: PutOptions,
  { tenant, detail }: { readonly tenant: string; readonly detail: string },
  put: (request: PlaceRequest) => Promise<T>,
  headline: (report: T) => string,
): Promise<number> {
  const givenMs = parseTimeout(options.timeout);
  // A signal in the middle would leave the tenant paused: what is left after the check is short, and is finished.
  const stopping = new AbortController();
  const onSignal = () => stopping.abort();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const redis = options.offline ? undefined : await openRedisToKnow(target, 'a broker writes');
  const progress = createProgress(options.json);
  const beganAt = performance.now();
  try {
    const work = () =>
      asOperation(
        target,
        { kind: 'restore', tenants: [tenant], detail, unit: BYTES_UNIT },
        { summarize: (result: T) => ({ result }), json: options.json, offline: options.offline },
        context =>
          put({
            ...{ redis, who: operatorName(), priority: 'usual' },
            replace: options.replace === true,
            leavePaused: options.leavePaused === true,
            limits: {
              timeoutMs: () => givenMs ?? timeoutForBytes(ASSUMED_BYTES),
              memoryBytes: target.config.readMemoryBytes,
            },
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
    process.stdout.write(
      options.json
        ? `${JSON.stringify(report)}\n`
        : `${headline(report)}\n${describePlace(report, withDataDir(options))}`,
    );
    return 0;
  } finally {
    progress.end();
    redis?.disconnect();
  }
}

/** @param place what commands that are printed need behind them */
function describePlace(report: PutReport, place: string): string {
  const { tenant, replaced, replacedCommitSeq, queuedJobs } = report;
  const lines: string[] = [];
  if (replaced !== null) {
    lines.push(`the file that was there is kept: ${replaced} (commit ${replacedCommitSeq ?? 'unknown'})`);
    lines.push(`undo: onewriter restore ${replaced} ${tenant} --replace${place}`);
  }
  for (const warning of report.warnings) lines.push(`warning: ${warning}`);
  if (queuedJobs !== null && queuedJobs > 0)
    lines.push(`${count(queuedJobs, 'queued job')} will be applied to it`);
  if (report.paused) lines.push(`it is paused; resume it: onewriter tenants resume ${tenant}${place}`);
  return lines.map(line => `${line}\n`).join('');
}
