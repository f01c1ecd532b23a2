import { type Dirent, lstatSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Finding } from '@onewriter/files';
import {
  changeNotePath,
  DATABASE_COMPANIONS,
  findDatabaseFile,
  incarnationOf,
  isHibernated,
  isKnownDatabase,
  isOnewriterError,
  listKnownDatabases,
  TENANT_ID_PATTERN,
  tenantsDir,
} from '@onewriter/protocol';
import type { Target } from '../target.ts';

const MAX_DEPTH_NOTE = 20;

/** Looks in the tenants' folder for files that have no owner, or that an interrupted command left. */
export function findOrphans(target: Target): Finding[] {
  const root = tenantsDir(target.dataDir);
  const findings: Finding[] = [];
  for (const entry of entriesOf(root)) {
    const path = join(root, entry.name);
    if (entry.isSymbolicLink()) {
      findings.push(
        orphan(
          'error',
          null,
          `${path} is a symbolic link: the broker refuses it.`,
          'Move the folder itself here.',
        ),
      );
    } else if (!entry.isDirectory() || !TENANT_ID_PATTERN.test(entry.name)) {
      findings.push(
        orphan(
          'warning',
          null,
          `${path} is no tenant's folder.`,
          'See what it is; move it away if it is not needed.',
        ),
      );
    } else findings.push(...findInFolder(target, entry.name));
  }
  return [...findings, ...findGone(target)];
}

/** Tenants whose whole folder is gone. */
function findGone(target: Target): Finding[] {
  return listKnownDatabases(target.dataDir)
    .map(tenant => ({ tenant, folder: join(tenantsDir(target.dataDir), tenant) }))
    .filter(
      ({ tenant, folder }) =>
        lstatSync(folder, { throwIfNoEntry: false }) === undefined && !isHibernated(target.dataDir, tenant),
    )
    .map(({ tenant, folder }) =>
      orphan(
        'error',
        tenant,
        `${folder} is gone: a broker wrote to a database there, and it was not deleted by Onewriter.`,
        `Put it back, or restore a backup: onewriter restore <backup> ${tenant}. To begin with an empty file: onewriter tenants pause ${tenant}, then resume.`,
      ),
    );
}

/** The same in the folder of one tenant. */
export function findInFolder(target: Target, tenant: string): Finding[] {
  const folder = join(tenantsDir(target.dataDir), tenant);
  const { dbFile } = target;
  const names = new Set(entriesOf(folder).map(({ name }) => name));
  const findings: Finding[] = [];
  const path = (name: string) => join(folder, name);
  const current = nameOfCurrent(path(dbFile)) ?? dbFile;
  const others = [...names].filter(
    name =>
      name !== dbFile &&
      name !== current &&
      !DATABASE_COMPANIONS.some(suffix => name === `${current}${suffix}`),
  );
  const former = others.filter(name => incarnationOf(dbFile, withoutSuffix(name)) !== undefined);
  const staged = others.filter(name => name.startsWith(`${dbFile}.restoring-`) && !isCompanion(name));
  const replaced = others.filter(name => name.startsWith(`${dbFile}.replaced-`) && !isCompanion(name)).sort();
  if (!names.has(dbFile) && !isHibernated(target.dataDir, tenant)) {
    const log = names.has(`${dbFile}-wal`);
    if (replaced.length > 0) {
      const last = replaced.at(-1)!;
      findings.push(
        orphan(
          'error',
          tenant,
          `${path(dbFile)} is missing, and ${last} is there: a restore was cut off.`,
          `Before anything writes it: mv ${path(last)} ${path(dbFile)} (and its -wal and -shm), then restore again.`,
        ),
      );
    } else if (log) {
      findings.push(
        orphan(
          'error',
          tenant,
          `${path(dbFile)}-wal is there without its database: commits may be in it.`,
          `Keep it. Pause the tenant and put the database back beside it, or restore a backup.`,
        ),
      );
    } else if (isKnownDatabase(target.dataDir, tenant)) {
      findings.push(
        orphan(
          'error',
          tenant,
          `${path(dbFile)} is gone: a broker wrote to it, and Onewriter did not delete it.`,
          `Put it back, or restore a backup. To begin with a new, empty file, pause and resume the tenant when it is parked for it.`,
        ),
      );
    } else {
      findings.push(
        orphan(
          'warning',
          tenant,
          `${folder} has no ${dbFile}.`,
          'Remove the folder if it is not needed; the first write makes a new, empty database.',
        ),
      );
    }
  }
  const note = changeNotePath(dbFile);
  if (names.has(note)) {
    findings.push(
      orphan(
        'note',
        tenant,
        `${path(note)}: a restore, or another change of its file, was cut off, or one runs.`,
        'Keep it. The broker settles the change when it opens the file, and removes what was left.',
      ),
    );
  }
  for (const name of staged) {
    findings.push(
      orphan(
        'warning',
        tenant,
        `${path(name)} was left by a restore that was cut off, or one that runs.`,
        'Remove it if none runs; check whether the tenant is still paused (onewriter tenants info).',
      ),
    );
  }
  for (const name of replaced) {
    if (names.has(dbFile)) {
      findings.push(
        orphan(
          'note',
          tenant,
          `${path(name)} is kept by a restore.`,
          'Remove it, with its -wal and -shm, when it is no longer needed.',
        ),
      );
    }
  }
  if (former.length > 0) {
    findings.push(
      orphan(
        'warning',
        tenant,
        `${former.map(path).join(', ')}: ${path(dbFile)} does not lead there. It was left by a restore or a deletion that was cut off, or one that runs.`,
        'Nothing reads it. Remove it if none runs.',
      ),
    );
  }
  const strange = others.filter(
    name =>
      name !== note &&
      !former.includes(name) &&
      !name.startsWith(`${dbFile}.restoring-`) &&
      !name.startsWith(`${dbFile}.replaced-`),
  );
  if (strange.length > 0) {
    const list = strange.slice(0, MAX_DEPTH_NOTE).join(', ');
    findings.push(
      orphan(
        'note',
        tenant,
        `${folder} also has: ${list}${strange.length > MAX_DEPTH_NOTE ? ' …' : ''}.`,
        'Nothing, if they are yours.',
      ),
    );
  }
  return findings;
}

function isCompanion(name: string): boolean {
  return withoutSuffix(name) !== name;
}

/** Name of the database that a companion file or a command's temporary file belongs to. */
function withoutSuffix(name: string): string {
  const suffix = [...DATABASE_COMPANIONS, '-wal.kept', '.link'].find(end => name.endsWith(end));
  return suffix === undefined ? name : name.slice(0, -suffix.length);
}

/** Name of the file that a tenant's path leads to; undefined where it leads to none. */
function nameOfCurrent(path: string): string | undefined {
  try {
    const file = findDatabaseFile(path);
    return file && basename(file.path);
  } catch (error) {
    // A link that the broker refuses.
    if (isOnewriterError(error, 'TENANT_UNAVAILABLE')) return undefined;
    throw error;
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function orphan(level: Finding['level'], tenant: string | null, found: string, next: string): Finding {
  return { level, tenant, check: 'orphan', found, next };
}
