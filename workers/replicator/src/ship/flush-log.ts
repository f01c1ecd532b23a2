import { close, fdatasync, fstat, open } from 'node:fs';
import { promisify } from 'node:util';
import type { WalFile } from '@onewriter/writer';

const openFile = promisify(open);
const statFile = promisify(fstat);
const flushFile = promisify(fdatasync);
const closeFile = promisify(close);

/**
 * Flushes a write-ahead log, so that no copy is ahead of the disk. SQLite locks the database file and its index, never the log: closing
 * a descriptor of it drops no lock.
 *
 * @returns false where the path leads to another file, or to none
 * @throws Error of the file system
 */
export async function flushLog({ path, identity }: WalFile): Promise<boolean> {
  let fd: number;
  try {
    // Read-only, as the broker's own flush: file-rescue.ts recognises the writer's connections by their write access.
    fd = await openFile(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  try {
    const { dev, ino } = await statFile(fd);
    if (`${dev}:${ino}` !== identity) return false;
    await flushFile(fd);
    return true;
  } finally {
    await closeFile(fd);
  }
}
