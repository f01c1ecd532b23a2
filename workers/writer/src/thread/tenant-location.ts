import { existsSync, lstatSync, mkdirSync, realpathSync, type Stats } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  assertMayMakeDatabase,
  createDatabaseFile,
  DATABASE_COMPANIONS,
  type DatabaseFile,
  findDatabaseFile,
  flushPath,
  forgetOldHibernated,
  hadDatabase,
  OnewriterError,
  settleDatabaseChange,
  tenantFile,
  tenantsDir,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { WriterOptions } from './lane-task.ts';

/** Where a tenant's file is. */
export interface TenantLocation {
  /** Absolute path to the file; may be a link. */
  readonly path: string;
  /** The file itself; undefined where there is none, and SQLite may create it at the path. */
  readonly file: DatabaseFile | undefined;
}

/**
 * Finds a tenant's file, and makes its folder if allowed. The path is `<dataDir>/tenants/<tenant>/<file>` and nothing else:
 * the folder may not be a symbolic link, and the file may only be a link to a file beside it, as a link could lead to another
 * tenant's. If the tenant had a file before, the new one is made here, with a name of its own. A change of files that was
 * cut off is settled first.
 *
 * @throws OnewriterError INVALID_TENANT; TENANT_NOT_FOUND where there is no file and none may be made;
 * TENANT_UNAVAILABLE for a link or anything that is not a file, and if a known file is gone. Errors of the file system pass through.
 */
export function locateTenant(
  options: Pick<WriterOptions, 'dataDir' | 'dbFile' | 'createTenants' | 'busyTimeoutMs'>,
  tenant: string,
): TenantLocation {
  const path = resolve(tenantFile(options.dataDir, tenant, options.dbFile));
  const folder = dirname(path);
  const tenants = resolve(tenantsDir(options.dataDir));
  if (!existsSync(folder)) {
    assertMayMakeDatabase(options.dataDir, tenant, path);
    if (!options.createTenants) throw notFound(tenant);
    makeFolder(tenants, folder);
  }
  // Native: one call, where the other checks each part of the path.
  if (realpathSync.native(folder) !== join(realpathSync.native(tenants), tenant))
    throw unavailable('folder is a link');
  // Before the first commit to a new file those who have the old one open must notice.
  settleDatabaseChange(
    path,
    (name, { readonly }) =>
      new Database(name, { readonly, fileMustExist: true, timeout: options.busyTimeoutMs }),
  );
  const file = findDatabaseFile(path);
  if (file !== undefined) {
    forgetOldHibernated(options.dataDir, tenant);
    return { path, file };
  }
  assertMayMakeDatabase(options.dataDir, tenant, path);
  if (!options.createTenants) throw notFound(tenant);
  if (!hadDatabase(options.dataDir, tenant)) return { path, file: undefined };
  // If another process has made one meanwhile, that one counts.
  createDatabaseFile(path, true);
  return { path, file: findDatabaseFile(path) };
}

/**
 * Checks that the log of a database and its index are files where they exist. For anything else SQLite reports that it cannot
 * open the database, or that it is read-only.
 * @param path of the database itself
 * @throws OnewriterError TENANT_UNAVAILABLE
 */
export function assertCompanions(path: string): void {
  for (const suffix of DATABASE_COMPANIONS) {
    const stats = lstatSync(path + suffix, { throwIfNoEntry: false });
    if (stats === undefined || stats.isFile()) continue;
    const reason = `${describeKind(stats)} in the place of ${basename(path)}${suffix}`;
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `${path}${suffix} is ${describeKind(stats)}, and SQLite needs a file there or nothing: move it away. Where a log (-wal) was there before, put it back: commits may be in it.`,
      { reason },
    );
  }
}

function describeKind(stats: Stats): string {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isSymbolicLink()) return 'a symbolic link';
  if (stats.isSocket()) return 'a socket';
  if (stats.isFIFO()) return 'a named pipe';
  return 'a device';
}

/**
 * SQLite flushes the folder that holds its files, not the folders above: without this a power cut could lose a new
 * tenant's folder with acknowledged writes in it.
 */
function makeFolder(tenants: string, folder: string): void {
  const first = mkdirSync(tenants, { recursive: true });
  mkdirSync(folder, { recursive: true });
  flushPath(tenants);
  if (first !== undefined) flushPath(dirname(first));
}

function notFound(tenant: string): OnewriterError {
  return new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no database file.`, { tenant });
}

function unavailable(reason: string): OnewriterError {
  return new OnewriterError('TENANT_UNAVAILABLE', `The tenant's path is refused: ${reason}.`, { reason });
}
