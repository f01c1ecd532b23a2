import { statfsSync } from 'node:fs';
import { OnewriterError } from './onewriter-error.ts';

/** Whether an error says that the file system, or the user's quota on it, is full. */
export function isLackOfRoom(error: unknown): boolean {
  const code = (error as { readonly code?: unknown } | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/**
 * DATABASE_FULL where a file system has no room for another file, for errors that do not say so themselves: SQLite says of a
 * file that it cannot make that it cannot be opened, whatever the reason. A file system may have space and no inodes.
 * @param folder where the file was to be
 */
export function findLackOfRoom(folder: string, cause?: unknown): OnewriterError | undefined {
  const { files, ffree, bavail } = statfsSync(folder);
  // File systems that count no inodes have none and none free.
  if (bavail > 0 && (files === 0 || ffree > 0)) return undefined;
  const reason = bavail === 0 ? 'no space' : 'no inodes';
  const what = bavail === 0 ? 'is full' : 'has no inodes left for another file';
  return new OnewriterError('DATABASE_FULL', `The tenant's file system ${what}.`, { reason }, cause);
}
