import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { assertTenantId, OnewriterError, toWireError, type WireError } from '@onewriter/protocol';
import { backupTenant } from '../backup/backup-tenant.ts';
import { describeUnchecked } from '../backup/check-file.ts';
import { type BackupManifest, readManifest } from '../backup/manifest.ts';
import { EXIT } from '../exit-codes.ts';
import { printError } from '../print-error.ts';
import { createProgress } from '../progress.ts';
import { count, formatBytes, formatTable } from '../table.ts';
import { findTarget, requireDataDir, type Target } from '../target.ts';
import { listTenantFiles } from '../tenants/list-tenants.ts';
import { UsageError } from '../usage-error.ts';

/** Options of `onewriter backup`, as the command line gives them. */
export interface BackupOptions {
  readonly dataDir?: string | undefined;
  readonly all?: boolean | undefined;
  readonly list?: boolean | undefined;
  /** Folder of all backups. */
  readonly out?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What became of one tenant, as `onewriter backup --json` lists it. */
export interface BackupSummary {
  readonly tenant: string;
  /** Null where there is none: see `error`. */
  readonly path: string | null;
  readonly manifest: BackupManifest | null;
  readonly error: WireError | null;
}

/** Backs up one tenant or all, one after the other, while they are written. A tenant that fails does not keep the others. */
export async function backup(tenant: string | undefined, options: BackupOptions): Promise<number> {
  const target = findTarget(options.dataDir);
  if (!options.list || options.out === undefined) requireDataDir(target);
  const out = resolve(options.out ?? join(target.dataDir, 'backups'));
  if (tenant !== undefined) assertTenantId(tenant);
  if (options.list) return list(tenant, out, options);
  const tenants = await chooseTenants(target, tenant, options);
  const progress = createProgress(options.json);
  const summaries: BackupSummary[] = [];
  for (const [index, name] of tenants.entries()) {
    progress.update(`${index + 1} of ${tenants.length}: ${name}`, index / tenants.length);
    const summary = await backupOne(target, name, out);
    summaries.push(summary);
    progress.end();
    if (options.json) continue;
    if (summary.error !== null) printError(summary.error);
    else process.stdout.write(`${describe(summary)}\n`);
  }
  const failed = summaries.filter(({ error }) => error !== null).length;
  if (options.json) process.stdout.write(`${JSON.stringify(summaries)}\n`);
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

async function backupOne(target: Target, tenant: string, out: string): Promise<BackupSummary> {
  try {
    const { path, manifest } = await backupTenant(target, tenant, out);
    return { tenant, path, manifest, error: null };
  } catch (error) {
    // A fault of ours ends the command; a file's keeps the others from nothing.
    if (!(error instanceof OnewriterError)) throw error;
    return { tenant, path: null, manifest: null, error: toWireError(error) };
  }
}

function describe({ tenant, path, manifest }: BackupSummary): string {
  const { bytes, rows, commitSeq, foreignKeyViolations, unchecked = [] } = manifest!;
  const commit = commitSeq === null ? 'no commit yet' : `commit ${commitSeq}`;
  const keys =
    foreignKeyViolations === 0
      ? ''
      : `; ${foreignKeyViolations} rows break foreign keys, there as here (onewriter tenants check ${tenant})`;
  const but =
    unchecked.length === 0 ? '' : `, but for what SQLite cannot check here: ${describeUnchecked(unchecked)}`;
  return `${tenant}: ${path}  ${formatBytes(bytes)}, ${count(rows, 'row')}, ${commit}, verified${but}${keys}`;
}

function closingWords(total: number, failed: number, out: string, isDefaultPlace: boolean): string {
  if (total === 0) return 'There are no tenants.\n';
  const done = `${total - failed} of ${total} backed up and verified.`;
  const place = isDefaultPlace
    ? ` They are on the disk of the data (${out}): copy them elsewhere, or use --out.`
    : '';
  return `${done}${failed > 0 ? ` ${failed} failed: see above; nothing of theirs was kept.` : ''}${place}\n`;
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
        manifest: readManifest(join(path, name)) ?? null,
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
      formatTable(['tenant', 'taken (UTC)', 'commit', 'size', 'file'], rows, { maxCellCharacters: 300 }),
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
