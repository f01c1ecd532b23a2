import { existsSync, linkSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  DATABASE_COMPANIONS,
  findDatabaseFile,
  flushPath,
  newDatabaseName,
  OnewriterError,
} from '@onewriter/protocol';
import { retireDatabase } from '@onewriter/runtime';
import Database from 'better-sqlite3';

/** What a swap could not do as it should. */
export interface SwapResult {
  /** Why processes that have the old file open may continue to read it; undefined where they notice the swap. */
  readonly notRetired: Error | undefined;
}

/**
 * Puts a database in the place of another, which keeps living under another name, with its write-ahead log.
 *
 *   new file to a name of its own ▸ a second name for the old one, with its log ▸ the link leads to the new one ▸
 *   tombstone into the old one ▸ its first name, and those of its log, are removed
 *
 * No process may have the old file open for writes. Readers may, and the path leads to one of the two at each moment. No name
 * is used twice, so a reader that opens a file, and its log a moment later, never has the log of another. Those that have
 * the old one open fail their next read, and open the new one: see retire-database.ts.
 *
 * @param fresh a database without companions, in the same folder, flushed
 * @param aside must not exist
 * @throws OnewriterError DATABASE_IO_ERROR; nothing has changed then
 */
export function swapFile(path: string, fresh: string, aside: string, busyTimeoutMs: number): SwapResult {
  const folder = dirname(path);
  const old = findDatabaseFile(path)?.path ?? path;
  const name = newDatabaseName(basename(path));
  const file = join(folder, name);
  const link = `${file}.link`;
  const linked: string[] = [];
  try {
    renameSync(fresh, file);
    for (const suffix of [...DATABASE_COMPANIONS, '']) {
      if (!existsSync(`${old}${suffix}`)) continue;
      linkSync(`${old}${suffix}`, `${aside}${suffix}`);
      linked.push(`${aside}${suffix}`);
    }
    symlinkSync(name, link);
    flushPath(folder);
    // From here on it is done, in one step.
    renameSync(link, path);
  } catch (error) {
    for (const name of linked.toReversed()) rmSync(name, { force: true });
    rmSync(link, { force: true });
    rmSync(file, { force: true });
    throw new OnewriterError(
      'DATABASE_IO_ERROR',
      `The file could not be put in place (${(error as Error).message}); the old one is in its place, and nothing has changed.`,
      {},
      error,
    );
  }
  flushPath(folder);
  const notRetired = retire(aside, busyTimeoutMs);
  // The database first: without its log it must not be found.
  if (old !== path) unlinkSync(old);
  for (const suffix of DATABASE_COMPANIONS) rmSync(`${old}${suffix}`, { force: true });
  flushPath(folder);
  return { notRetired };
}

function retire(path: string, busyTimeoutMs: number): Error | undefined {
  try {
    retireDatabase(
      path,
      (file, { readonly }) => new Database(file, { readonly, fileMustExist: true, timeout: busyTimeoutMs }),
    );
    return undefined;
  } catch (error) {
    // What cannot be read as a database is kept as it is.
    return error as Error;
  }
}
