import type { OpenRetired } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** Opens files that come to their end; see the protocol's retire-database.ts. */
export function opensRetired(busyTimeoutMs: number): OpenRetired {
  return (path, { readonly }) =>
    new Database(path, { readonly, fileMustExist: true, timeout: busyTimeoutMs });
}
