import { existsSync, readdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { type RestoreReport, type RestoreRequest, readManifest, timeoutForBytes } from '@onewriter/files';
import type { OperationContext } from '@onewriter/operations';
import { runRestore, STEPS_UNIT, summarizeRestore } from '@onewriter/operations/files';
import { assertTenantId, isOnewriterError, OnewriterError } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
import { EXIT } from '../exit-codes.ts';
import { parseTimeout } from '../jobs/job-options.ts';
import { openRedisToKnow } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { audited, operatorName } from '../operator.ts';
import { count } from '../table.ts';
import { connectOptions, findTarget, placeOf, requireDataDir, type Target, withDataDir } from '../target.ts';

/** Options of `onewriter restore`, as the command line gives them. */
export interface RestoreOptions {
  readonly dataDir?: string | undefined;
  readonly replace?: boolean | undefined;
  readonly leavePaused?: boolean | undefined;
  /** Seconds for the check of the backup. */
  readonly timeout?: string | undefined;
  /** Redis is not asked: no broker runs. */
  readonly offline?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** What `onewriter restore --json` prints. */
export interface RestoreSummary extends RestoreReport {
  readonly backup: string;
  /** Number of the broker's first commit to the restored file; null where it was not tried, or failed (`writableError`). */
  readonly firstCommitSeq: number | null;
  readonly writableError: string | null;
}

const PROOF_TIMEOUT_MS = 15_000;

/** Restores a backup as a new tenant, or in the place of a tenant's file, which is kept. */
export async function restore(
  backupPath: string,
  tenantName: string | undefined,
  options: RestoreOptions,
): Promise<number> {
  const target = findTarget(options.dataDir);
  const givenMs = parseTimeout(options.timeout);
  const backup = resolve(backupPath);
  if (!existsSync(backup)) {
    throw new OnewriterError(
      'NOT_FOUND',
      `There is no file ${backup}. List backups: onewriter backup --list [tenant]`,
    );
  }
  assertPlace(target, options.offline === true);
  const tenant = assertTenantId(tenantName ?? readManifest(backup)?.tenant ?? nameIt(backup));
  // A signal in the middle would leave the tenant paused: what is left after the check is short, and is finished.
  const stopping = new AbortController();
  let checked = false;
  const onSignal = () => {
    stopping.abort();
    if (checked) process.stderr.write('onewriter: finishing what was begun\n');
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const redis = options.offline ? undefined : await openRedisToKnow(target, 'a broker writes');
  try {
    const request: RestoreRequest = {
      backup,
      tenant,
      replace: options.replace === true,
      leavePaused: options.leavePaused === true,
      redis,
      who: operatorName(),
      limits: {
        timeoutMs: () => givenMs ?? timeoutForBytes(statSync(backup).size),
        memoryBytes: target.config.readMemoryBytes,
      },
      priority: 'usual',
      signal: stopping.signal,
      onChecked: () => {
        checked = true;
      },
    };
    const restoring = (context: OperationContext) => runRestore(context, placeOf(target), request);
    const work = () =>
      asOperation(
        target,
        { kind: 'restore', tenants: [tenant], detail: backup, unit: STEPS_UNIT },
        { summarize: summarizeRestore, json: options.json, offline: options.offline },
        restoring,
      );
    const report = await (redis === undefined
      ? work()
      : audited(redis, target.group, 'tenant.restore', tenant, work, backup));
    const proof = redis === undefined || report.paused ? NO_PROOF : await prove(target, tenant);
    const summary: RestoreSummary = { ...report, backup, ...proof };
    process.stdout.write(
      options.json ? `${JSON.stringify(summary)}\n` : asText(summary, withDataDir(options)),
    );
    return proof.writableError === null ? EXIT.ok : EXIT.failed;
  } finally {
    redis?.disconnect();
  }
}

/** A new machine's data directory may be empty, where no broker runs. @throws OnewriterError MISCONFIGURED */
function assertPlace(target: Target, offline: boolean): void {
  if (offline && existsSync(target.dataDir) && readdirSync(target.dataDir).length === 0) return;
  requireDataDir(target);
}

function nameIt(backup: string): never {
  throw new OnewriterError('INVALID_ARGUMENT', `${backup} has no manifest that names its tenant: name one.`);
}

const NO_PROOF = { firstCommitSeq: null, writableError: null };

/** Has the broker commit something to the file: only that shows that the tenant works again. */
async function prove(
  target: Target,
  tenant: string,
): Promise<Pick<RestoreSummary, 'firstCommitSeq' | 'writableError'>> {
  try {
    await using onewriter = await connect(await connectOptions(target));
    const [result] = await onewriter
      .tenant(tenant)
      .transaction([{ sql: 'SELECT 1' }], { timeoutMs: PROOF_TIMEOUT_MS });
    return { firstCommitSeq: result!.commitSeq, writableError: null };
  } catch (error) {
    if (!isOnewriterError(error)) throw error;
    return { firstCommitSeq: null, writableError: `${error.code} ${error.message}` };
  }
}

/** @param place what commands that are printed need behind them */
function asText(report: RestoreSummary, place: string): string {
  const { tenant, replaced, replacedCommitSeq, backupCommitSeq, commitSeq } = report;
  const lines = [
    `restored ${tenant} from ${report.backup}: ${count(report.rows, 'row')} in ${count(report.tables, 'table')}, commit ${commitSeq}`,
    report.comparedWithManifest
      ? 'verified: checksum, byte for byte what the manifest names, and integrity'
      : 'verified: integrity; there is no manifest to compare with',
  ];
  if (replaced !== null) {
    lines.push(`the file that was there is kept: ${replaced}`);
    lines.push(lostCommits(replacedCommitSeq, backupCommitSeq));
    lines.push(`undo: onewriter restore ${replaced} ${tenant} --replace${place}`);
  }
  if (report.foreignKeyViolations !== null && report.foreignKeyViolations > 0) {
    lines.push(
      `${report.foreignKeyViolations} rows break foreign keys, as in the backup: onewriter tenants check ${tenant}${place}`,
    );
  }
  for (const warning of report.warnings) lines.push(`warning: ${warning}`);
  if (report.queuedJobs !== null && report.queuedJobs > 0) {
    const now = report.queuedJobs === 1 ? 'is applied to it now' : 'are applied to it now';
    const when = report.paused ? 'will be applied to it when it is resumed' : now;
    lines.push(`${count(report.queuedJobs, 'queued job')} ${when}`);
  }
  if (report.paused) lines.push(`it is paused; resume it: onewriter tenants resume ${tenant}${place}`);
  else if (report.firstCommitSeq !== null)
    lines.push(`the broker writes it: commit ${report.firstCommitSeq}`);
  else if (report.writableError !== null) {
    lines.push(
      `the broker did not write it yet: ${report.writableError.replace(/\.$/, '')}. Look: onewriter doctor${place}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function lostCommits(replaced: number | null, backup: number | null): string {
  if (replaced === null)
    return 'it could not be read, so it is not known which commits came after the backup';
  if (backup === null) return `it had ${replaced} commits, none of which the backup knows`;
  const lost = replaced - backup;
  return lost <= 0
    ? 'it had no commit after the backup'
    : `it has ${count(lost, 'commit')} that came after the backup (${lost === 1 ? replaced : `${backup + 1} to ${replaced}`}): their receipts are unknown now`;
}
