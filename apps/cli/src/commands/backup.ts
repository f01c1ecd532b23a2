import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  type BackupManifest,
  describeUnchecked,
  fileSize,
  findManifest,
  formatBytes,
  hasBackupSince,
  type JobOutcome,
  type TakenBackup,
  type Verification,
} from '@onewriter/files';
import { isEnded, OperationStore } from '@onewriter/operations';
import { runBackups, summarizeBackups, TENANTS_UNIT } from '@onewriter/operations/files';
import { assertTenantId, type WireError } from '@onewriter/protocol';
import { EXIT } from '../exit-codes.ts';
import { limitsOf, parseJobs } from '../jobs/job-options.ts';
import { withRedis } from '../open-redis.ts';
import { asOperation } from '../operations/as-operation.ts';
import { printError } from '../print-error.ts';
import { createProgress } from '../progress.ts';
import { count, formatTable } from '../table.ts';
import { findTarget, placeOf, requireDataDir, type Target } from '../target.ts';
import { listTenantFiles } from '../tenants/catalogue.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter backup`, as the command line gives them. */
export interface BackupOptions {
  readonly dataDir?: string | undefined;
  readonly all?: boolean | undefined;
  readonly list?: boolean | undefined;
  /** How many tenants at a time, with `all`. */
  readonly jobs?: string | undefined;
  /** Seconds for each tenant. */
  readonly timeout?: string | undefined;
  /** How the copies are verified: `full` or `quick`. */
  readonly verify?: string | undefined;
  /** Id of a backup that did not end: tenants that it has done are left out. */
  readonly resume?: string | undefined;
  /** Folder of all backups. */
  readonly out?: string | undefined;
  readonly json?: boolean | undefined;
}

/** Result for one tenant, as `onewriter backup --json` lists it. */
export interface BackupSummary {
  readonly tenant: string;
  /** Null where there is none: see `error`. */
  readonly path: string | null;
  readonly manifest: BackupManifest | null;
  readonly error: WireError | null;
}

/** Backs up one tenant or all, some at a time, while they are written. A tenant that fails does not stop the others. */
export async function backup(tenant: string | undefined, options: BackupOptions): Promise<number> {
  const target = findTarget(options.dataDir);
  if (!options.list || options.out === undefined) requireDataDir(target);
  const out = resolve(options.out ?? join(target.dataDir, 'backups'));
  if (tenant !== undefined) assertTenantId(tenant);
  if (options.list) return list(tenant, out, options);
  const verification = parseVerification(options.verify);
  const jobs = parseJobs(options.jobs);
  const limits = limitsOf(target, options.timeout);
  const chosen = await chooseTenants(target, tenant, options);
  const { resume } = options;
  const tenants = resume === undefined ? chosen : await leftBy(resume, target, { chosen, out, verification });
  const progress = createProgress(options.json);
  const summaries: BackupSummary[] = [];
  const onDone = (name: string, outcome: JobOutcome<TakenBackup>) => {
    const summary = toSummary(name, outcome);
    summaries.push(summary);
    progress.end();
    if (!options.json) {
      if (summary.error !== null) printError(summary.error);
      else process.stdout.write(`${describe(summary)}\n`);
    }
    progress.update(`${summaries.length} of ${tenants.length} done`, summaries.length / tenants.length);
  };
  const place = placeOf(target);
  const job = { kind: 'backup', out, verification } as const;
  if (tenant !== undefined) progress.update(tenant);
  // Its processes are stopped first, and what they left is removed.
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stopping.abort());
  const processes = {
    jobs,
    limits,
    bytesOf: (name: string) => fileSize(place, name),
    priority: 'usual',
  } as const;
  await asOperation(
    target,
    { kind: 'backup', tenants: options.all ? null : tenants, detail: out, unit: TENANTS_UNIT },
    { summarize: summarizeBackups, json: options.json, signal: stopping.signal },
    context => runBackups(context, job, { place, tenants, processes, onDone }),
  );
  progress.end();
  const failed = summaries.filter(({ error }) => error !== null).length;
  if (options.json) process.stdout.write(`${JSON.stringify(summaries)}\n`);
  else if (tenants.length === 0 && chosen.length > 0) process.stdout.write('Nothing is left.\n');
  else process.stdout.write(closingWords(summaries.length, failed, out, options.out === undefined));
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

async function chooseTenants(
  target: Target,
  tenant: string | undefined,
  { all }: BackupOptions,
): Promise<readonly string[]> {
  if ((tenant === undefined) === !all) {
    throw new UsageError('Give one tenant, or --all.');
  }
  return tenant === undefined ? listTenantFiles(target) : [tenant];
}

/** The tenants that a backup which was cancelled or interrupted has not done. @throws OnewriterError NOT_FOUND; UsageError */
async function leftBy(
  id: string,
  target: Target,
  { chosen, out, verification }: { chosen: readonly string[]; out: string; verification: Verification },
): Promise<readonly string[]> {
  const { group } = target;
  const { kind, state, createdAt } = await withRedis(target, redis =>
    new OperationStore(redis, group).get(id),
  );
  if (kind !== 'backup') throw new UsageError(`${id} is no backup: ${kind}.`);
  if (!isEnded(state)) throw new UsageError(`${id} has not ended: ${state}.`);
  const since = Date.parse(createdAt);
  return chosen.filter(tenant => !hasBackupSince(out, { group, tenant }, since, verification));
}

function toSummary(tenant: string, outcome: JobOutcome<TakenBackup>): BackupSummary {
  return 'error' in outcome
    ? { tenant, path: null, manifest: null, error: outcome.error }
    : { tenant, ...outcome.result, error: null };
}

/** @throws UsageError */
function parseVerification(text = 'full'): Verification {
  if (text === 'full' || text === 'quick') return text;
  throw new UsageError('--verify is full or quick.');
}

function describe({ tenant, path, manifest }: BackupSummary): string {
  const { bytes, rows, commitSeq, foreignKeyViolations, verified, unchecked = [] } = manifest!;
  const how = verified === 'quick' ? 'pages verified' : 'verified';
  const commit = commitSeq === null ? 'no commit yet' : `commit ${commitSeq}`;
  const keys =
    foreignKeyViolations === 0 || foreignKeyViolations === null
      ? ''
      : `; ${foreignKeyViolations} rows break foreign keys, there as here (onewriter tenants check ${tenant})`;
  const but =
    unchecked.length === 0 ? '' : `, but for what SQLite cannot check here: ${describeUnchecked(unchecked)}`;
  return `${tenant}: ${path}  ${formatBytes(bytes)}, ${count(rows, 'row')}, ${commit}, ${how}${but}${keys}`;
}

function closingWords(total: number, failed: number, out: string, isDefaultPlace: boolean): string {
  if (total === 0) return 'There are no tenants.\n';
  const done = `${total - failed} of ${total} backed up and verified.`;
  const place = isDefaultPlace
    ? ` They are on the disk of the data (${out}): copy them elsewhere, or use --out.`
    : '';
  return `${done}${failed > 0 ? ` ${failed} failed: see above; nothing was kept of these.` : ''}${place}\n`;
}

/** Lists backups, the newest of each tenant first. */
function list(tenant: string | undefined, out: string, options: BackupOptions): number {
  const folders = tenant === undefined ? foldersIn(out) : [tenant];
  const found = folders.flatMap(folder => {
    const path = join(out, folder);
    const files = existsSync(path) ? readdirSync(path).filter(name => name.endsWith('.db')) : [];
    return files
      .sort()
      .reverse()
      .map(name => ({
        tenant: folder,
        path: join(path, name),
        manifest: findManifest(join(path, name)) ?? null,
      }));
  });
  if (options.json) process.stdout.write(`${JSON.stringify(found)}\n`);
  else if (found.length === 0) process.stdout.write(`There are no backups in ${out}.\n`);
  else {
    const rows = found.map(({ tenant: name, path, manifest }) => [
      name,
      manifest?.takenAt.slice(0, 19).replace('T', ' ') ?? '-',
      manifest === null ? '-' : String(manifest.commitSeq ?? '-'),
      manifest === null ? '-' : formatBytes(manifest.bytes),
      path,
    ]);
    process.stdout.write(
      formatTable(['tenant', 'taken (UTC)', 'commit', 'size', 'file'], rows, { maxCellWidth: 300 }),
    );
  }
  return EXIT.ok;
}

function foldersIn(out: string): string[] {
  if (!existsSync(out)) return [];
  return readdirSync(out, { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .map(entry => entry.name)
    .sort();
}
