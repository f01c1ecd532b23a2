import { OnewriterError } from './onewriter-error.ts';

/** A process that only reads finds a file locked: in WAL mode only one that has the file to itself locks readers out. */
export function fileInUse(tenant: string, cause: unknown): OnewriterError {
  return new OnewriterError(
    'FILE_IN_USE',
    `Another process has the file to itself, as the broker has each file that it opens on a network file system. Pause the tenant, so that the broker closes it, and resume it afterwards: onewriter tenants pause ${tenant}.`,
    { tenant },
    cause,
  );
}
