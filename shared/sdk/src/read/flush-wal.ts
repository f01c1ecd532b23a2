import { close, fdatasync, open } from 'node:fs';
import { promisify } from 'node:util';

/*
 * The broker may commit before it flushes, and answers after; readers of the file see the commit in between. Before a
 * row of the ledger counts and a caller gets "committed", what was read has to be on the disk. Source:
 * infra/adr/0009-flush-many-tenants-at-once.md. If the log no longer exists, it was written back and flushed.
 *
 * The log carries none of SQLite's locks, so that opening and closing it in a process that reads the file drops none.
 */

/** Flushes the write-ahead log of a database, without holding up the event loop. @throws Error of the file system: then it is not known. */
export async function flushWal(databasePath: string): Promise<void> {
  let file: number;
  try {
    file = await promisify(open)(`${databasePath}-wal`, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    await promisify(fdatasync)(file);
  } finally {
    await promisify(close)(file);
  }
}
