import { closeSync, existsSync, fsyncSync, lstatSync, mkdirSync, openSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { OnewriterError, tenantFile, tenantsDir } from '@onewriter/protocol';
import type { WriterOptions } from './lane-task.ts';

/**
 * Finds the path of a tenant's file, and makes its folder if it may. The path is `<dataDir>/tenants/<tenant>/<file>`
 * and nothing else: neither the folder nor the file may be a symbolic link, which could lead to another tenant's.
 *
 * @returns an absolute path; whether there is a file is told by `exists`.
 * @throws OnewriterError INVALID_TENANT; TENANT_NOT_FOUND where there is no file and none may be made;
 * TENANT_UNAVAILABLE for a link or a thing that is not a file. Errors of the file system pass through.
 */
export function locateTenant(
  options: Pick<WriterOptions, 'dataDir' | 'dbFile' | 'createTenants'>,
  tenant: string,
): { readonly path: string; readonly exists: boolean } {
  const path = resolve(tenantFile(options.dataDir, tenant, options.dbFile));
  const folder = dirname(path);
  const tenants = resolve(tenantsDir(options.dataDir));
  if (!existsSync(folder)) {
    if (!options.createTenants) throw notFound(tenant);
    makeFolder(tenants, folder);
  }
  if (realpathSync(folder) !== join(realpathSync(tenants), tenant)) throw unavailable('folder is a link');
  const file = lstatSync(path, { throwIfNoEntry: false });
  if (file === undefined && !options.createTenants) throw notFound(tenant);
  if (file?.isFile() === false) throw unavailable('not a regular file');
  return { path, exists: file !== undefined };
}

/**
 * SQLite flushes the folder that holds its files, not the folders above: without this a power cut could lose a new
 * tenant's folder with acknowledged writes in it.
 */
function makeFolder(tenants: string, folder: string): void {
  const first = mkdirSync(tenants, { recursive: true });
  mkdirSync(folder, { recursive: true });
  flushFolder(tenants);
  if (first !== undefined) flushFolder(dirname(first));
}

function flushFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function notFound(tenant: string): OnewriterError {
  return new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no database file.`, { tenant });
}

function unavailable(reason: string): OnewriterError {
  return new OnewriterError('TENANT_UNAVAILABLE', `The tenant's path is refused: ${reason}.`, { reason });
}
