import { readdirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { tenantsDir } from '@onewriter/protocol';
import { bad, type Diagnosis, ok } from './diagnosis.ts';

/** Tenants that are looked at: it is the same umask in all, as a rule. */
const MAX_TENANTS = 200;
const OTHERS = 0o007;

/** Whether other users of the machine may read tenants' data. Their folder alone can keep them out. */
export function checkRights(dataDir: string): Diagnosis {
  const check = 'data-directory-rights';
  if (!isOpen(lookAt(dataDir))) return ok(check, 'no other user of this machine may look into it');
  const open = [...listFiles(dataDir)].filter(path => isOpen(lookAt(path)));
  if (open.length === 0) return ok(check, 'no other user of this machine may read what is in it');
  return bad(
    'warning',
    check,
    `Every user of this machine may look into ${dataDir}, and read ${open[0]}${open.length > 1 ? ` and ${open.length - 1} more` : ''}.`,
    `chmod -R o-rwx ${JSON.stringify(dataDir)}. New files have the rights that ONEWRITER_UMASK leaves.`,
  );
}

/** Files with data or secrets, of some tenants. */
function* listFiles(dataDir: string): Generator<string> {
  for (const name of ['token-secret', 'onewriter.json']) yield join(dataDir, name);
  const tenants = readdirSync(dataDir).includes('tenants') ? readdirSync(tenantsDir(dataDir)) : [];
  for (const tenant of tenants.slice(0, MAX_TENANTS)) {
    const folder = join(tenantsDir(dataDir), tenant);
    if (!isOpen(lookAt(folder)) || !lookAt(folder)?.isDirectory()) continue;
    for (const file of readdirSync(folder)) yield join(folder, file);
  }
}

function lookAt(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

function isOpen(stats: Stats | undefined): boolean {
  return stats !== undefined && (stats.mode & OTHERS) !== 0;
}
