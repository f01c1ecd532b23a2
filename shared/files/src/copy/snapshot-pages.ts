import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { endianness } from 'node:os';
import type { LogPosition } from '@onewriter/writer';
import type { Database } from 'better-sqlite3';

/*
 * The pages of a snapshot, read beside SQLite: of the write-ahead log as far as the snapshot goes, else of the file.
 *
 *   checkpoints are not beyond the snapshot   each page is the newest of the log's frames up to the snapshot, or the file's
 *   all of the log was in the file            each page is the file's; the log may be reset
 *
 * Both hold while the transaction that reads the snapshot is open: no checkpoint writes back later commits, and a log is not
 * reset while the snapshot needs one of its frames. Where the end of the snapshot cannot be known, no pages can be read here.
 * Source: https://www.sqlite.org/walformat.html.
 */

/** The index of the log begins with two copies of its header, in the machine's order, and how much was written back. */
const INDEX_HEADER_BYTES = 48;
const INDEX_BYTES = 100;
const IS_INIT = 12;
const MAX_FRAME = 16;
const FRAME_CHECKSUM = 24;
const INDEX_SALT = 32;
const WRITTEN_BACK = 96;
const LOG_HEADER_BYTES = 32;
const LOG_SALT = 16;
const FRAME_HEADER_BYTES = 24;
const FRAME_SALT = 8;
const SALT_BYTES = 8;
const NO_SALT = '0'.repeat(2 * SALT_BYTES);
const NO_LOG: LogPosition = Object.freeze({ salts: '', frame: 0, checksum: '' });
/** The page with this byte holds locks and no data. */
const LOCK_BYTE = 2 ** 30;
/**
 * Bytes of the first page that may differ in a copy: whether it has a log, and counters of changes of content and schema. Source:
 * https://www.sqlite.org/fileformat2.html, section 1.3.
 */
const OWN_BYTES: readonly (readonly [from: number, to: number])[] = [
  [18, 20],
  [24, 28],
  [40, 44],
  [92, 100],
];
const READ_BYTES = 1024 * 1024;
/** If others commit between two looks at the index, the snapshot is taken again. */
const MAX_TRIES = 20;

/** How a copy compares with a snapshot, page by page. */
export interface PageComparison {
  /** SHA-256 of the copy, which was read once. */
  readonly sha256: string;
  /** Undefined: they hold the same. */
  readonly difference: string | undefined;
}

/** What the index of a log says. */
interface IndexState {
  readonly header: Buffer;
  readonly maxFrame: number;
  readonly writtenBack: number;
}

/** The pages of a database as a transaction of `db` sees them; to be closed after `db`. */
export class SnapshotPages {
  readonly #path: string;
  /** Closing a descriptor drops the locks that SQLite has on the file, so it is closed after SQLite has. */
  readonly #opened: number[] = [];
  /** Place in the log of each page that is in it; undefined: not known. */
  #frames: ReadonlyMap<number, number> | undefined;
  #pageSize = 0;
  #sourceFile = -1;
  #logFile = -1;
  #position = NO_LOG;

  /** @param path of the file itself */
  constructor(path: string) {
    this.#path = path;
  }

  /** Begins a transaction, and fixes what it reads. */
  begin(db: Database): void {
    const hasLog = db.pragma('journal_mode', { simple: true }) === 'wal';
    this.#pageSize = db.pragma('page_size', { simple: true }) as number;
    const index = hasLog && endianness() === 'LE' ? this.#tryOpen('-shm') : undefined;
    for (let tries = 1; ; tries++) {
      const before = index === undefined ? undefined : readIndex(index);
      db.exec('BEGIN');
      db.prepare('SELECT count(*) FROM sqlite_schema').get();
      if (!hasLog) this.#frames = new Map();
      if (index === undefined) return;
      const state = readIndex(index);
      if (state !== undefined && before?.header.equals(state.header)) {
        this.#position = positionOf(state);
        this.#frames = this.#findFrames(state);
        return;
      }
      if (tries === MAX_TRIES) return;
      db.exec('ROLLBACK');
    }
  }

  /** Where the snapshot ends in the log; undefined where its pages cannot be read here. */
  get position(): LogPosition | undefined {
    return this.#frames === undefined ? undefined : this.#position;
  }

  /**
   * Reads pages of the snapshot, whose transaction is open. The page of the lock byte is zeros.
   * @param first number of the first page
   * @param into whole pages, none beyond the end of the database
   */
  read(first: number, into: Buffer): void {
    if (this.#frames === undefined) throw new TypeError('The pages of this snapshot cannot be read.');
    if (this.#sourceFile < 0) this.#sourceFile = this.#open('');
    const size = this.#pageSize;
    readAll(this.#sourceFile, into, into.length, (first - 1) * size);
    this.#readFrames(this.#frames, first, into);
  }

  /** Puts those pages of `into` that are in the log in their places. */
  #readFrames(frames: ReadonlyMap<number, number>, first: number, into: Buffer): void {
    const size = this.#pageSize;
    for (let at = 0; at < into.length; at += size) {
      const frame = frames.get(first + at / size);
      if (frame !== undefined) readAll(this.#logFile, into, size, frame, at);
    }
  }

  /**
   * Compares a copy with the snapshot, whose transaction is open. Only a page without data and `OWN_BYTES` may differ.
   * @param copy path of a file of as many pages
   * @returns undefined where the pages cannot be read here
   */
  compare(copy: string): PageComparison | undefined {
    if (this.#frames === undefined) return undefined;
    const source = this.#open('');
    const file = openSync(copy, 'r');
    try {
      return this.#compare(source, file, this.#frames);
    } finally {
      closeSync(file);
    }
  }

  /** To be called when SQLite has closed the database. Idempotent. */
  close(): void {
    for (const file of this.#opened.splice(0)) closeSync(file);
  }

  #compare(source: number, file: number, frames: ReadonlyMap<number, number>): PageComparison {
    const hash = createHash('sha256');
    const size = this.#pageSize;
    const { size: bytes } = fstatSync(file);
    const [theirs, ours] = [Buffer.alloc(READ_BYTES), Buffer.alloc(READ_BYTES)];
    let difference: string | undefined;
    for (let from = 0; from < bytes; from += READ_BYTES) {
      const length = Math.min(READ_BYTES, bytes - from);
      readAll(file, ours, length, from);
      hash.update(ours.subarray(0, length));
      if (difference !== undefined) continue;
      readAll(source, theirs, length, from);
      this.#readFrames(frames, from / size + 1, theirs.subarray(0, length));
      if (from === 0) for (const [start, end] of OWN_BYTES) ours.copy(theirs, start, start, end);
      if (LOCK_BYTE >= from && LOCK_BYTE < from + length) {
        ours.copy(theirs, LOCK_BYTE - from, LOCK_BYTE - from, LOCK_BYTE - from + size);
      }
      if (ours.compare(theirs, 0, length, 0, length) === 0) continue;
      difference = `page ${(from + firstDifference(ours, theirs, size)) / size + 1} is another`;
    }
    return { sha256: hash.digest('hex'), difference };
  }

  /** Place of the newest frame of each page; undefined where the log is not what its index says. */
  #findFrames({ header, maxFrame, writtenBack }: IndexState): ReadonlyMap<number, number> | undefined {
    const frames = new Map<number, number>();
    if (writtenBack === maxFrame) return frames;
    const log = this.#tryOpen('-wal');
    if (log === undefined) return undefined;
    this.#logFile = log;
    const salt = header.subarray(INDEX_SALT, INDEX_SALT + SALT_BYTES);
    const bytes = Buffer.alloc(LOG_HEADER_BYTES);
    readAll(log, bytes, LOG_HEADER_BYTES, 0);
    if (!bytes.subarray(LOG_SALT, LOG_SALT + SALT_BYTES).equals(salt)) return undefined;
    for (let frame = 0; frame < maxFrame; frame++) {
      const place = LOG_HEADER_BYTES + frame * (FRAME_HEADER_BYTES + this.#pageSize);
      readAll(log, bytes, FRAME_HEADER_BYTES, place);
      if (!bytes.subarray(FRAME_SALT, FRAME_SALT + SALT_BYTES).equals(salt)) return undefined;
      frames.set(bytes.readUInt32BE(0), place + FRAME_HEADER_BYTES);
    }
    return frames;
  }

  #open(suffix: string): number {
    const file = openSync(`${this.#path}${suffix}`, 'r');
    this.#opened.push(file);
    return file;
  }

  /** Undefined where there is no such file. */
  #tryOpen(suffix: string): number | undefined {
    try {
      return this.#open(suffix);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }
}

/** Undefined while it is written. */
function readIndex(index: number): IndexState | undefined {
  const bytes = Buffer.alloc(INDEX_BYTES);
  readAll(index, bytes, INDEX_BYTES, 0);
  const header = bytes.subarray(0, INDEX_HEADER_BYTES);
  if (header[IS_INIT] !== 1 || !header.equals(bytes.subarray(INDEX_HEADER_BYTES, 2 * INDEX_HEADER_BYTES)))
    return undefined;
  return { header, maxFrame: header.readUInt32LE(MAX_FRAME), writtenBack: bytes.readUInt32LE(WRITTEN_BACK) };
}

/** In an index that was made for an empty log there are no salts. */
function positionOf({ header, maxFrame }: IndexState): LogPosition {
  const salts = header.toString('hex', INDEX_SALT, INDEX_SALT + SALT_BYTES);
  if (maxFrame === 0) return salts === NO_SALT ? NO_LOG : { salts, frame: 0, checksum: '' };
  // In the log the checksum is in the other order of bytes.
  const checksum = Buffer.from(header.subarray(FRAME_CHECKSUM, FRAME_CHECKSUM + 8))
    .swap32()
    .toString('hex');
  return { salts, frame: maxFrame, checksum };
}

/** Reads `length` bytes; zeros where the file ends before. */
function readAll(file: number, into: Buffer, length: number, from: number, at = 0): void {
  let done = 0;
  while (done < length) {
    const read = readSync(file, into, at + done, length - done, from + done);
    if (read === 0) break;
    done += read;
  }
  into.fill(0, at + done, at + length);
}

/** Place of the first page of two buffers that differs. */
function firstDifference(one: Buffer, other: Buffer, pageSize: number): number {
  let at = 0;
  while (one.compare(other, at, at + pageSize, at, at + pageSize) === 0) at += pageSize;
  return at;
}
