import { accessSync, constants, existsSync, statSync } from 'node:fs';
import {
  type DatabaseFile,
  identifyLog,
  isLogReplaced,
  locateDatabase,
  orDenied,
  SCHEMA_CHECK_SQL,
  tenantFile,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { toReadError } from './read-errors.ts';

/** Where the tenants' files are. */
export interface FileSettings {
  readonly dataDir: string;
  readonly dbFile: string;
  readonly busyTimeoutMs: number;
}

/** A tenant's file that is open for reads. */
export interface OpenFile {
  readonly db: Database.Database;
  /** See the protocol's DatabaseFile. */
  readonly incarnation: string;
  /** What distinguishes it from another file at the tenant's path. */
  readonly identity: string;
  /** Whether another log or index lies beside it than the one that it has open. */
  readonly isLogReplaced: () => boolean;
}

/** A tenant that is replaced all the time is not followed for ever. */
export const MAX_REOPENS = 20;

/**
 * Opens a tenant's file for reads, and reads it: a connection that has read has its log open, too, and so notices when it is replaced
 * (infra/adr/0026-a-name-for-each-incarnation.md). Only in a process that does nothing else: SQLite's wait for a lock and
 * its work block it.
 * @throws OnewriterError INVALID_TENANT, TENANT_NOT_FOUND, TENANT_UNAVAILABLE, DATABASE_…
 */
export function openTenantFile(files: FileSettings, tenant: string): OpenFile {
  try {
    for (let reopens = 0; ; reopens++) {
      const file = locateDatabase(files.dataDir, tenant, files.dbFile);
      const opened = openIfCurrent(files, tenant, file);
      if (opened !== undefined) return opened;
      if (reopens >= MAX_REOPENS) throw new Error('The file was replaced each time that it was opened.');
    }
  } catch (error) {
    throw toReadError(error, tenant);
  }
}

/** Undefined where the path leads to another file by now, or to none. */
function openIfCurrent(
  files: FileSettings,
  tenant: string,
  { path, incarnation }: DatabaseFile,
): OpenFile | undefined {
  const identity = identify(path);
  if (identity === undefined) return undefined;
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true, timeout: files.busyTimeoutMs });
    db.pragma('query_only = 1');
    // Sorting and grouping must not write to a disk, nor take more memory than the process has.
    db.pragma('temp_store = MEMORY');
    db.prepare(SCHEMA_CHECK_SQL).get();
    const log = identifyLog(path);
    if (identifyFile(files, tenant) === identity) {
      return { db, incarnation, identity, isLogReplaced: () => isLogReplaced(path, log) };
    }
    db.close();
    return undefined;
  } catch (error) {
    db?.close();
    if (!existsSync(path)) return undefined;
    assertReadable(path);
    throw error;
  }
}

/** SQLite says of a file without rights that it cannot be opened. @throws OnewriterError TENANT_UNAVAILABLE */
function assertReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    throw orDenied(error, path);
  }
}

/** What distinguishes one file from another at the same path; undefined where there is none. */
export function identifyFile(files: FileSettings, tenant: string): string | undefined {
  return identify(tenantFile(files.dataDir, tenant, files.dbFile));
}

function identify(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
