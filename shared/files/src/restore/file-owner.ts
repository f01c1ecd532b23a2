import { chownSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { tenantsDir } from '@onewriter/protocol';

/** Whose a file is. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined where there is nothing to go by: the folder is made by this user. */
export function ownerOf(path: string): Owner | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

/** Whose what is new in a data directory is to be. */
export function ownerIn(dataDir: string): Owner | undefined {
  return ownerOf(tenantsDir(dataDir)) ?? ownerOf(dataDir);
}

/** Makes a folder, with those above it that are missing. @returns whether it was missing */
export function makeFolder(path: string, owner: Owner | undefined, warnings: string[]): boolean {
  const folder = resolve(path);
  const first = mkdirSync(folder, { recursive: true });
  if (first === undefined) return false;
  for (let made = folder; made.length >= first.length; made = dirname(made)) giveTo(made, owner, warnings);
  return true;
}

/** A restore by root must not leave a file that the broker cannot write. */
export function giveTo(path: string, owner: Owner | undefined, warnings: string[]): void {
  if (owner === undefined) return;
  const { uid, gid } = statSync(path);
  if (uid === owner.uid && gid === owner.gid) return;
  try {
    chownSync(path, owner.uid, owner.gid);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    warnings.push(
      `${path} should belong to ${owner.uid}:${owner.gid}, as the others do, and could not be given to them (${code}): the broker may not be able to write it.`,
    );
  }
}
