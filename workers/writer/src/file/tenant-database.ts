import { closeSync, realpathSync } from 'node:fs';
import {
  type DatabaseFile,
  isOnewriterError,
  isOutOfDescriptors,
  noteKnownDatabase,
  OnewriterError,
  trashDir,
} from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';
import { takeEpoch } from '../batch/internal-tables.ts';
import { SchemaTraits } from '../batch/schema-traits.ts';
import { explainOpenError, isSystemError, translateError } from '../batch/sqlite-errors.ts';
import { StatementCache } from '../batch/statement-cache.ts';
import { StatementRunner } from '../batch/statement-runner.ts';
import { IdempotencyKeys } from '../ledger/idempotency-keys.ts';
import { Ledger, type NumberedCommit } from '../ledger/ledger.ts';
import type { OpenTransaction } from '../steps/open-transaction.ts';
import { compileStepControl, type StepControl } from '../steps/step-control.ts';
import type { WalFile, WriterOptions } from '../thread/lane-task.ts';
import { assertCompanions, locateTenant } from '../thread/tenant-location.ts';
import {
  assertNotWithheld,
  FILE_CHANGED,
  fileChanged,
  isWithheld,
  withhold,
} from '../thread/withheld-tenant.ts';
import {
  describeChange,
  describeOthersWrote,
  describeUnnoted,
  describeUnsaved,
  describeUnseen,
} from './file-finding.ts';
import { findOpenFile, isOpenTwice, rescueFile, setLogApart } from './file-rescue.ts';
import { type FileChange, FileWatch, identify } from './file-watch.ts';
import { invalidateIndex, isIndexOfAnotherTime, remakeIndex, retireIndex } from './log-index.ts';
import { WalCheckpoints } from './wal-checkpoints.ts';
import { WalSpace } from './wal-space.ts';

/** Page cache of one connection. Source: SQLite's own default; better-sqlite3's is 16 MB, times every open tenant. */
const CACHE_KIB = 2_000;

/** Looks for what others did, before one transaction. */
const MAX_LOOKS = 5;

const CONNECTION_PRAGMAS = `
  PRAGMA synchronous = FULL;
  PRAGMA foreign_keys = ON;
  PRAGMA wal_autocheckpoint = 0;
  PRAGMA cache_size = -${CACHE_KIB};
`;

/** What opening a tenant needs of the {@link WriterOptions}, and why it is opened. */
export interface OpenTenantOptions
  extends Pick<
    WriterOptions,
    'dataDir' | 'dbFile' | 'createTenants' | 'busyTimeoutMs' | 'exclusive' | 'retentionClock'
  > {
  /** The leader's epoch. */
  readonly epoch: number;
  /** Set after an I/O error: everything in the WAL is first written to the file and flushed, or opening fails. */
  readonly afterIoError?: boolean | undefined;
}

/**
 * The one connection that writes to a tenant's file: WAL, `synchronous=FULL`, foreign keys on, our tables made, our
 * epoch stored. It watches which files it opened, because a file that was deleted or replaced under SQLite would swallow
 * writes without an error.
 */
export class TenantDatabase {
  readonly tenant: string;
  /** It leads to the file that is open, or is the file. */
  readonly path: string;
  /** See the protocol's DatabaseFile. */
  readonly incarnation: string;
  readonly db: Database.Database;
  readonly statements: StatementCache;
  readonly schema: SchemaTraits;
  readonly runner: StatementRunner;
  readonly ledger: Ledger;
  readonly keys: IdempotencyKeys;
  readonly checkpoints: WalCheckpoints;
  readonly walSpace: WalSpace;
  readonly watch: FileWatch;
  /** Transaction control inside a transaction, compiled once. */
  readonly control: Readonly<Record<'savepoint' | 'release' | 'rollbackTo', Statement<[]>>>;
  /** The transaction that waits for the next steps of its client. */
  transaction: OpenTransaction | undefined;
  /** Steps set a PRAGMA of the connection; it is set back when no transaction is open. */
  sessionChanged = false;
  #stepControl: StepControl | undefined;
  readonly #begin: Statement<[]>;
  readonly #commit: Statement<[]>;
  readonly #exclusive: boolean;
  readonly #dataDir: string;
  readonly #wal: WalFile;
  #epoch: number;
  #flushesAtCommit = true;
  /** The commit_seq of this connection's last commit, or what it was when others were last looked for. */
  #seq: number;
  /** Pages of own commits are in the log that the watch does not know. */
  #lookDue = false;
  /** Somebody else commits to the file. */
  #othersWrote = false;
  /** And removed what commits are numbered with. */
  #tablesGone = false;
  /** Whether something may be in the WAL that was committed and not flushed. */
  #unflushed = true;

  /**
   * Opens a tenant's file, and makes it if it may.
   *
   * @throws OnewriterError TENANT_NOT_FOUND, TENANT_UNAVAILABLE, FENCED, DATABASE_BUSY and the other DATABASE codes.
   * Nothing stays open then.
   */
  static open(tenant: string, options: OpenTenantOptions): TenantDatabase {
    try {
      // Before a folder is made.
      assertNotWithheld(options.dataDir, tenant);
      const { path, file } = locateTenant(options, tenant);
      const place = file ?? { path, incarnation: '' };
      assertCompanions(place.path);
      try {
        const db = new Database(place.path, {
          timeout: options.busyTimeoutMs,
          fileMustExist: file !== undefined,
        });
        try {
          const database = new TenantDatabase(tenant, path, place, db, options);
          // Before the first commit of a caller.
          noteKnownDatabase(options.dataDir, tenant);
          return database;
        } catch (error) {
          // Before its close removes files again.
          const explained = explainOpenError(error, path);
          db.close();
          throw explained;
        }
      } catch (error) {
        throw explainOpenError(error, path);
      }
    } catch (error) {
      throw translateError(error);
    }
  }

  private constructor(
    tenant: string,
    path: string,
    place: DatabaseFile,
    db: Database.Database,
    options: OpenTenantOptions,
  ) {
    this.tenant = tenant;
    this.path = path;
    this.incarnation = place.incarnation;
    this.db = db;
    // Before the first access to the WAL, or SQLite makes the shared-memory file all the same.
    if (options.exclusive) db.pragma('locking_mode = EXCLUSIVE');
    const mode = db.pragma('journal_mode = WAL', { simple: true });
    if (mode !== 'wal') {
      throw new OnewriterError('TENANT_UNAVAILABLE', 'The file cannot be put into WAL mode.', {
        reason: `journal mode ${String(mode)}`,
      });
    }
    // SQLite opens the log and its index with the first access to the log, if it has not yet.
    db.pragma('data_version');
    const index = identify(`${place.path}-shm`);
    if (!options.exclusive && isIndexOfAnotherTime(db, `${place.path}-wal`)) remakeIndex(index);
    db.exec(CONNECTION_PRAGMAS);
    this.checkpoints = new WalCheckpoints(db);
    if (options.afterIoError) this.checkpoints.complete();
    // A commit, which flushes whatever a predecessor left in the WAL.
    if (takeEpoch(db, options.epoch)) this.#unflushed = false;
    this.#epoch = options.epoch;
    this.statements = new StatementCache(db);
    this.schema = new SchemaTraits(db);
    this.runner = new StatementRunner(db, this.schema);
    this.ledger = new Ledger(db, options.retentionClock);
    this.keys = new IdempotencyKeys(db);
    this.control = {
      savepoint: db.prepare('SAVEPOINT write'),
      release: db.prepare('RELEASE write'),
      rollbackTo: db.prepare('ROLLBACK TO write'),
    };
    this.#begin = db.prepare('BEGIN IMMEDIATE');
    this.#commit = db.prepare('COMMIT');
    this.#dataDir = options.dataDir;
    this.#exclusive = options.exclusive;
    this.watch = new FileWatch(db, path, place.path, index, options.exclusive);
    this.#seq = this.ledger.commitSeq();
    this.#wal = { path: this.watch.walPath, identity: this.watch.wal };
    this.walSpace = new WalSpace(this.#wal.path);
  }

  /** Transaction control of steps. */
  get stepControl(): StepControl {
    this.#stepControl ??= compileStepControl(this.db);
    return this.#stepControl;
  }

  /** The epoch this connection writes with. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Goes on under a newer epoch of the same broker. @throws OnewriterError FENCED, DATABASE_BUSY … */
  takeEpoch(epoch: number): void {
    if (epoch === this.#epoch) return;
    // A transaction that was begun under another epoch is not committed under this one.
    this.rollback();
    try {
      takeEpoch(this.db, epoch);
    } catch (error) {
      throw translateError(error);
    }
    this.#epoch = epoch;
    // Another thread may have had the file meanwhile, and noted the epoch.
    this.#forgetOthers();
  }

  /**
   * Whether COMMIT flushes the WAL (`synchronous=FULL`) or leaves that to the caller (`NORMAL`, under which SQLite flushes
   * only where it needs the order: before a checkpoint writes to the file, and when the WAL begins anew).
   */
  flushAtCommit(flushes: boolean): void {
    // It cannot be changed inside a transaction, which ends as it began.
    if (flushes === this.#flushesAtCommit || this.transaction !== undefined) return;
    this.db.pragma(flushes ? 'synchronous = FULL' : 'synchronous = NORMAL');
    this.#flushesAtCommit = flushes;
  }

  /**
   * BEGIN IMMEDIATE, the only way to: a transaction of a caller's begins where the last one ended. What another program
   * committed in between is noticed before anything is added to it.
   * @throws OnewriterError TENANT_UNAVAILABLE; SQLite's own errors
   */
  begin(): void {
    if (this.#lookDue && !this.db.inTransaction) this.lookAtLog();
    for (let look = 0; ; look++) {
      if (this.#othersWrote) throw fileChanged('Another process wrote to the file.');
      this.#begin.run();
      // Who cuts the log again and again keeps nobody from writing.
      if (this.#exclusive || !this.watch.isVersionNew || look === MAX_LOOKS) return;
      // Inside a transaction a connection cannot look at its log. What comes before the next one is looked for again.
      this.db.exec('ROLLBACK');
      this.#lookForOthers();
    }
  }

  /**
   * COMMITs, the only way to.
   * @param commit its number; undefined where nothing of a caller's was written
   */
  commit(commit: NumberedCommit | undefined): void {
    if (commit !== undefined) this.ledger.seal(commit);
    this.#commit.run();
    this.schema.committed();
    if (commit === undefined) return;
    this.#seq = commit.seq;
    this.watch.noteOwnCommit();
    this.#lookDue = true;
  }

  /**
   * Looks at the log, after commits: once for all of a batch. Not inside a transaction.
   * @throws OnewriterError TENANT_UNAVAILABLE where it was written or cut in place: the commits may be lost
   */
  lookAtLog(): void {
    this.checkpoints.look();
    const isWhole = !this.#lookDue || this.watch.noteCommit(this.checkpoints.pages);
    this.#lookDue = false;
    if (!isWhole) throw fileChanged('The log of the file changed while it was written.');
  }

  /**
   * Cuts a large log after a checkpoint, but not one to which others added: what they added could not be seen afterwards.
   * @returns whether it was cut
   */
  cutLog(): boolean {
    if (!this.#exclusive && this.watch.isVersionNew) this.#lookForOthers();
    if (this.#othersWrote || !this.checkpoints.cut()) return false;
    this.watch.noteCut();
    this.walSpace.noteCut();
    return true;
  }

  /**
   * Whether pages were added that no connection of ours added: the number of the last commit is as this one left it. (A tenant
   * moves between threads, and an older leader may hear late that it is one.)
   */
  #lookForOthers(): void {
    if (this.#lookDue) this.lookAtLog();
    if (!this.watch.isIndexGone && isIndexOfAnotherTime(this.db, this.watch.walPath)) {
      remakeIndex(this.watch.index);
      this.watch.noteIndexRemade();
      this.#seq = this.ledger.commitSeq();
      return;
    }
    const added = this.watch.othersAdded();
    try {
      const isOurs = this.ledger.fileEpoch() !== this.#epoch || this.ledger.commitSeq() !== this.#seq;
      if (added && !isOurs) this.#othersWrote = true;
      else this.#seq = this.ledger.commitSeq();
    } catch (error) {
      if (!isAboutTables(error)) throw error;
      this.#othersWrote = this.#tablesGone = true;
    }
  }

  #forgetOthers(): void {
    this.watch.forgetOthers();
    this.#seq = this.ledger.commitSeq();
  }

  /** A COMMIT was done. A flush is of the whole file: it covers what earlier commits left. */
  committed(): void {
    this.#unflushed = !this.#flushesAtCommit;
  }

  /** The WAL, where it may hold commits that are not flushed; undefined where all are. */
  get unflushed(): WalFile | undefined {
    return this.#unflushed ? this.#wal : undefined;
  }

  /** Checks that the files are those that SQLite has open. @throws OnewriterError TENANT_UNAVAILABLE */
  assertInPlace(): void {
    if (this.watch.look() !== undefined) throw fileChanged('The file changed while it was open.');
  }

  /**
   * Ends the connection to files that changed: saves what only it can still reach, has the tenant opened no more, and closes
   * without writing anything back. Where that fails the connection stays open, and this is to be called again.
   * @param mayBeTheirs this process may have been overtaken: files that lie whole elsewhere may have been put there by another's restore or deletion
   * @param closing it is to be closed anyway
   * @returns the finding; undefined where there is none
   */
  secure(mayBeTheirs: boolean, closing = false): OnewriterError | undefined {
    this.rollback();
    let change: FileChange | undefined;
    try {
      change = this.db.open ? this.watch.look() : undefined;
      if (change === undefined) {
        const finding = this.#secureOthers(closing);
        if (finding === undefined) this.renewIndex();
        return finding;
      }
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // A close might write the log back to a file that is another.
      return new OnewriterError(
        'TENANT_UNAVAILABLE',
        describeUnseen(this.path, error.code ?? error.message),
        { reason: FILE_CHANGED },
        error,
      );
    }
    try {
      // The tenant went to another thread, whose log this is: that one looks for itself, or has found it already. A connection
      // that is not the last of its process writes nothing back when it is closed.
      if (closing && (isOpenTwice(this.watch) || isWithheld(this.#dataDir, this.tenant))) {
        this.db.close();
        return undefined;
      }
      return this.#secure(change, mayBeTheirs);
    } catch (error) {
      return new OnewriterError(
        'TENANT_UNAVAILABLE',
        describeUnsaved(change, (error as { code?: string }).code ?? (error as Error).message),
        { reason: FILE_CHANGED },
        error,
      );
    }
  }

  /** The same for files that are in place, to which somebody else commits. There is nothing to save. */
  #secureOthers(closing: boolean): OnewriterError | undefined {
    // A batch fails, too, where the tables of the ledger are gone.
    this.#lookForOthersAtClose();
    if (!this.#othersWrote || !this.db.open) return undefined;
    if (closing && (isOpenTwice(this.watch) || isWithheld(this.#dataDir, this.tenant))) return undefined;
    const message = describeOthersWrote(this.tenant, this.path, this.#tablesGone);
    const { path } = this.watch;
    try {
      withhold(this.#dataDir, this.tenant, {
        message,
        entry: this.path,
        path,
        since: new Date().toISOString(),
      });
    } catch (error) {
      const cause = (error as { code?: string }).code ?? (error as Error).message;
      return new OnewriterError(
        'TENANT_UNAVAILABLE',
        describeUnnoted(message, cause),
        { reason: FILE_CHANGED },
        error,
      );
    }
    this.db.close();
    return fileChanged(message);
  }

  #lookForOthersAtClose(): void {
    if (this.#exclusive || !this.db.open) return;
    try {
      if (this.watch.isVersionNew) this.#lookForOthers();
    } catch (error) {
      // It is closed because it fails, or somebody has the lock: whoever opens it next begins anew.
      if (!(error instanceof Database.SqliteError) && !isOnewriterError(error)) throw error;
    }
  }

  #secure(change: FileChange, mayBeTheirs: boolean): OnewriterError | undefined {
    const since = new Date().toISOString();
    const base = `${this.path}.rescued-${since.replaceAll(':', '')}`;
    const rescued = rescueFile(this.db, this.watch, change, base, this.#seq);
    if (mayBeTheirs && this.#isMovedByBroker(change, rescued.movedTo)) {
      // SQLite looks itself whether the file has moved, and writes nothing back then.
      this.db.close();
      return undefined;
    }
    const message = describeChange(this.tenant, this.path, change, rescued, this.#seq);
    const { main, wal, path } = this.watch;
    const back = change === 'gone' || rescued.movedTo !== undefined ? { main, wal } : undefined;
    withhold(this.#dataDir, this.tenant, { message, entry: this.path, path, since, back });
    setLogApart(this.watch, change, base);
    this.db.close();
    return fileChanged(message);
  }

  /** A restore puts another file in the place of one that it moves away, and a deletion moves the folder into the trash. */
  #isMovedByBroker(change: FileChange, movedTo: string | undefined): boolean {
    if (movedTo === undefined || change !== 'gone') return movedTo !== undefined;
    return movedTo.startsWith(`${trashDir(realpathSync(this.#dataDir))}/`);
  }

  /**
   * Closes the connection if the index of its log is another one now: who opened the database since does not see its commits.
   * All of them are in the log. Each process that has the database open, and the next to open it, makes the index from it.
   * @returns whether it is closed; not where another thread still has the old index open
   */
  renewIndex(): boolean {
    if (!this.db.open || !this.watch.isIndexGone) return false;
    // It went with the file: who opens that next would make an empty one. The next look at the files says so.
    if (this.watch.look() !== undefined) return false;
    // Before the close: who is the last to close a database writes back what his index has, and deletes the log.
    invalidateIndex(this.watch.indexPath, this.watch.index);
    if (isOpenTwice(this.watch)) return false;
    this.rollback();
    let retired: number;
    try {
      retired = retireIndex(findOpenFile(this.watch.index));
    } catch (error) {
      if (isOutOfDescriptors(error)) return false; // the next batch tries it again
      throw error;
    }
    // This writes nothing back, with an index that SQLite refuses.
    this.db.close();
    closeSync(retired);
    return true;
  }

  /** Frees the page cache, which a large write has filled: of each of many open tenants it would stay until that is closed. */
  shrinkCache(): void {
    this.db.pragma('shrink_memory');
  }

  /**
   * Ends an open transaction, if there is one, and takes back what steps set. Never throws: what cannot be rolled back ends
   * with the connection.
   */
  rollback(): void {
    this.runner.forgetLastRowid();
    this.schema.undone();
    this.transaction = undefined;
    if (!this.db.inTransaction && !this.sessionChanged) return;
    try {
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
      if (this.sessionChanged) this.db.exec('PRAGMA foreign_keys = ON; PRAGMA defer_foreign_keys = OFF');
      this.sessionChanged = false;
    } catch {
      this.db.close();
    }
  }

  /**
   * Writes the WAL back to the file as far as readers let it, waiting for nobody, and closes. Idempotent. Not for files that
   * changed: see {@link secure}.
   * @param mayLeaveLog what is in a small log may stay there where others have the file open; where none has, SQLite's own close
   * writes it back and removes it
   */
  close(mayLeaveLog = false): void {
    if (!this.db.open) return;
    this.rollback();
    if (this.db.open && !(mayLeaveLog && this.checkpoints.isSmall)) this.checkpoints.truncate();
    this.db.close();
  }

  /** Closes without touching the file more than SQLite itself does: it failed, or belongs to another leader. */
  abandon(): void {
    this.rollback();
    this.db.close();
  }
}

/** No such table, or no such column: SQLite has one code for both. */
function isAboutTables(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code === 'SQLITE_ERROR';
}
