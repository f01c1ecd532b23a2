import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { tenantsDir } from '@onewriter/protocol';

/** With less than this SQLite can commit nothing: it has to make its log longer. */
const MIN_FREE_BYTES = 1024 * 1024;

/**
 * Whether a process can use the data directory.
 *
 * @param need `write`: the broker commits there; `read`: tenants are read there.
 * @returns what is wrong, for people; undefined where nothing is.
 */
export async function checkDataDir(dataDir: string, need: 'read' | 'write'): Promise<string | undefined> {
  const wanted = constants.R_OK | constants.X_OK | (need === 'write' ? constants.W_OK : 0);
  try {
    await accessExisting([tenantsDir(dataDir), dataDir], wanted);
    if (need === 'read') return undefined;
    const { bavail, bsize } = await statfs(dataDir);
    const free = bavail * bsize;
    return free >= MIN_FREE_BYTES ? undefined : `The disk of ${dataDir} is full: ${free} bytes are left.`;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return `The data directory ${dataDir} does not exist.`;
    if (code === 'EROFS') return `The data directory ${dataDir} is mounted read-only.`;
    if (code === 'EACCES')
      return `The data directory ${dataDir} may not be ${need === 'write' ? 'written' : 'read'} by this user.`;
    return `The data directory ${dataDir} cannot be used: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** The first tenant makes the folder of tenants: until then the directory itself counts. */
async function accessExisting(paths: readonly string[], mode: number): Promise<void> {
  const [path, ...rest] = paths;
  try {
    await access(path!, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || rest.length === 0) throw error;
    await accessExisting(rest, mode);
  }
}
