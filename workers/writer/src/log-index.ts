import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { toIdentity } from './file-watch.ts';

/** Two copies of the header, of 48 bytes each. Source: https://www.sqlite.org/walformat.html, section 2.1. */
const HEADERS_BYTES = 96;

/**
 * Has everybody who uses another index (-shm) of the same log make it again from the log. A process that opens a database whose
 * index was deleted makes a new one, and does not see there what is committed with the old one.
 *
 * @param own the index that this process has open, by device and inode
 */
export function invalidateIndex(shmPath: string, own: string): void {
  let file: number;
  try {
    file = openSync(shmPath, 'r+');
  } catch (error) {
    // Who opens the database next makes one.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  // It was moved back this moment. Closing it would drop SQLite's locks on it.
  if (toIdentity(fstatSync(file)) === own) return;
  try {
    // SQLite does the same before it makes an index again, which it does for a header that is not valid.
    writeSync(file, Buffer.alloc(HEADERS_BYTES), 0, HEADERS_BYTES, 0);
  } finally {
    closeSync(file);
  }
}
