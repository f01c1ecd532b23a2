import { OnewriterError } from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';
import { translateError } from './sqlite-errors.ts';

/** The WAL is written back when it holds this many pages. Source: SQLite's own default for automatic checkpoints. */
const CHECKPOINT_PAGES = 1_000;
/** Pages to wait for before trying again, where a reader kept the last checkpoint from finishing. */
const RETRY_PAGES = CHECKPOINT_PAGES / 4;
/** Bytes in front of every page in the WAL. Source: https://www.sqlite.org/fileformat2.html, section 4. */
const FRAME_HEADER_BYTES = 24;

/** A row of `PRAGMA wal_checkpoint`. */
type CheckpointRow = readonly [busy: number, pagesInWal: number, pagesWrittenBack: number];

/**
 * When the WAL is written back to the file. SQLite's automatic checkpoints are off: they would run inside a COMMIT,
 * while callers wait for it. PASSIVE ones run between batches and wait for nobody; TRUNCATE, without waiting either,
 * when the tenant is closed. The file of the WAL is not cut after a checkpoint: overwriting it is cheaper to flush
 * than growing it.
 */
export class WalCheckpoints {
  readonly #db: Database.Database;
  readonly #look: Statement<[], CheckpointRow>;
  readonly #passive: Statement<[], CheckpointRow>;
  readonly #frameBytes: number;
  /** Pages in the WAL when the last checkpoint ended. */
  #pagesThen = 0;
  /** Pages in the WAL when it was last looked at. */
  #pages = 0;

  constructor(db: Database.Database) {
    this.#db = db;
    this.#look = db.prepare<[], CheckpointRow>('PRAGMA wal_checkpoint(NOOP)').raw(true);
    this.#passive = db.prepare<[], CheckpointRow>('PRAGMA wal_checkpoint(PASSIVE)').raw(true);
    this.#frameBytes = (db.pragma('page_size', { simple: true }) as number) + FRAME_HEADER_BYTES;
  }

  /** Looks at the WAL, which costs as much as a small statement. */
  look(): void {
    this.#pages = this.#look.get()![1];
  }

  /** Bytes of the WAL in use at the last look; after a checkpoint it stays until the next write begins it anew. */
  get walBytes(): number {
    return this.#pages * this.#frameBytes;
  }

  /** Whether {@link run} is worth calling, as of the last look. */
  get due(): boolean {
    const pages = this.#pages;
    // Fewer pages than then: the WAL began anew since.
    return pages >= CHECKPOINT_PAGES && (pages < this.#pagesThen || pages - this.#pagesThen >= RETRY_PAGES);
  }

  /**
   * Writes back what no reader needs in the WAL, which stays whole until then: where the disk is full or another
   * checkpoint runs, there is nothing to do but try again later. Other errors of SQLite pass through.
   */
  run(): void {
    try {
      this.#pages = this.#passive.get()![1];
      this.#pagesThen = this.#pages;
    } catch (error) {
      const { code } = translateError(error);
      if (code !== 'DATABASE_FULL' && code !== 'DATABASE_BUSY') throw error;
      this.#pagesThen = this.#pages;
    }
  }

  /**
   * Writes everything back and cuts the WAL if no reader is in the way just now. For a connection about to close:
   * never throws, because what could not be written back stays in the WAL, flushed, for whoever opens the file next.
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
