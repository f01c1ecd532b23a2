import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { DATABASE_COMPANIONS, OnewriterError } from '@onewriter/protocol';
import { nearest } from '../adopt/plan-adoption.ts';
import type { DataPlace } from '../data-place.ts';

/**
 * Checks where a file is to be released to, whatever links lead there: what lies in the data directory could go to the trash with the
 * tenant's folder.
 * @throws OnewriterError INVALID_ARGUMENT
 */
export function assertTarget({ dataDir }: DataPlace, target: string): void {
  const real = realPathOf(target);
  if (isBelow(realpathSync(dataDir), real)) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${target} lies in the data directory. Name a folder outside of it, or leave out --to: then the file stays in its place.`,
    );
  }
  if (!existsSync(target)) assertNoLog(target);
}

/** @throws OnewriterError INVALID_ARGUMENT where SQLite would take what lies there for a part of the file */
export function assertNoLog(target: string): void {
  for (const suffix of DATABASE_COMPANIONS) {
    if (!existsSync(target + suffix)) continue;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${target}${suffix} lies there without its database: SQLite would take it for that of the released file. Move it away.`,
    );
  }
}

/** Whether a path is a folder's, or below it. Both as {@link realpathSync} gives them. */
export function isBelow(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/** Of what may not be there yet. */
function realPathOf(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const folder = dirname(path);
  const there = nearest(folder);
  return join(realpathSync(there), relative(there, folder), basename(path));
}
