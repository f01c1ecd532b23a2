import { chownSync, statSync } from 'node:fs';

/** Whose a file is. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined where there is nothing to go by: the folder is made by this user. */
export function ownerOf(path: string): Owner | undefined {
  return statSync(path, { throwIfNoEntry: false });
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
