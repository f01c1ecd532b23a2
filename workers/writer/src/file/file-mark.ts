import { type Stats, statSync } from 'node:fs';

/** Device and inode of a file, and the attributes that a write changes. */
export interface FileMark {
  readonly identity: string;
  readonly size: number;
  readonly mtimeMs: number;
}

/** The mark of the file at a path. */
export function markOf(path: string): FileMark {
  const stats = statOf(path);
  return { identity: toIdentity(stats), size: stats?.size ?? 0, mtimeMs: stats?.mtimeMs ?? 0 };
}

/** Undefined where there is no file at the path, or a link to itself. */
export function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOOP') return undefined;
    throw error;
  }
}

export const NO_FILE = 'none';

/** Device and inode of the file at a path; `none` where there is none. */
export function identify(path: string): string {
  return toIdentity(statOf(path));
}

/** Device and inode of a file. */
export function toIdentity(stats: Stats | undefined): string {
  return stats === undefined ? NO_FILE : `${stats.dev}:${stats.ino}`;
}
