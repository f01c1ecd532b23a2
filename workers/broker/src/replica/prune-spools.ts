import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseSpoolName, spoolsFolder } from '@onewriter/writer';

/**
 * Removes what replicators that ended left in the spools, but for the oldest up to a bound: those continue from what is stored. The
 * writer threads send again what is in their logs, and may still write to the spool of the last room.
 *
 * @param room the last one
 * @throws Error of the file system
 */
export function pruneSpools(dataDir: string, room: string, boundBytes: number): void {
  const folder = spoolsFolder(dataDir);
  const former = namesIn(folder)
    .map(name => ({ path: join(folder, name), room: parseSpoolName(name)?.room }))
    .filter(spool => spool.room !== undefined && spool.room !== room)
    .sort((one, other) => (one.room! < other.room! ? -1 : 1));
  let bytes = 0;
  for (const [index, { path }] of former.entries()) {
    bytes += bytesIn(path);
    if (index > 0 && bytes > boundBytes) rmSync(path, { recursive: true, force: true });
  }
}

function bytesIn(folder: string): number {
  const sizes = namesIn(folder).map(
    name => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0,
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Nothing where there is no such folder. */
function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
