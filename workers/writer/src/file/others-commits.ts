import Database from 'better-sqlite3';
import type { Ledger } from '../ledger/ledger.ts';
import { fileChanged } from '../thread/withheld-tenant.ts';
import type { FileWatch } from './file-watch.ts';
import { remakeStaleIndex } from './log-index.ts';
import type { WalCheckpoints } from './wal-checkpoints.ts';

/** What {@link OthersCommits} looks at. */
export interface LookedAt {
  readonly db: Database.Database;
  readonly watch: FileWatch;
  readonly ledger: Ledger;
  readonly checkpoints: WalCheckpoints;
  /** The epoch that this connection writes with. */
  readonly epoch: number;
}

/**
 * Notices commits of other programs in a file that only Onewriter may write. A tenant moves between threads, and an older leader may
 * learn late that it was overtaken: commits under another epoch are not theirs.
 */
export class OthersCommits {
  readonly #at: LookedAt;
  /** The commit_seq of this connection's last commit, or of the last look for others. */
  #seq: number;
  /** The log has pages of own commits that the watch does not know. */
  #lookDue = false;
  #found = false;
  #tablesGone = false;

  constructor(at: LookedAt) {
    this.#at = at;
    this.#seq = at.ledger.commitSeq();
  }

  /** The number of the last commit that this connection knows. */
  get seq(): number {
    return this.#seq;
  }

  /** Another program commits to the file. */
  get found(): boolean {
    return this.#found;
  }

  /** And it removed the tables that number commits. */
  get tablesGone(): boolean {
    return this.#tablesGone;
  }

  /** @throws OnewriterError TENANT_UNAVAILABLE where it was {@link found} */
  assertNone(): void {
    if (this.#found) throw fileChanged('Another process wrote to the file.');
  }

  /** Looks at the log before a transaction, if own commits came since the last look. @throws as {@link lookAtLog} */
  lookAtLogIfDue(): void {
    if (this.#lookDue && !this.#at.db.inTransaction) this.lookAtLog();
  }

  /** @throws OnewriterError TENANT_UNAVAILABLE where the log was written or cut in place: the commits may be lost */
  lookAtLog(): void {
    const { checkpoints, watch } = this.#at;
    checkpoints.look();
    const isWhole = !this.#lookDue || watch.noteCommit(checkpoints.pages);
    this.#lookDue = false;
    if (!isWhole) throw fileChanged('The log of the file changed while it was written.');
  }

  /** This connection has committed. */
  noteOwn(seq: number): void {
    this.#seq = seq;
    this.#at.watch.noteOwnCommit();
    this.#lookDue = true;
  }

  /** Finds out whether another program added pages: then the number of the last commit is as this connection left it. */
  look(): void {
    if (this.#lookDue) this.lookAtLog();
    const { db, watch, ledger, epoch } = this.#at;
    if (!watch.isIndexGone && remakeStaleIndex(db, watch.walPath, watch.index)) {
      watch.noteIndexRemade();
      this.#seq = ledger.commitSeq();
      return;
    }
    const added = watch.othersAdded();
    try {
      const isOurs = ledger.fileEpoch() !== epoch || ledger.commitSeq() !== this.#seq;
      if (added && !isOurs) this.#found = true;
      else this.#seq = ledger.commitSeq();
    } catch (error) {
      if (!isAboutTables(error)) throw error;
      this.#found = this.#tablesGone = true;
    }
  }

  /** Another thread may have had the file meanwhile, and noted the epoch. */
  forget(): void {
    this.#at.watch.forgetOthers();
    this.#seq = this.#at.ledger.commitSeq();
  }
}

/** No such table, or no such column: SQLite has one code for both. */
function isAboutTables(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_ERROR';
}
