import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { NEWEST_COMMIT_SEQ_SQL, ownNames, readFileIfThere } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { identify, NO_FILE } from './file-mark.ts';
import type { FileChange, FileWatch } from './file-watch.ts';

/** The saved parts of files that changed under an open connection. */
export interface RescuedFile {
  /** A whole copy of the database, with the number of its newest commit. */
  readonly copy?: { readonly path: string; readonly commitSeq: number } | undefined;
  /** The log as it was found, where it was written in place. */
  readonly foundLog?: string | undefined;
  /** Only the log: the database it belongs to was overwritten. */
  readonly log?: string | undefined;
  /** Where the database and its log are now, together. */
  readonly movedTo?: string | undefined;
}

/**
 * Saves data that only the open connection can still reach, through the descriptors that SQLite has open (/proc/self/fd).
 * Writes only files that are new.
 *
 * @param base path prefix of the new files
 * @param newestSeq the last commit of this connection
 * @throws Error of the file system or SQLite; unfinished files are removed
 */
export function rescueFile(
  db: Database.Database,
  watch: FileWatch,
  change: FileChange,
  base: string,
  newestSeq: number,
): RescuedFile {
  if (change === 'log-overwritten') return rescueFromCutLog(db, watch, base, newestSeq);
  const wal = findOpenFile(watch.wal);
  if (change === 'overwritten') {
    const log = `${base}-wal`;
    copyNew(wal, log);
    return { log };
  }
  const main = findOpenFile(watch.main.identity);
  if (change === 'gone' || change === 'replaced') {
    const at = readlinkSync(main);
    if (identify(at) === watch.main.identity && identify(`${at}-wal`) === watch.wal) return { movedTo: at };
  }
  mkdirSync(dirname(base), { recursive: true });
  try {
    // While this connection reads, no other can restart the log.
    db.exec('BEGIN');
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    // Closing this descriptor drops SQLite's locks on the file. The connection is closed next.
    copyNew(main, base);
    copyNew(wal, `${base}-wal`);
    db.exec('COMMIT');
    return { copy: { path: base, commitSeq: joinCopy(base) } };
  } catch (error) {
    removeDatabase(base);
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/**
 * The same for a log that was written or cut in place. Its remains are joined to the file as the last checkpoint left it. Pages
 * that only this connection's cache has complete it, if the cache has all missing ones.
 */
function rescueFromCutLog(
  db: Database.Database,
  watch: FileWatch,
  base: string,
  newestSeq: number,
): RescuedFile {
  const foundLog = `${base}.changed-wal`;
  mkdirSync(dirname(base), { recursive: true });
  try {
    // While this connection reads, no other can restart the log.
    const { committed, committedBytes, writtenBack } = watch.readLog();
    db.exec('BEGIN');
    beginToRead(db);
    const wal = findOpenFile(watch.wal);
    copyNew(wal, foundLog);
    copyNew(findOpenFile(watch.main.identity), base);
    // Otherwise pages older than those in the file would be applied to it.
    if (committed > 0 && committed >= writtenBack) {
      copyNew(wal, `${base}-wal`);
      truncateSync(`${base}-wal`, committedBytes);
    }
    let commitSeq = joinCopy(base);
    if (commitSeq < newestSeq) {
      // Then pages outside the cache cannot be read, or mistaken for committed ones.
      truncateSync(wal, 0);
      if (writeFromCache(db, `${base}.whole`, newestSeq)) {
        renameSync(`${base}.whole`, base);
        flush(dirname(base));
        commitSeq = newestSeq;
      }
    }
    db.exec('COMMIT');
    return { copy: { path: base, commitSeq }, foundLog };
  } catch (error) {
    removeDatabase(base);
    rmSync(foundLog, { force: true });
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** If reading fails, because a page was only in the log, no other process can read it either. */
function beginToRead(db: Database.Database): void {
  try {
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error;
  }
}

/** Larger databases are not read into memory. */
const MAX_IMAGE_BYTES = 64 * 1024 * 1024;

/**
 * Writes the database as a connection sees it while its log cannot be read, if that is complete.
 * @returns whether it is; if not, no file is left
 */
function writeFromCache(db: Database.Database, path: string, newestSeq: number): boolean {
  const pageSize = db.pragma('page_size', { simple: true }) as number;
  const pages = db.pragma('page_count', { simple: true }) as number;
  if (pages * pageSize > MAX_IMAGE_BYTES) return false;
  try {
    // Reading drops no page from the cache.
    db.pragma(`cache_size = ${pages + 1}`);
    const image = db.serialize();
    const none = Buffer.alloc(pageSize);
    // SQLite leaves a page that cannot be read empty.
    for (let at = 0; at < image.length; at += pageSize) {
      if (none.equals(image.subarray(at, at + pageSize))) return false;
    }
    writeFileSync(path, image, { flag: 'wx' });
    if (joinCopy(path) === newestSeq && isSound(path)) return true;
  } catch (error) {
    // The earlier copy stays as it is.
    if (!(error instanceof Database.SqliteError)) throw error;
  }
  removeDatabase(path);
  return false;
}

function isSound(path: string): boolean {
  const db = new Database(path, { readonly: true });
  try {
    return db.pragma('quick_check', { simple: true }) === 'ok';
  } finally {
    db.close();
  }
}

function removeDatabase(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
}

/**
 * Makes sure that the log is never applied to a file that it does not belong to: neither by the next process that opens that
 * file, nor by the close of this connection, which would write the log back. Call it when all is saved.
 */
export function setLogApart(watch: FileWatch, change: FileChange, base: string): void {
  if (change === 'gone') return; // the next file at the path is checked before it is opened
  const isOurs = identify(watch.walPath) === watch.wal;
  // Database and log were replaced together.
  if (change === 'replaced' && !isOurs) return;
  // From here on, no connection that has it open can write any of it back.
  if (change !== 'replaced' || isOurs) truncateSync(findOpenFile(watch.wal), 0);
  if (change === 'log-replaced') renameSync(watch.walPath, `${base}.other-wal`);
  else rmSync(watch.walPath, { force: true });
  // The index belongs to that log, too.
  rmSync(`${watch.path}-shm`, { force: true });
}

/**
 * Whether several connections of this process have the log open, each with a descriptor to read and write it. (The database's
 * descriptors do not show this: SQLite keeps that of a closed connection for as long as another holds a lock.)
 */
export function isOpenTwice({ wal }: FileWatch): boolean {
  const names = readdirSync(DESCRIPTORS).filter(name => identify(`${DESCRIPTORS}/${name}`) === wal);
  return names.filter(canReadAndWrite).length > 1;
}

/** Source: proc_pid_fdinfo(5); O_ACCMODE of the flags, which are octal. */
function canReadAndWrite(descriptor: string): boolean {
  // Another thread may have closed it meanwhile.
  const facts = readFileIfThere(`/proc/self/fdinfo/${descriptor}`) ?? '';
  const flags = Number.parseInt(/^flags:\s*([0-7]+)/m.exec(facts)?.[1] ?? '0', 8);
  return (flags & (constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR)) === constants.O_RDWR;
}

const DESCRIPTORS = '/proc/self/fd';

/** A path to a file that this process has open, whatever its name is now. @throws Error where there is none, or no /proc */
export function findOpenFile(identity: string): string {
  if (identity === NO_FILE) throw new Error('There is no such file.');
  for (const name of readdirSync(DESCRIPTORS)) {
    if (identify(`${DESCRIPTORS}/${name}`) === identity) return `${DESCRIPTORS}/${name}`;
  }
  throw new Error('The file is not among those that the process has open.');
}

function copyNew(from: string, to: string): void {
  copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  flush(to);
}

/** 0 where even the tables with the number were only in a log that is lost. */
function newestSeqOf(db: Database.Database): number {
  try {
    return db.prepare<[], number>(ownNames(db)(NEWEST_COMMIT_SEQ_SQL)).pluck().get() ?? 0;
  } catch (error) {
    if (error instanceof Database.SqliteError && error.code === 'SQLITE_ERROR') return 0;
    throw error;
  }
}

/** Writes the log of a copy back into it, so that it is one file. @returns its newest commit */
function joinCopy(path: string): number {
  const db = new Database(path, { fileMustExist: true });
  let commitSeq: number;
  try {
    commitSeq = newestSeqOf(db);
    db.pragma('journal_mode = DELETE');
  } finally {
    db.close();
  }
  flush(path);
  flush(dirname(path));
  return commitSeq;
}

function flush(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
