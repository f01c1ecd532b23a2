import { existsSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import { flush } from './copy-database.ts';

/** What SQLite keeps beside a database, under its name. */
const COMPANIONS = ['-wal', '-shm', '-journal'];
/** Longer than a reader takes from opening a file to its first read. */
const QUIET_MS = 100;

/**
 * Puts a database in the place of another, which keeps living under another name, with its write-ahead log.
 *
 *   old and its companions to the other name ▸ quiet ▸ what readers left there in between ▸ new to its name
 *
 * Nobody may have the old file open for writes. Readers may: those that have it open go on reading it, until they notice
 * that the path leads elsewhere. Never may the new file meet the write-ahead log or its index of the old: SQLite would take
 * them for its own. A reader opens the file, and those a moment later, by path; so between the two renames there is a pause
 * in which the path leads nowhere (a read fails then), and what such a late reader has made at the path goes before the new
 * file comes.
 *
 * @param fresh a database without companions, on the same file system
 * @param aside must not exist
 * @throws OnewriterError DATABASE_IO_ERROR; the old file is in its place again, or the message says where all is
 */
export function swapFile(path: string, fresh: string, aside: string): void {
  const moved: string[] = [];
  try {
    for (const suffix of ['', ...COMPANIONS]) {
      if (!existsSync(`${path}${suffix}`)) continue;
      renameSync(`${path}${suffix}`, `${aside}${suffix}`);
      moved.push(suffix);
    }
    flush(dirname(path));
    // Synchronous, so that nothing of this process comes in between.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, QUIET_MS);
    for (const suffix of COMPANIONS) rmSync(`${path}${suffix}`, { force: true });
    renameSync(fresh, path);
    flush(dirname(path));
  } catch (error) {
    putBack(path, aside, moved, error);
    throw new OnewriterError(
      'DATABASE_IO_ERROR',
      `The file could not be put in place (${(error as Error).message}); the old one is in its place again, and nothing has changed.`,
      {},
      error,
    );
  }
}

function putBack(path: string, aside: string, moved: readonly string[], cause: unknown): void {
  try {
    // The database last: until then nobody can open it without its log.
    for (const suffix of moved.toReversed()) renameSync(`${aside}${suffix}`, `${path}${suffix}`);
  } catch (error) {
    throw new OnewriterError(
      'DATABASE_IO_ERROR',
      `The file could not be put in place, nor the old one back (${(error as Error).message}). The tenant stays paused. ` +
        `All of the old file is at ${aside}*: move these to ${path}*, then resume the tenant.`,
      {},
      cause,
    );
  }
}
