import { TenantCatalogue, TenantFolders } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import type { Target } from '../target.ts';

/** The tenants' folders of a target. */
export function foldersOf({ dataDir, dbFile }: Target): TenantFolders {
  return new TenantFolders(dataDir, dbFile);
}

/** All tenants of a target. */
export function catalogueOf(target: Target, redis: Redis): TenantCatalogue {
  return new TenantCatalogue(redis, target.group, foldersOf(target));
}

/** Names of all tenants that have a database file, sorted. @throws Error of the file system */
export function listTenantFiles(target: Target): Promise<string[]> {
  return foldersOf(target).withFiles();
}
