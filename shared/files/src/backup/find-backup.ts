import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { backupFolder } from './backup-tenant.ts';
import { readManifest, type Verification } from './manifest.ts';

/**
 * Whether a tenant has a backup of this moment or later.
 * @param since ms since the epoch
 * @param verification one that was verified less does not count
 * @throws OnewriterError INVALID_ARGUMENT for a manifest that is none; Error of the file system
 */
export function hasBackupSince(
  out: string,
  tenant: string,
  since: number,
  verification: Verification,
): boolean {
  const folder = backupFolder(out, tenant);
  return listFolder(folder).some(name => {
    if (!name.endsWith('.db')) return false;
    const manifest = readManifest(join(folder, name));
    if (manifest === undefined || Date.parse(manifest.takenAt) < since) return false;
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
