import { realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { OnewriterError, tenantFile, tenantsDir } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { toReadError } from './read-errors.ts';

/** Where the tenants' files are. */
export interface TenantFiles {
  readonly dataDir: string;
  readonly dbFile: string;
  readonly busyTimeoutMs: number;
}

/**
 * Opens a tenant's file for reads. Only in a process that does nothing else: SQLite's wait for a lock and its work
 * block it.
 * @throws OnewriterError INVALID_TENANT, TENANT_NOT_FOUND, TENANT_UNAVAILABLE, DATABASE_…
 */
export function openTenantFile(files: TenantFiles, tenant: string): Database.Database {
  try {
    const path = locate(files, tenant);
    const db = new Database(path, { readonly: true, fileMustExist: true, timeout: files.busyTimeoutMs });
    try {
      db.pragma('query_only = 1');
      // Sorting and grouping must not write to a disk, nor take more memory than the process has.
      db.pragma('temp_store = MEMORY');
    } catch (error) {
      db.close();
      throw error;
    }
    return db;
  } catch (error) {
    throw isMissing(error) ? notFound(tenant) : toReadError(error, tenant);
  }
}

/** What tells one file from another at the same path; undefined where there is none. */
export function identifyFile(files: TenantFiles, tenant: string): string | undefined {
  try {
    const { dev, ino } = statSync(tenantFile(files.dataDir, tenant, files.dbFile));
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** The path of the tenant's file, which is really there: a link could lead to another tenant's. */
function locate({ dataDir, dbFile }: TenantFiles, tenant: string): string {
  const file = tenantFile(dataDir, tenant, dbFile);
  const expected = join(realpathSync(tenantsDir(dataDir)), tenant, dbFile);
  if (realpathSync(file) === expected) return expected;
  throw new OnewriterError('TENANT_UNAVAILABLE', "The tenant's folder or file is a symbolic link.", {
    tenant,
    reason: 'symbolic link',
  });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function notFound(tenant: string): OnewriterError {
  return new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
}
