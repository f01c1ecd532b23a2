import {
  assertNotHibernated,
  fileInUse,
  findDatabaseFile,
  isOnewriterError,
  NEWEST_COMMIT_SEQ_SQL,
  OnewriterError,
  ownNames,
  tenantFile,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import type { DataPlace } from '../data-place.ts';
import { explainFile } from './explain-file.ts';
import { toFileError } from './file-error.ts';

/**
 * Opens a tenant's file for reads, on a connection of its own.
 * @throws OnewriterError INVALID_TENANT, TENANT_NOT_FOUND, TENANT_UNAVAILABLE, FILE_IN_USE, DATABASE_…
 */
export function openTenant(place: DataPlace, tenant: string): Database.Database {
  const path = tenantFile(place.dataDir, tenant, place.dbFile);
  const file = findDatabaseFile(path);
  if (file === undefined) {
    assertNotHibernated(place.dataDir, tenant);
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file ${path}.`, { tenant });
  }
  try {
    return openReadOnly(file.path, place.busyTimeoutMs);
  } catch (error) {
    throw isOnewriterError(error, 'DATABASE_BUSY') ? fileInUse(tenant, error) : error;
  }
}

/** Opens any SQLite file for reads. @throws OnewriterError DATABASE_…, TENANT_UNAVAILABLE */
export function openReadOnly(path: string, busyTimeoutMs: number): Database.Database {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true, timeout: busyTimeoutMs });
    db.pragma('query_only = 1');
    // A file that is none, a lock, a folder where the index cannot be made: all show with the first read.
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return db;
  } catch (error) {
    db?.close();
    throw toFileError(error, `Cannot read ${path}`, troubleOf(path));
  }
}

/** Why SQLite cannot read a file, where its first bytes say so. */
function troubleOf(path: string): string | undefined {
  try {
    return explainFile(path).trouble;
  } catch {
    return undefined; // SQLite's own error says that it cannot be read
  }
}

/** What the writer notes in each file. */
export interface FileState {
  readonly format: number;
  readonly epoch: number;
  /** The newest commit. */
  readonly commitSeq: number;
  readonly synchronous: string;
}

/** Undefined for a file that no broker has opened. @throws SqliteError */
export function readState(db: Database.Database): FileState | undefined {
  const names = ownNames(db);
  if (!hasTable(db, names('sqlite_onewriter_state'))) return undefined;
  // A lost ledger is reported by the next query that needs it.
  const hasLedger = hasTable(db, names('sqlite_onewriter_ledger'));
  const commitSeq = hasLedger ? `(${NEWEST_COMMIT_SEQ_SQL})` : 'commit_seq';
  return db
    .prepare<[], FileState>(
      names(
        `SELECT format, epoch, ${commitSeq} AS commitSeq, synchronous FROM sqlite_onewriter_state WHERE id = 1`,
      ),
    )
    .get();
}

/** The layout of the writer's tables; undefined where there is none. @throws SqliteError */
export function readFormat(db: Database.Database): number | undefined {
  const names = ownNames(db);
  if (!hasTable(db, names('sqlite_onewriter_state'))) return undefined;
  return db
    .prepare<[], number>(names('SELECT format FROM sqlite_onewriter_state WHERE id = 1'))
    .pluck()
    .get();
}

export function hasTable(db: Database.Database, name: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== undefined;
}
