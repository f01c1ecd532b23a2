import { OnewriterError } from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';
import { translateError } from '../batch/sqlite-errors.ts';

/** The WAL is written back when it holds this many pages, however few commits made them. Source: SQLite's own default. */
const MAX_PAGES = 1_000;
/**
 * Or when it holds this many pages of so many commits: then the logs that hundreds of tenants overwrite in turn stay small, in
 * memory, too, and a checkpoint costs each commit little. Growing logs cost a fifth of the throughput (`test/bench/README.md`).
 */
const MIN_PAGES = 128;
const MIN_COMMITS = 32;
/** Pages to wait for before trying again, where a reader kept the last checkpoint from finishing. */
const RETRY_PAGES = 250;
/**
 * The log keeps this size, and is cut when it grew beyond: 1,000 pages and one more batch seldom reach it, so busy tenants
 * overwrite theirs. It is also the size at which the broker reports that a log is held.
 */
export const KEPT_LOG_BYTES = 16 * 1024 * 1024;
/**
 * A log of this size is held by overlapping readers, if not by one. Then the writer waits for them, at most this long and this
 * often: other tenants of the thread wait, too.
 */
const PRESSED_BYTES = 64 * 1024 * 1024;
const READERS_WAIT_MS = 20;
const WAIT_EVERY_MS = 1_000;
/** A log of this size may stay for the next connection that opens the file, which reads it in less than a millisecond. */
const SMALL_LOG_BYTES = 256 * 1024;
/** Bytes in front of every page in the WAL. Source: https://www.sqlite.org/fileformat2.html, section 4. */
const FRAME_HEADER_BYTES = 24;

/** A row of `PRAGMA wal_checkpoint`. */
type CheckpointRow = readonly [busy: number, pagesInWal: number, pagesWrittenBack: number];

/**
 * Decides when the WAL is written back to the file. SQLite's automatic checkpoints are off: they would run inside a COMMIT,
 * while callers wait for it. PASSIVE ones run between batches and never wait; TRUNCATE, without waiting either,
 * when the tenant is closed. The file of the WAL is not cut after a checkpoint, because overwriting it is cheaper to flush
 * than growing it, unless it grew beyond {@link KEPT_LOG_BYTES}: behind a reader's snapshot, or by one large write.
 */
export class WalCheckpoints {
  readonly #db: Database.Database;
  readonly #look: Statement<[], CheckpointRow>;
  readonly #passive: Statement<[], CheckpointRow>;
  readonly #frameBytes: number;
  /** Pages in the WAL when the last checkpoint ended; 0 where it restarted since. */
  #pagesThen = 0;
  /** Pages in the WAL at the last look. */
  #pages = 0;
  /** Looks since the last checkpoint. */
  #commits = 0;
  /** The last checkpoint wrote all back. */
  #complete = false;
  /** When the writer last waited for readers; monotonic, ms. */
  #waitedMs = Number.NEGATIVE_INFINITY;
  readonly #busyTimeoutMs: number;

  constructor(db: Database.Database) {
    this.#db = db;
    this.#look = db.prepare<[], CheckpointRow>('PRAGMA wal_checkpoint(NOOP)').raw(true);
    this.#passive = db.prepare<[], CheckpointRow>('PRAGMA wal_checkpoint(PASSIVE)').raw(true);
    // The first commit after a restart of the log cuts the file, if `cut` could not.
    db.pragma(`journal_size_limit = ${KEPT_LOG_BYTES}`);
    this.#busyTimeoutMs = db.pragma('busy_timeout', { simple: true }) as number;
    this.#frameBytes = (db.pragma('page_size', { simple: true }) as number) + FRAME_HEADER_BYTES;
  }

  /** Looks at the WAL after a commit, which costs as much as a small statement. */
  look(): void {
    this.#commits++;
    this.#pages = this.#look.get()![1];
    if (this.#pages < this.#pagesThen) this.#pagesThen = 0;
  }

  /** Pages in the WAL at the last look. */
  get pages(): number {
    return this.#pages;
  }

  /** Bytes of the WAL in use at the last look; after a checkpoint it stays until the next write restarts it. */
  get walBytes(): number {
    return this.#pages * this.#frameBytes;
  }

  /** Whether {@link run} is worth calling, as of the last look. */
  get due(): boolean {
    const pages = this.#pages;
    if (pages < MIN_PAGES || (pages < MAX_PAGES && this.#commits < MIN_COMMITS)) return false;
    return this.#pagesThen === 0 || pages - this.#pagesThen >= RETRY_PAGES;
  }

  /**
   * Writes back the pages that no reader needs in the WAL, which stays whole until then: if the disk is full or another
   * checkpoint runs, it is tried again later. Other errors of SQLite pass through.
   */
  run(): void {
    this.#commits = 0;
    this.#complete = false;
    try {
      const [, pages, writtenBack] = this.#passive.get()!;
      this.#pages = pages;
      this.#pagesThen = pages;
      this.#complete = writtenBack === pages;
    } catch (error) {
      const { code } = translateError(error);
      if (code !== 'DATABASE_FULL' && code !== 'DATABASE_BUSY') throw error;
      this.#pagesThen = this.#pages;
    }
  }

  /** Whether the log need not be cut when the process ends. */
  get isSmall(): boolean {
    return this.walBytes <= SMALL_LOG_BYTES;
  }

  /** Whether the log is over its kept size: {@link run} is worth trying again, also without writes. */
  get isLarge(): boolean {
    return this.walBytes > KEPT_LOG_BYTES;
  }

  /**
   * Cuts a large log after {@link run}. Overlapping readers would keep it for ever, as each begins before the last has ended; so
   * if they kept `run` from writing all back, it waits for them, briefly and seldom.
   * @returns whether it was cut
   */
  cut(): boolean {
    const now = performance.now();
    const mayWait = this.walBytes >= PRESSED_BYTES && now - this.#waitedMs >= WAIT_EVERY_MS;
    if (!this.isLarge || !(this.#complete || mayWait)) return false;
    if (mayWait) this.#waitedMs = now;
    this.#db.pragma(`busy_timeout = ${mayWait ? READERS_WAIT_MS : 0}`);
    try {
      const [row] = this.#db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
      if (row?.busy !== 0) return false;
    } catch (error) {
      const { code } = translateError(error);
      if (code !== 'DATABASE_FULL' && code !== 'DATABASE_BUSY') throw error;
      return false;
    } finally {
      this.#db.pragma(`busy_timeout = ${this.#busyTimeoutMs}`);
    }
    this.#pages = this.#pagesThen = 0;
    return true;
  }

  /**
   * Writes everything back and cuts the WAL if no reader is in the way just now. For a connection about to close: never throws,
   * because pages not written back stay in the WAL, flushed, for the next process that opens the file.
   */
  truncate(): void {
    try {
      this.#db.pragma('busy_timeout = 0');
      this.#db.pragma('wal_checkpoint(TRUNCATE)');
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error;
    }
  }

  /**
   * Writes everything back and flushes it, waiting for readers up to the busy timeout. After a failed flush the
   * pages of the WAL may be in memory only, although they can be read: only this makes them durable.
   * @throws OnewriterError TENANT_UNAVAILABLE where a reader is in the way.
   */
  complete(): void {
    const [row] = this.#db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    if (row?.busy === 0) return;
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      'After an I/O error the WAL must be written back, and a reader keeps it from that.',
      { reason: 'reader holds the WAL after an I/O error' },
    );
  }
}
