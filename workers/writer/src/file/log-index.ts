import { closeSync, constants, existsSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import type Database from 'better-sqlite3';
import { toIdentity } from './file-mark.ts';
import { findOpenFile } from './file-rescue.ts';
import { readValidLog, withLog } from './log-check.ts';

/**
 * There are two copies of the header. It begins with a version, and ends with a checksum of all before it, in two words of the
 * machine's order. Source: https://www.sqlite.org/walformat.html, section 2.1.
 */
const HEADER_BYTES = 48;
const HEADERS_BYTES = 2 * HEADER_BYTES;
const CHECKSUM_WORD = 10;
/** Error codes for a name without an index file: nothing, a folder, a socket, a link. */
const NO_INDEX: ReadonlySet<string | undefined> = new Set(['ENOENT', 'EISDIR', 'ENXIO', 'ELOOP']);
/** SQLite refuses all versions but its own, 3007000. */
const NO_VERSION = 1;

/**
 * Makes all connections that use another index (-shm) of the same log rebuild it from the log. A process that opens a database
 * whose index was deleted makes a new one, and does not see there what is committed with the old one.
 *
 * @param own the index that this process has open, by device and inode
 */
export function invalidateIndex(shmPath: string, own: string): void {
  let file: number;
  try {
    // As SQLite does: the target of a link is not its index.
    file = openSync(shmPath, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch (error) {
    // The next process that opens the database makes one, or cannot open it.
    if (NO_INDEX.has((error as NodeJS.ErrnoException).code)) return;
    throw error;
  }
  const stats = fstatSync(file);
  // It was moved back just now. Closing it would drop SQLite's locks on it.
  if (toIdentity(stats) === own) return;
  try {
    if (!stats.isFile()) return;
    // SQLite does the same before it rebuilds an index, which it does for a header that is not valid.
    writeSync(file, Buffer.alloc(HEADERS_BYTES), 0, HEADERS_BYTES, 0);
  } finally {
    closeSync(file);
  }
}

/**
 * Retires an index that has lost its name: each connection that has it open fails its next read with SQLITE_CANTOPEN, instead of
 * seeing no further commit. Readers of this project open the database again then.
 *
 * @param path to the index, which this process has open
 * @returns a descriptor, to be closed after SQLite's own: closing it drops SQLite's locks
 */
export function retireIndex(path: string): number {
  const file = openSync(path, 'r+');
  const header = Buffer.alloc(HEADER_BYTES);
  readSync(file, header, 0, HEADER_BYTES, 0);
  const words = new Int32Array(header.buffer, header.byteOffset, HEADER_BYTES / 4);
  words[0] = NO_VERSION;
  let first = 0;
  let second = 0;
  for (let word = 0; word < CHECKSUM_WORD; word += 2) {
    first = (first + words[word]! + second) | 0;
    second = (second + words[word + 1]! + first) | 0;
  }
  words[CHECKSUM_WORD] = first;
  words[CHECKSUM_WORD + 1] = second;
  writeSync(file, Buffer.concat([header, header]), 0, HEADERS_BYTES, 0);
  return file;
}

/** Reads of an index that others change meanwhile. */
const MAX_INDEX_LOOKS = 5;
/** Where the header has the number of the log's last committed page. */
const COMMITTED_PAGES_AT = 16;

/**
 * Makes SQLite rebuild the index of an open database, if it ends at another commit than the log, because
 * an older copy was written over it. The next commit would overwrite those that the index does not have. Reads the whole log;
 * not inside a transaction.
 *
 * @param index by device and inode; open in this process
 * @throws SqliteError SQLITE_BUSY where another process holds the write lock: its commit in progress looks the same
 * @returns whether it was stale
 */
export function remakeStaleIndex(db: Database.Database, walPath: string, index: string): boolean {
  // Without it, the index cannot be found.
  if (!existsSync('/proc/self/fd') || !looksStale(db, walPath)) return false;
  // SQLite rebuilds an index only under the write lock. Readers that find it invalid while another process holds that lock, and
  // is stopped, sleep for it inside SQLite, and with them their process.
  db.exec('BEGIN IMMEDIATE');
  try {
    // By SQLite's own descriptor: closing another of the same file would drop its locks.
    const file = Number(basename(findOpenFile(index)));
    const pages = new Uint32Array(1);
    readSync(file, pages, 0, pages.byteLength, COMMITTED_PAGES_AT);
    if (pages[0] === committedPages(walPath)) return false;
    writeSync(file, Buffer.alloc(HEADERS_BYTES), 0, HEADERS_BYTES, 0);
    return true;
  } finally {
    db.exec('ROLLBACK');
  }
}

/** Without a lock, so that an opening that finds nothing does not wait. A commit of another process may look stale. */
function looksStale(db: Database.Database, walPath: string): boolean {
  const look = db.prepare<[], readonly [number, number, number]>('PRAGMA wal_checkpoint(NOOP)').raw(true);
  let [, pages] = look.get() ?? [0, 0, 0];
  for (let looks = 0; looks < MAX_INDEX_LOOKS; looks++) {
    const committed = committedPages(walPath);
    if (committed === undefined || committed === pages) return false;
    const then = pages;
    [, pages] = look.get() ?? [0, 0, 0];
    if (then === pages) return true;
  }
  return false;
}

/** Pages up to the log's last commit. `undefined`: there is no log, which the next look at the files reports. */
function committedPages(walPath: string): number | undefined {
  try {
    return withLog(walPath, file => readValidLog(file, Number.POSITIVE_INFINITY)).committed;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
