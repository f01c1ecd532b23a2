import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { backupFolder } from './backup-tenant.ts';
import { findManifest, type Verification } from './manifest.ts';

/**
 * Whether a tenant has a backup of this moment or later. One of another group, or from a clock that was ahead, does not count.
 * @param since ms since the epoch
 * @param verification one that was verified less does not count
 * @throws Error of the file system. A manifest that cannot be read is no sign of a backup: it is taken again.
 */
export function hasBackupSince(
  out: string,
  { group, tenant }: { readonly group: string; readonly tenant: string },
  since: number,
  verification: Verification,
): boolean {
  const folder = backupFolder(out, tenant);
  return listFolder(folder).some(name => {
    if (!name.endsWith('.db')) return false;
    const manifest = findManifest(join(folder, name));
    if (manifest === undefined || manifest.group !== group) return false;
    const takenAt = Date.parse(manifest.takenAt);
    if (!(takenAt >= since && takenAt <= Date.now())) return false;
    return verification === 'quick' || (manifest.verified ?? 'full') === 'full';
  });
}

/** Nothing where there is no folder. */
function listFolder(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
