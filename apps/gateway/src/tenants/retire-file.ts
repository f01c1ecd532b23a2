import { retireDatabase } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { RetireFile } from './tenant-files.ts';

/** {@link RetireFile} with a line in the log where it could not be done. */
export function createRetireFile(
  busyTimeoutMs: number,
  log: { warn(fields: object, message: string): void },
): RetireFile {
  return (tenant, path) => {
    try {
      retireDatabase(
        path,
        (file, { readonly }) => new Database(file, { readonly, fileMustExist: true, timeout: busyTimeoutMs }),
      );
    } catch (error) {
      // The file is deleted anyway; a damaged one, for example, cannot take the commit.
      log.warn({ err: error, tenant, path }, 'Processes that have the deleted file open cannot be notified');
    }
  };
}
