import { chmodSync, existsSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { flush, removeDatabase } from '../copy/copy-database.ts';
import { giveTo, makeFolder, ownerIn, ownerOf } from './file-owner.ts';

/** A file that is made beside a tenant's, to be put in its place. */
export interface NewDraft {
  readonly path: string;
  /** What could not be done as it should be. */
  readonly warnings: string[];
  /** Gives it the rights and the owner that the tenant's file has, or would have. */
  dress(): void;
  /** To be called where it was not put in place. */
  discard(): void;
}

const OF_PROCESS = /\.restoring-(\d+)-\d+$/;

/** A name for a draft, and its folder. @param file where it will be */
export function newDraft(dataDir: string, file: string): NewDraft {
  const warnings: string[] = [];
  const folder = dirname(file);
  const owner = ownerOf(file) ?? ownerIn(dataDir);
  const path = `${file}.restoring-${process.pid}-${Date.now()}`;
  const isNew = makeFolder(folder, owner, warnings);
  if (isNew) flush(dirname(folder));
  return {
    path,
    warnings,
    dress: () => {
      chmodSync(path, existsSync(file) ? statSync(file).mode & 0o777 : 0o666 & ~process.umask());
      giveTo(path, owner, warnings);
    },
    discard: () => {
      removeDatabase(path);
      // An empty folder of a tenant would look as if its file were lost.
      if (isNew && readdirSync(folder).length === 0) rmdirSync(folder);
    },
  };
}

/**
 * Removes drafts of processes that were killed.
 * @param file whose drafts they are
 * @param alsoOwn whether this process makes none of the file now
 */
export function removeLostDrafts(file: string, alsoOwn = false): void {
  if (!existsSync(dirname(file))) return;
  for (const name of readdirSync(dirname(file))) {
    const pid = name.startsWith(basename(file)) ? OF_PROCESS.exec(name)?.[1] : undefined;
    const isLost = pid !== undefined && ((alsoOwn && Number(pid) === process.pid) || !isRunning(Number(pid)));
    if (isLost) removeDatabase(join(dirname(file), name));
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
