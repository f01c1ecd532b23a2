import { statfsSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import { formatBytes } from './format-bytes.ts';

/** What work on files leaves free: tenants write to the same disk. */
export const SPARE_BYTES = 256 * 1024 * 1024;

/** Checks that the disk of a folder has room for a copy. @throws OnewriterError DATABASE_FULL */
export function assertRoom(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free > bytes) return;
  throw new OnewriterError(
    'DATABASE_FULL',
    `The copy needs ${formatBytes(bytes)}, and the disk of ${folder} has ${formatBytes(free)} left.`,
    { bytes, free },
  );
}
