import { mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  findDatabaseFile,
  flushPath,
  forgetKnownDatabase,
  noteFormerDatabase,
  retireDatabase,
  tenantFile,
  tenantsDir,
  trashDir,
} from '@onewriter/protocol';
import type { DataPlace } from '../data-place.ts';
import { opensRetired } from '../open/opens-retired.ts';

/** A folder in the trash. */
export interface Trashed {
  /** Absolute. */
  readonly folder: string;
  /** Why processes that have the file open may continue to read it; undefined where they notice. */
  readonly notRetired: Error | undefined;
}

/**
 * Moves a tenant's folder into the trash, as a deletion does: it can be moved back, and a reader's next read fails and looks again. No
 * process may have the file open for writes.
 */
export function moveToTrash(place: DataPlace, tenant: string, retentionMs: number): Trashed {
  const trash = trashDir(place.dataDir);
  const now = Date.now();
  const folder = join(trash, `${tenant}.${now}.${now + retentionMs}`);
  mkdirSync(trash, { recursive: true });
  // Before the move: the next file must not get a name that this one had, and a file that is gone is no loss.
  noteFormerDatabase(place.dataDir, tenant);
  forgetKnownDatabase(place.dataDir, tenant);
  renameSync(dirname(tenantFile(place.dataDir, tenant, place.dbFile)), folder);
  flushPath(trash);
  flushPath(tenantsDir(place.dataDir));
  return { folder, notRetired: retire(join(folder, place.dbFile), place.busyTimeoutMs) };
}

function retire(path: string, busyTimeoutMs: number): Error | undefined {
  const file = findDatabaseFile(path);
  if (file === undefined) return undefined;
  try {
    retireDatabase(file.path, opensRetired(busyTimeoutMs));
    return undefined;
  } catch (error) {
    // It is gone all the same; the caller says who may not notice.
    return error as Error;
  }
}
