import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TENANT_ID_PATTERN, tenantsDir } from '@onewriter/protocol';
import type { Target } from '../target.ts';
import type { Finding } from './finding.ts';

/** Files beside a database that belong to it. */
const COMPANIONS = ['-wal', '-shm', '-journal'];
const MAX_DEPTH_NOTE = 20;

/** Looks for what lies in the tenants' folder and belongs to nobody, or to a command that was cut off. */
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
          'Look what it is; move it away if nobody needs it.',
        ),
      );
    } else findings.push(...findInFolder(target, entry.name));
  }
  return findings;
}

/** The same in the folder of one tenant. */
export function findInFolder(target: Target, tenant: string): Finding[] {
  const folder = join(tenantsDir(target.dataDir), tenant);
  const { dbFile } = target;
  const names = new Set(entriesOf(folder).map(({ name }) => name));
  const findings: Finding[] = [];
  const path = (name: string) => join(folder, name);
  const others = [...names].filter(
    name => name !== dbFile && !COMPANIONS.some(suffix => name === `${dbFile}${suffix}`),
  );
  const staged = others.filter(name => name.startsWith(`${dbFile}.restoring-`) && !isCompanion(name));
  const replaced = others.filter(name => name.startsWith(`${dbFile}.replaced-`) && !isCompanion(name)).sort();
  if (!names.has(dbFile)) {
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
    } else {
      findings.push(
        orphan(
          'warning',
          tenant,
          `${folder} has no ${dbFile}.`,
          'Remove the folder if nobody is to have it; the first write makes a new, empty database.',
        ),
      );
    }
  }
  for (const name of staged) {
    findings.push(
      orphan(
        'warning',
        tenant,
        `${path(name)} was left by a restore that was cut off, or one that runs.`,
        'Remove it if none runs; look whether the tenant is still paused (onewriter tenants info).',
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
          'Remove it, with its -wal and -shm, when nobody needs it any more.',
        ),
      );
    }
  }
  const strange = others.filter(
    name => !name.startsWith(`${dbFile}.restoring-`) && !name.startsWith(`${dbFile}.replaced-`),
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
  return COMPANIONS.some(suffix => name.endsWith(suffix));
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
