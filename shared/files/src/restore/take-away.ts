import { unlinkSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  commitTombstone,
  type DatabaseChange,
  findDatabaseFile,
  finishDatabaseChange,
  flushPath,
  incarnationOf,
  linkDatabase,
  newDatabaseName,
  noteDatabaseChange,
  noteFormerDatabase,
  OnewriterError,
  prepareTombstone,
  settleDatabaseChange,
  tenantFile,
  undoDatabaseChange,
  writeBack,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { opensRetired } from '../open/opens-retired.ts';

/**
 * Takes a tenant's file away that is stored elsewhere. The tenant has to be held, so that no broker has the file open.
 *
 *   no commit can come any more ▸ `confirm` ▸ note ▸ the path leads nowhere ▸ tombstone ▸ the file is removed
 *
 * The path leads to the whole file or nowhere at each moment, also where this process dies: see the protocol's database-change.ts. A
 * write does not make an empty file there, as the tenant is still known.
 *
 * @param confirm reads, and throws where what the file has at this moment is not what is stored elsewhere
 * @returns why processes that have the file open may continue to read it; undefined where they notice
 * @throws OnewriterError TENANT_NOT_FOUND, DATABASE_BUSY (a process writes, or reads an older state), DATABASE_…; what `confirm` throws.
 * The file is in its place then.
 */
export function takeAwayFile(
  place: DataPlace,
  tenant: string,
  confirm: (db: Database.Database) => void,
): Error | undefined {
  const open = opensRetired(place.busyTimeoutMs);
  const path = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  settleDatabaseChange(path, open);
  const file = findDatabaseFile(path)?.path;
  if (file === undefined) {
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file ${path}.`, { tenant });
  }
  const change = planOf(place, file);
  let db: Database.Database | undefined;
  try {
    db = new Database(file, { fileMustExist: true, timeout: place.busyTimeoutMs });
    prepareTombstone(db);
    if (!writeBack(db)) throw busy(tenant);
    // From here on no other process commits, and what is confirmed is what ends.
    db.exec('BEGIN IMMEDIATE');
    confirm(db);
    // The next file must not have the name of this one.
    noteFormerDatabase(place.dataDir, tenant);
    leadNowhere(path, file, change);
    endNow(db);
    db.close();
    return finishDatabaseChange(path, change, open);
  } catch (error) {
    throw toFileError(error, `Cannot take the file of tenant ${tenant} away`);
  } finally {
    db?.close();
  }
}

function planOf({ dbFile }: DataPlace, file: string): DatabaseChange {
  const old = basename(file);
  const ended = incarnationOf(dbFile, old) === undefined ? newDatabaseName(dbFile) : old;
  return { old, ended, kept: null, fresh: null };
}

/** @throws Error of the file system; the path leads to the file then */
function leadNowhere(path: string, file: string, change: DatabaseChange): void {
  noteDatabaseChange(path, change);
  try {
    const ended = join(dirname(path), change.ended);
    if (ended !== file) linkDatabase(file, ended);
    unlinkSync(path);
  } catch (error) {
    undoDatabaseChange(path, change);
    throw error;
  }
  flushPath(dirname(path));
}

/** In the transaction in which it was confirmed. The path leads nowhere already: where this fails, the end of the change tries again. */
function endNow(db: Database.Database): void {
  try {
    commitTombstone(db, true);
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error;
  }
}

function busy(tenant: string): OnewriterError {
  return new OnewriterError(
    'DATABASE_BUSY',
    `A process reads an older state of tenant ${tenant}: its file stays in its place until that has ended.`,
    { tenant },
  );
}
