import { closeSync, realpathSync } from 'node:fs';
import { isOnewriterError, isOutOfDescriptors, OnewriterError, trashDir } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { isSystemError } from '../batch/sqlite-errors.ts';
import type { LogCapture } from '../capture/log-capture.ts';
import { FILE_CHANGED, fileChanged, isWithheld, withhold } from '../thread/withheld-tenant.ts';
import {
  describeChange,
  describeOthersWrote,
  describeUnnoted,
  describeUnsaved,
  describeUnseen,
} from './file-finding.ts';
import { findOpenFile, isOpenTwice, rescueFile, setLogApart } from './file-rescue.ts';
import type { FileChange, FileWatch } from './file-watch.ts';
import { invalidateIndex, retireIndex } from './log-index.ts';
import type { OthersCommits } from './others-commits.ts';

/** A connection, and what it knows of its files. */
export interface WatchedFile {
  readonly tenant: string;
  readonly dataDir: string;
  /** Path to the open file; it may be a link. */
  readonly path: string;
  readonly db: Database.Database;
  readonly watch: FileWatch;
  readonly others: OthersCommits;
  readonly exclusive: boolean;
  readonly capture: LogCapture | undefined;
  rollback(): void;
}

/**
 * Ends the connection to files that changed: saves the data that only it can still reach, has the tenant withheld, and closes
 * without writing back. If that fails the connection stays open; call this again.
 * @param mayBeTheirs this process may have been overtaken: files that lie whole elsewhere may come from another broker's restore or deletion
 * @param closing it is to be closed anyway
 * @returns the finding; undefined where there is none
 */
export function secureFile(
  file: WatchedFile,
  mayBeTheirs: boolean,
  closing: boolean,
): OnewriterError | undefined {
  file.rollback();
  let change: FileChange | undefined;
  try {
    change = file.db.open ? file.watch.look() : undefined;
    if (change === undefined) {
      const finding = secureOthers(file, closing);
      if (finding === undefined) renewIndex(file);
      return finding;
    }
  } catch (error) {
    if (!isSystemError(error)) throw error;
    // A close might write the log back to another file.
    return unavailable(describeUnseen(file.path, error.code ?? error.message), error);
  }
  try {
    // The tenant went to another thread, which owns this log: it looks too, or has found the change already. A connection that
    // is not the last of its process writes nothing back when it is closed.
    if (closing && isLeftToOther(file)) {
      file.db.close();
      return undefined;
    }
    return secureChange(file, change, mayBeTheirs);
  } catch (error) {
    return unavailable(describeUnsaved(change, describeCause(error)), error);
  }
}

/**
 * Closes the connection if the index of its log was replaced: processes that opened the database since do not see its commits.
 * All of them are in the log. Each process that has the database open, and the next to open it, rebuilds the index from it.
 * @returns whether it is closed; not if another thread still has the old index open
 */
export function renewIndex(file: WatchedFile): boolean {
  const { db, watch } = file;
  if (!db.open || !watch.isIndexGone) return false;
  // It went with the file, and a new open would create an empty file. The next look at the files reports it.
  if (watch.look() !== undefined) return false;
  // Before the close: the last connection to close a database writes back what its index has, and deletes the log.
  invalidateIndex(watch.indexPath, watch.index);
  if (isOpenTwice(watch)) return false;
  file.rollback();
  // What is not sent now the next connection reads in the log, without the numbers of the commits.
  file.capture?.send();
  let retired: number;
  try {
    retired = retireIndex(findOpenFile(watch.index));
  } catch (error) {
    if (isOutOfDescriptors(error)) return false; // the next batch tries it again
    throw error;
  }
  // With an index that SQLite refuses, the close writes nothing back.
  db.close();
  closeSync(retired);
  return true;
}

/** Files in place to which another program commits. There is nothing to save. */
function secureOthers(file: WatchedFile, closing: boolean): OnewriterError | undefined {
  const { tenant, dataDir, path: entry, db, watch, others } = file;
  // A batch fails, too, if the tables of the ledger are gone.
  lookForOthersAtClose(file);
  if (!others.found || !db.open) return undefined;
  if (closing && isLeftToOther(file)) return undefined;
  const message = describeOthersWrote(tenant, entry, others.tablesGone);
  try {
    withhold(dataDir, tenant, { message, entry, path: watch.path, since: new Date().toISOString() });
  } catch (error) {
    return unavailable(describeUnnoted(message, describeCause(error)), error);
  }
  db.close();
  return fileChanged(message);
}

function lookForOthersAtClose({ exclusive, db, watch, others }: WatchedFile): void {
  if (exclusive || !db.open) return;
  try {
    if (watch.isVersionNew) others.look();
  } catch (error) {
    // It is closed because it fails, or another process has the lock: the next connection starts with a fresh look.
    if (!(error instanceof Database.SqliteError) && !isOnewriterError(error)) throw error;
  }
}

function secureChange(
  file: WatchedFile,
  change: FileChange,
  mayBeTheirs: boolean,
): OnewriterError | undefined {
  const { tenant, dataDir, path: entry, db, watch, others } = file;
  const since = new Date().toISOString();
  const base = `${entry}.rescued-${since.replaceAll(':', '')}`;
  const rescued = rescueFile(db, watch, change, base, others.seq);
  if (mayBeTheirs && isMovedByBroker(dataDir, change, rescued.movedTo)) {
    // SQLite itself checks whether the file has moved, and then writes nothing back.
    db.close();
    return undefined;
  }
  const message = describeChange(tenant, entry, change, rescued, others.seq);
  const { main, wal, path } = watch;
  const back = change === 'gone' || rescued.movedTo !== undefined ? { main, wal } : undefined;
  withhold(dataDir, tenant, { message, entry, path, since, back });
  setLogApart(watch, change, base);
  db.close();
  return fileChanged(message);
}

/** A restore replaces a file that it moves away, and a deletion moves the folder into the trash. */
function isMovedByBroker(dataDir: string, change: FileChange, movedTo: string | undefined): boolean {
  if (movedTo === undefined || change !== 'gone') return movedTo !== undefined;
  return movedTo.startsWith(`${trashDir(realpathSync(dataDir))}/`);
}

/** Another thread has the file open, or the tenant is withheld already. */
function isLeftToOther({ watch, dataDir, tenant }: WatchedFile): boolean {
  return isOpenTwice(watch) || isWithheld(dataDir, tenant);
}

function describeCause(error: unknown): string {
  return (error as { code?: string }).code ?? (error as Error).message;
}

function unavailable(message: string, cause: unknown): OnewriterError {
  return new OnewriterError('TENANT_UNAVAILABLE', message, { reason: FILE_CHANGED }, cause);
}
