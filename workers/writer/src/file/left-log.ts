import Database from 'better-sqlite3';
import { isSystemError } from '../batch/sqlite-errors.ts';
import type { LogPosition } from '../capture/capture-messages.ts';
import type { LeftCapture } from '../capture/closed-file.ts';
import { isWithheld } from '../thread/withheld-tenant.ts';
import { identify } from './file-mark.ts';
import type { SmallLog, TenantDatabase } from './tenant-database.ts';

/**
 * A log that may lie beside a file that was closed for another. All of it was flushed before it was answered. It is written back here,
 * or by the next connection that opens the file.
 */
export class LeftLog {
  readonly #dataDir: string;
  readonly #tenant: string;
  readonly #epoch: number;
  readonly #path: string;
  /** File and log, by device and inode. */
  readonly #main: string;
  readonly #wal: string;
  readonly #capture: LeftCapture | undefined;

  /** @param database that is closed */
  constructor({ dataDir, tenant, epoch, watch, capture }: TenantDatabase) {
    this.#dataDir = dataDir;
    this.#tenant = tenant;
    this.#epoch = epoch;
    this.#path = watch.path;
    this.#main = watch.main.identity;
    this.#wal = watch.wal;
    this.#capture = capture?.left;
  }

  /** Up to where the log was sent; undefined where not all of it was. */
  get captured(): LogPosition | undefined {
    return this.#capture?.to;
  }

  /**
   * Writes it back as far as readers allow, if it lies there with the file that it belongs to. The file does not become ours by it:
   * since it was closed it may have been released, replaced, or opened by another leader.
   */
  writeBack(smallLog: SmallLog): void {
    let db: Database.Database | undefined;
    let isSent = false;
    try {
      if (!this.#isInPlace) return;
      db = new Database(this.#path, { fileMustExist: true, timeout: 0 });
      // A connection that has read writes the log back when it is closed, if it is the last.
      const epoch = db
        .prepare<[], number>('SELECT epoch FROM sqlite_onewriter_state WHERE id = 1')
        .pluck()
        .get();
      isSent = this.#capture?.isAtEnd(db) ?? false;
      const mayWriteBack = this.#capture === undefined || isSent;
      if (epoch === this.#epoch && smallLog === 'written-back' && mayWriteBack) {
        db.pragma('wal_checkpoint(TRUNCATE)');
      }
    } catch (error) {
      // The folder may be gone meanwhile: then better-sqlite3 throws a TypeError.
      const isOfFile =
        error instanceof Database.SqliteError || error instanceof TypeError || isSystemError(error);
      if (!isOfFile) throw error;
    } finally {
      db?.close();
      if (isSent) this.#capture?.closed();
    }
  }

  get #isInPlace(): boolean {
    return (
      identify(this.#path) === this.#main &&
      identify(`${this.#path}-wal`) === this.#wal &&
      !isWithheld(this.#dataDir, this.#tenant)
    );
  }
}
