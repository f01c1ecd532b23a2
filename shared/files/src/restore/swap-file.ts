import { existsSync, linkSync, renameSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  type DatabaseChange,
  findDatabaseFile,
  finishDatabaseChange,
  flushPath,
  incarnationOf,
  linkDatabase,
  newDatabaseName,
  noteDatabaseChange,
  OnewriterError,
  settleDatabaseChange,
  undoDatabaseChange,
} from '@onewriter/protocol';
import { opensRetired } from '../open/opens-retired.ts';

/** What a swap could not do as it should. */
export interface SwapResult {
  /** Why processes that have the old file open may continue to read it; undefined where they notice the swap. */
  readonly notRetired: Error | undefined;
}

/**
 * Puts a database in the place of another, which keeps living under another name, with its write-ahead log, or is removed.
 *
 *   note ▸ new file to a name of its own ▸ second names for the old one ▸ the link leads to the new one ▸
 *   tombstone into the old one ▸ its first name, and those of its log, are removed
 *
 * No process may have the old file open for writes. Readers may, and the path leads to one of the two at each moment. No name
 * is used twice, so a reader that opens a file, and its log a moment later, never has the log of another. Those that have
 * the old one open fail their next read, and open the new one: see the protocol's database-change.ts, also for a process that dies
 * in the middle.
 *
 * @param fresh a database without companions, in the same folder, flushed
 * @param aside must not exist; undefined: the old one is not kept
 * @throws OnewriterError DATABASE_IO_ERROR; nothing has changed then
 */
export function swapFile(
  path: string,
  fresh: string,
  aside: string | undefined,
  busyTimeoutMs: number,
): SwapResult {
  const open = opensRetired(busyTimeoutMs);
  settleDatabaseChange(path, open);
  const folder = dirname(path);
  const old = basename(findDatabaseFile(path)?.path ?? path);
  const dbFile = basename(path);
  const name = newDatabaseName(dbFile);
  const change: DatabaseChange = {
    old,
    ended: incarnationOf(dbFile, old) === undefined ? newDatabaseName(dbFile) : old,
    kept: aside === undefined ? null : basename(aside),
    fresh: name,
  };
  if (aside !== undefined && existsSync(aside)) throw notPlaced(new Error(`${aside} is there`));
  try {
    noteDatabaseChange(path, change);
  } catch (error) {
    throw notPlaced(error);
  }
  try {
    renameSync(fresh, join(folder, name));
    if (change.ended !== old) linkDatabase(join(folder, old), join(folder, change.ended));
    // Its log follows as the old file ends.
    if (aside !== undefined) linkSync(join(folder, old), aside);
    symlinkSync(name, join(folder, `${name}.link`));
    flushPath(folder);
    // From here on it is done, in one step.
    renameSync(join(folder, `${name}.link`), path);
  } catch (error) {
    undoDatabaseChange(path, change);
    throw notPlaced(error);
  }
  flushPath(folder);
  return { notRetired: finishDatabaseChange(path, change, open) };
}

function notPlaced(error: unknown): OnewriterError {
  return new OnewriterError(
    'DATABASE_IO_ERROR',
    `The file could not be put in place (${(error as Error).message}); the old one is in its place, and nothing has changed.`,
    {},
    error,
  );
}
