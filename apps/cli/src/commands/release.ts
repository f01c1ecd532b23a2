import { resolve } from 'node:path';
import {
  fileSize,
  fillPattern,
  formatBytes,
  JOURNAL_MODES,
  type JobOutcome,
  type PlainJournalMode,
  parsePattern,
  type Released,
} from '@onewriter/files';
import { runReleases, summarizeMoves, TENANTS_UNIT } from '@onewriter/operations/files';
import { assertTenantId, type WireError } from '@onewriter/protocol';
import type { Redis } from 'ioredis';
import { EXIT } from '../exit-codes.ts';
import { limitsOf, parseJobs } from '../jobs/job-options.ts';
import { openRedisToKnow } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { audited, operatorName } from '../operator.ts';
import { printError } from '../print-error.ts';
import { createProgress } from '../progress.ts';
import { findTarget, placeOf, requireDataDir, type Target } from '../target.ts';
import { listTenantFiles } from '../tenants/catalogue.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter release`, as the command line gives them. */
export interface ReleaseOptions {
  readonly dataDir?: string | undefined;
  readonly all?: boolean | undefined;
  /** Folder for the files; default: they stay where they are. */
  readonly to?: string | undefined;
  /** Where each file lies below that folder. */
  readonly pattern?: string | undefined;
  readonly journalMode?: string | undefined;
  /** How many tenants at a time. */
  readonly jobs?: string | undefined;
  /** Seconds for each tenant. */
  readonly timeout?: string | undefined;
  /** Redis is not asked: no broker runs. */
  readonly offline?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** Result for one tenant, as `onewriter release --json` lists it. */
export interface ReleaseSummary {
  readonly tenant: string;
  readonly released: Released | null;
  readonly error: WireError | null;
}

const DEFAULT_PATTERN = '{tenant}.db';

/** Gives tenants' files back, as plain files of SQLite. A tenant that fails is as it was, and does not stop the others. */
export async function release(names: readonly string[], options: ReleaseOptions): Promise<number> {
  for (const name of names) assertTenantId(name);
  if ((names.length === 0) === !options.all) throw new UsageError('Give tenants, or --all.');
  const journalMode = parseJournalMode(options.journalMode);
  const targetOf = parseTarget(options);
  const target = findTarget(options.dataDir);
  requireDataDir(target);
  const jobs = parseJobs(options.jobs);
  const limits = limitsOf(target, options.timeout);
  const redis = options.offline ? undefined : await openRedisToKnow(target, 'writes wait');
  const progress = createProgress(options.json);
  const summaries: ReleaseSummary[] = [];
  try {
    const tenants = options.all ? await listTenantFiles(target) : [...new Set(names)];
    const onDone = (tenant: string, outcome: JobOutcome<Released>) => {
      const summary: ReleaseSummary =
        'error' in outcome
          ? { tenant, released: null, error: outcome.error }
          : { tenant, released: outcome.result, error: null };
      summaries.push(summary);
      progress.end();
      if (!options.json) report(summary);
      progress.update(`${summaries.length} of ${tenants.length} done`, summaries.length / tenants.length);
    };
    const place = placeOf(target);
    const { trashRetentionMs: retentionMs } = target.config;
    const job = { kind: 'release', journalMode, retentionMs, who: operatorName() } as const;
    const processes = {
      ...{ jobs, limits, fileOf: targetOf, priority: 'usual' as const },
      bytesOf: (tenant: string) => fileSize(place, tenant),
      redisUrl: redis === undefined ? undefined : target.redisUrl,
    };
    await asOperation(
      target,
      { kind: 'release', tenants, detail: options.to ?? '', unit: TENANTS_UNIT },
      { summarize: summarizeMoves, json: options.json, offline: options.offline },
      context => runReleases(context, job, { place, tenants, processes, onDone }),
    );
    progress.end();
    if (redis !== undefined) await noteInAudit(redis, target, summaries);
  } finally {
    progress.end();
    redis?.disconnect();
  }
  const failed = summaries.filter(({ error }) => error !== null).length;
  if (options.json) process.stdout.write(`${JSON.stringify(summaries)}\n`);
  else process.stdout.write(closingWords(summaries.length, failed, redis !== undefined));
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

/** @throws UsageError */
function parseJournalMode(text = 'delete'): PlainJournalMode {
  const mode = JOURNAL_MODES.find(candidate => candidate === text);
  if (mode === undefined) throw new UsageError('--journal-mode is delete or wal.');
  return mode;
}

/** @throws UsageError; OnewriterError INVALID_ARGUMENT */
function parseTarget({ to, pattern }: ReleaseOptions): (tenant: string) => string | undefined {
  if (to === undefined) {
    if (pattern !== undefined) throw new UsageError('--pattern says where files lie below --to.');
    return () => undefined;
  }
  const parsed = parsePattern(pattern ?? DEFAULT_PATTERN);
  fillPattern(parsed, 'a'); // refuses one that names no file
  return tenant => resolve(to, fillPattern(parsed, tenant));
}

function report({ tenant, released, error }: ReleaseSummary): void {
  if (error !== null) {
    printError(error);
    return;
  }
  const { file, bytes, journalMode, contentHash, trash, warnings } = released!;
  const verified = `${formatBytes(bytes)}, journal mode ${journalMode}, verified: ${contentHash.slice(0, 12)}`;
  process.stdout.write(`${tenant}: ${file}  ${verified}\n`);
  if (trash !== null) process.stdout.write(`  its folder is in the trash for now: ${trash}\n`);
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`);
}

async function noteInAudit(
  redis: Redis,
  { group }: Target,
  summaries: readonly ReleaseSummary[],
): Promise<void> {
  for (const { tenant, released } of summaries) {
    if (released !== null)
      await audited(redis, group, 'tenant.release', tenant, async () => {}, released.file);
  }
}

function closingWords(total: number, failed: number, isPaused: boolean): string {
  if (total === 0) return 'There are no tenants.\n';
  const done = `${total - failed} of ${total} released.`;
  const left = failed > 0 ? ` ${failed} failed, and are as before.` : '';
  const paused =
    isPaused && failed < total ? ' They are paused, so that no write makes them tenants again.' : '';
  return `${done}${left}${paused}\n`;
}
