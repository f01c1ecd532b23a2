import { type DatabaseFile, noteKnownDatabase, OnewriterError } from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';
import { takeEpoch } from '../batch/internal-tables.ts';
import { SchemaTraits } from '../batch/schema-traits.ts';
import { explainOpenError, translateError } from '../batch/sqlite-errors.ts';
import { StatementCache } from '../batch/statement-cache.ts';
import { StatementRunner } from '../batch/statement-runner.ts';
import type { LogPosition } from '../capture/capture-messages.ts';
import type { CaptureSink } from '../capture/capture-sink.ts';
import { LogCapture } from '../capture/log-capture.ts';
import { IdempotencyKeys } from '../ledger/idempotency-keys.ts';
import { Ledger, type NumberedCommit } from '../ledger/ledger.ts';
import type { OpenTransaction } from '../steps/open-transaction.ts';
import { compileStepControl, type StepControl } from '../steps/step-control.ts';
import type { WalFile, WriterOptions } from '../thread/lane-task.ts';
import { assertCompanions, locateTenant } from '../thread/tenant-location.ts';
import { assertNotWithheld, fileChanged } from '../thread/withheld-tenant.ts';
import { identify } from './file-mark.ts';
import { FileWatch } from './file-watch.ts';
import { remakeStaleIndex } from './log-index.ts';
import { assertOwnLog, noteLog } from './log-note.ts';
import { OthersCommits } from './others-commits.ts';
import { renewIndex, secureFile } from './secure-file.ts';
import { WalCheckpoints } from './wal-checkpoints.ts';
import { WalSpace } from './wal-space.ts';

/** Page cache of one connection. Source: SQLite's own default; better-sqlite3's is 16 MB, times every open tenant. */
const CACHE_KIB = 2_000;

/** Looks for others' commits, before one transaction. */
const MAX_LOOKS = 5;

const CONNECTION_PRAGMAS = `
  PRAGMA synchronous = FULL;
  PRAGMA foreign_keys = ON;
  PRAGMA wal_autocheckpoint = 0;
  PRAGMA cache_size = -${CACHE_KIB};
`;

/** The {@link WriterOptions} that opening a tenant needs, and the reason to open it. */
export interface OpenTenantOptions
  extends Pick<
    WriterOptions,
    'dataDir' | 'dbFile' | 'createTenants' | 'busyTimeoutMs' | 'exclusive' | 'retentionClock'
  > {
  /** The leader's epoch. */
  readonly epoch: number;
  /** Set after an I/O error: everything in the WAL is first written to the file and flushed, or opening fails. */
  readonly afterIoError?: boolean | undefined;
  /** Receives the log; undefined: the tenant is not replicated. */
  readonly capture?: CaptureSink | undefined;
  /** Up to where an earlier connection of this thread sent the log. */
  readonly captured?: LogPosition | undefined;
}

/**
 * What a close does with a small log:
 *
 * - `written-back`: as with a large one
 * - `left-to-others`: it stays if others have the file open; if none has, SQLite's own close writes it back and removes it
 * - `left`: it stays, and the next opening appends to it
 * - `kept`: so does a large one
 */
export type SmallLog = 'written-back' | 'left-to-others' | 'left' | 'kept';

/**
 * The one connection that writes to a tenant's file: WAL, `synchronous=FULL`, foreign keys on, internal tables made, the
 * leader's epoch stored. It watches the files it opened, because SQLite would write to a deleted or replaced file without an
 * error.
 */
export class TenantDatabase {
  readonly tenant: string;
  /** Path to the open file; it may be a link. */
  readonly path: string;
  readonly dataDir: string;
  readonly exclusive: boolean;
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
  readonly others: OthersCommits;
  readonly capture: LogCapture | undefined;
  /** Transaction control inside a transaction, compiled once. */
  readonly control: Readonly<Record<'savepoint' | 'release' | 'rollbackTo', Statement<[]>>>;
  /** The transaction that waits for the next steps of its client. */
  transaction: OpenTransaction | undefined;
  /** A write set a PRAGMA of the connection; it is reset when no transaction is open. */
  sessionChanged = false;
  #stepControl: StepControl | undefined;
  readonly #begin: Statement<[]>;
  readonly #commit: Statement<[]>;
  readonly #wal: WalFile;
  #epoch: number;
  #flushesAtCommit = true;
  /** Whether the WAL may hold a commit that is not flushed. */
  #unflushed = true;

  /**
   * Opens a tenant's file, and creates it if allowed.
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
      if (file !== undefined) assertOwnLog(options.dataDir, tenant, path, place.path);
      try {
        const db = new Database(place.path, {
          timeout: options.busyTimeoutMs,
          fileMustExist: file !== undefined,
        });
        try {
          const database = new TenantDatabase(tenant, path, place, db, options);
          // Before the first commit of a caller.
          noteKnownDatabase(options.dataDir, tenant);
          noteLog(options.dataDir, tenant, place.path);
          return database;
        } catch (error) {
          // Before the close, which removes files again.
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
    this.dataDir = options.dataDir;
    this.exclusive = options.exclusive;
    this.path = path;
    this.incarnation = place.incarnation;
    this.db = db;
    // Before the first access to the WAL, or SQLite makes the shared-memory file nevertheless.
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
    if (!options.exclusive) remakeStaleIndex(db, `${place.path}-wal`, index);
    db.exec(CONNECTION_PRAGMAS);
    this.checkpoints = new WalCheckpoints(db);
    // Before the first commit, which may restart the log.
    const file = { tenant, incarnation: place.incarnation, db, path: place.path };
    this.capture = options.capture && new LogCapture(file, options.capture, options.captured);
    if (options.afterIoError) {
      this.capture?.prepareWriteBack();
      this.checkpoints.complete();
    }
    // A commit, which flushes a predecessor's commits in the WAL.
    const committed = takeEpoch(db, options.epoch);
    if (committed) this.#unflushed = false;
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
    this.watch = new FileWatch(db, path, place.path, index, options.exclusive);
    this.others = new OthersCommits(this);
    this.#wal = { path: this.watch.walPath, identity: this.watch.wal };
    this.walSpace = new WalSpace(this.#wal.path);
    if (this.capture === undefined) return;
    if (committed) this.capture.note(this.others.seq, options.epoch);
    this.capture.attach(this);
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

  /** Continues under a newer epoch of the same broker. @throws OnewriterError FENCED, DATABASE_BUSY … */
  takeEpoch(epoch: number): void {
    if (epoch === this.#epoch) return;
    // A transaction that was begun under another epoch is not committed under this one.
    this.rollback();
    this.capture?.send();
    try {
      takeEpoch(this.db, epoch);
    } catch (error) {
      throw translateError(error);
    }
    this.#epoch = epoch;
    this.others.forget();
    // Whoever noted the epoch: this connection, or another thread's that had the file meanwhile.
    this.capture?.continueAfterOthers();
  }

  /**
   * Whether COMMIT flushes the WAL (`synchronous=FULL`) or leaves that to the caller (`NORMAL`, under which SQLite flushes
   * only where it needs the order: before a checkpoint writes to the file, and when the WAL restarts).
   */
  flushAtCommit(flushes: boolean): void {
    // It cannot be changed inside a transaction, which ends as it began.
    if (flushes === this.#flushesAtCommit || this.transaction !== undefined) return;
    this.db.pragma(flushes ? 'synchronous = FULL' : 'synchronous = NORMAL');
    this.#flushesAtCommit = flushes;
  }

  /**
   * The only place that runs BEGIN IMMEDIATE: a caller's transaction begins where the last one ended. Commits of another program
   * in between are noticed before anything is added to them.
   * @throws OnewriterError TENANT_UNAVAILABLE; SQLite's own errors
   */
  begin(): void {
    this.others.lookAtLogIfDue();
    for (let look = 0; ; look++) {
      this.others.assertNone();
      this.#begin.run();
      this.runner.writes.begin();
      // Bounded, so that a program that cuts the log repeatedly does not stop all writes.
      if (this.exclusive || !this.watch.isVersionNew || look === MAX_LOOKS) return;
      // Inside a transaction a connection cannot read the state of its log. The next round looks again.
      this.db.exec('ROLLBACK');
      this.others.look();
      this.capture?.continueAfterOthers();
    }
  }

  /**
   * The only place that runs COMMIT.
   * @param commit its number; undefined where it has no write of a caller
   */
  commit(commit: NumberedCommit | undefined): void {
    if (commit !== undefined) this.ledger.seal(commit);
    this.#commit.run();
    this.schema.committed();
    if (commit === undefined) return;
    if (!this.#flushesAtCommit) this.#unflushed = true;
    this.others.noteOwn(commit.seq);
    this.capture?.note(commit.seq, this.#epoch, this.runner.writes.summarize());
  }

  /**
   * Checks the log after commits, once for a whole batch. Not inside a transaction.
   * @throws OnewriterError TENANT_UNAVAILABLE where it was written or cut in place: the commits may be lost
   */
  lookAtLog(): void {
    this.others.lookAtLog();
  }

  /**
   * Cuts a large log after a checkpoint, but not one with others' commits, which could not be seen afterwards.
   * @returns whether it was cut
   */
  cutLog(): boolean {
    if (!this.exclusive && this.watch.isVersionNew) this.others.look();
    if (this.others.found || !this.checkpoints.cut()) return false;
    this.watch.noteCut();
    this.walSpace.noteCut();
    this.capture?.noteWrittenBack();
    return true;
  }

  /** A COMMIT was done. Its flush covers the whole file, including earlier commits. */
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

  /** Ends the connection to files that changed; see {@link secureFile}. @returns the finding; undefined where there is none */
  secure(mayBeTheirs: boolean, closing = false): OnewriterError | undefined {
    return secureFile(this, mayBeTheirs, closing);
  }

  /** Closes the connection if the index of its log was replaced; see {@link renewIndex}. @returns whether it is closed */
  renewIndex(): boolean {
    return renewIndex(this);
  }

  /** Frees the page cache that a large write has filled: otherwise each open tenant would keep it until it is closed. */
  shrinkCache(): void {
    this.db.pragma('shrink_memory');
  }

  /** Switches foreign keys off, outside a transaction, until {@link rollback}. */
  switchForeignKeysOff(): void {
    this.sessionChanged = true;
    this.db.pragma('foreign_keys = OFF');
  }

  /**
   * Ends an open transaction, if there is one, and resets PRAGMAs that a write set. Never throws: if a rollback fails, the
   * connection is closed.
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
   * Writes the WAL back to the file as far as readers allow, without waiting, and closes. Idempotent. Not for files that changed:
   * see {@link secure}.
   * @param smallLog what happens to a small log instead
   */
  close(smallLog: SmallLog = 'written-back'): void {
    if (!this.db.open) return;
    this.rollback();
    if (!this.db.open) return;
    const stays = smallLog === 'kept' || (smallLog === 'left' && this.checkpoints.isSmall);
    if (stays && !this.exclusive) {
      this.capture?.send();
      this.#closeBesideReader();
      this.capture?.closed(false);
      return;
    }
    const mayWriteBack = this.capture?.prepareWriteBack() ?? true;
    if (mayWriteBack && (smallLog === 'written-back' || !this.checkpoints.isSmall))
      this.checkpoints.truncate();
    this.db.close();
    this.capture?.closed(mayWriteBack);
  }

  /**
   * SQLite writes the log back only when the last connection is closed, and only if it may write: so a reader is the last here.
   * If it cannot be opened, the log is written back.
   */
  #closeBesideReader(): void {
    let reader: Database.Database | undefined;
    try {
      reader = new Database(this.watch.path, { readonly: true, fileMustExist: true, timeout: 0 });
      // Takes its lock on the file, which it has until it is closed.
      reader.pragma('schema_version');
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error;
    } finally {
      this.db.close();
      reader?.close();
    }
  }

  /** Closes with no more access to the file than SQLite itself needs: it failed, or belongs to another leader. */
  abandon(): void {
    this.rollback();
    const isWhole = this.db.open && this.capture?.prepareWriteBack() === true;
    this.db.close();
    this.capture?.closed(isWhole);
  }
}
