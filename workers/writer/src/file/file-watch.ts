import { existsSync, type Stats } from 'node:fs';
import { isOutOfDescriptors } from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';
import { CommitCounter, commitsBetween, type Mappings } from '../thread/commit-counter.ts';
import { isBeingCheckpointed } from './checkpoint-lock.ts';
import { type FileMark, identify, markOf, NO_FILE, statOf, toIdentity } from './file-mark.ts';
import { endsCommitOf, type LogMark, markOfOpen, readValidLog, type ValidLog, withLog } from './log-check.ts';
import { isLaterSalt, type LogState, readHeader, wasWrittenBackByOthers } from './log-state.ts';

/**
 * Changes of the files under an open connection:
 *
 * - `gone`: there is no file at the database's path
 * - `replaced`: there is another file
 * - `overwritten`: the same file, written by something that is not SQLite (`cp` over it keeps the inode)
 * - `log-gone`, `log-replaced`, `log-overwritten`: the same of the write-ahead log
 */
export type FileChange =
  | 'gone'
  | 'replaced'
  | 'overwritten'
  | 'log-gone'
  | 'log-replaced'
  | 'log-overwritten';

/** A checkpoint of another process writes pages first, and updates the index of the log only when all are written. */
const CHECKPOINT_SETTLES_MS = 200;
const CHECKPOINT_LASTS_MS = 2_000;
/** Reads of a log that others cut or restart meanwhile. */
const MAX_LOG_LOOKS = 5;
const HAS_PROC = existsSync('/proc/self/fd');

/**
 * Notices that the files of an open connection were deleted, replaced or overwritten; SQLite would continue without an error.
 * Looks at them by path only: opening the database file here and closing it would drop SQLite's locks.
 *
 * In WAL mode only checkpoints write the database file. So its time and size are as the last one of this connection left
 * them, or another process made a checkpoint, which the index and the header of the log show.
 *
 * Only transactions write the log, and it is checked after those of this connection, too: a write or cut in place changes its
 * time or size. Then all of it is read, and has to match what SQLite would recover from it after a crash.
 *
 * A look is two calls of stat. See ADR 0029.
 */
export class FileWatch {
  /** The file itself. */
  readonly path: string;
  readonly walPath: string;
  /** The index of the log. */
  readonly indexPath: string;
  /** The path that readers and tools use; it may be a link to the file. */
  readonly #entry: string;
  readonly #db: Database.Database;
  /** undefined: on a network file system the time of a file may change after its last write. */
  readonly #log: Statement<[], readonly [number, number, number]> | undefined;
  /** Changes with each commit of another connection, when another cuts the log, and when this one fails; not with its own commits. */
  readonly #version: Statement<[], number>;
  readonly #wal: string;
  /** undefined: on a network file system SQLite makes none, and without /proc the open one cannot be retired. */
  readonly #index: string | undefined;
  #main: FileMark;
  #state: LogState;
  /** Last seen by this connection: version, and pages in the log after its own last commit. */
  #seenVersion = 0;
  #pages = 0;
  /** The log when it was last whole; undefined where it has to be checked. */
  #logMark: LogMark | undefined;
  /** Salts of the log, as hex. */
  #salts = '';
  /** The version at that time. */
  #saltsVersion = 0;
  readonly #pageSize: number;
  /** undefined until {@link findCounter}, and where that finds none. */
  #counter: CommitCounter | undefined;
  #soughtCounter = false;
  /** The counter at the last seen version, and commits of this connection since. */
  #counted = 0;
  #ownCommits = 0;

  /**
   * @param entry leads to the file
   * @param path the file itself
   * @param index of the log, by device and inode
   * @param exclusive the file is on a network file system
   */
  constructor(db: Database.Database, entry: string, path: string, index: string, exclusive: boolean) {
    this.#entry = entry;
    this.path = path;
    this.walPath = `${path}-wal`;
    this.#db = db;
    this.#log = exclusive
      ? undefined
      : db.prepare<[], readonly [number, number, number]>('PRAGMA wal_checkpoint(NOOP)').raw(true);
    this.#version = db.prepare<[], number>('PRAGMA data_version').pluck();
    this.#pageSize = db.pragma('page_size', { simple: true }) as number;
    this.#wal = identify(this.walPath);
    this.indexPath = `${path}-shm`;
    this.#index = exclusive || !HAS_PROC ? undefined : index;
    // In this order: if another connection's checkpoint ends in between, it counts as one that others made. In the other order
    // its last pages would look as if another program had written them.
    this.#state = this.#readState(0);
    this.#main = markOf(path);
    this.forgetOthers();
  }

  /** The database file at the last look without a finding. */
  get main(): FileMark {
    return this.#main;
  }

  /** The log, by device and inode. */
  get wal(): string {
    return this.#wal;
  }

  /** Whether the index of the log was deleted or replaced: the next process that opens the database uses another. */
  get isIndexGone(): boolean {
    if (this.#index === undefined) return false;
    const index = identify(this.indexPath);
    return index === NO_FILE || index !== this.#index;
  }

  /** The index, by device and inode. */
  get index(): string {
    return this.#index ?? NO_FILE;
  }

  /** The change of the files; undefined where they are in place. @throws Error of the file system where it is unknown */
  look(): FileChange | undefined {
    const main = statOf(this.#entry);
    if (main === undefined) return 'gone';
    if (toIdentity(main) !== this.#main.identity) return 'replaced';
    const wal = statOf(this.walPath);
    if (wal === undefined || toIdentity(wal) !== this.#wal) {
      return (wal?.size ?? 0) === 0 ? 'log-gone' : 'log-replaced';
    }
    if (this.#isLogWhole(wal) === false) return 'log-overwritten';
    if (main.mtimeMs === this.#main.mtimeMs && main.size === this.#main.size) return undefined;
    // Inside a transaction a connection cannot read the state of its log. The next look finds the change.
    if (this.#log === undefined || this.#db.inTransaction) return undefined;
    const checkpointed = this.#isCheckpointed(main);
    if (checkpointed === false) return 'overwritten';
    if (checkpointed) this.noteCheckpoint();
    return undefined;
  }

  /** This connection has made a checkpoint: notes the file as it is now. */
  noteCheckpoint(): void {
    // In the same order as at opening.
    const { sequence, next } = this.#state;
    this.#renewState(sequence === -1 ? next : sequence);
  }

  #renewState(next: number): void {
    try {
      this.#state = this.#readState(next);
    } catch (error) {
      // The old state stays: the next look finds from the log that it was written back or cut.
      if (isOutOfDescriptors(error)) return;
      throw error;
    }
    this.#noteMain();
  }

  #noteMain(): void {
    const main = markOf(this.path);
    // Otherwise the next look finds another file.
    if (main.identity === this.#main.identity) this.#main = main;
  }

  /**
   * This connection has committed: the log now ends with its own commit. Not inside a transaction.
   * @returns false where the log was written or cut in place meanwhile, so that the commit may be lost with it
   */
  noteCommit(pages: number): boolean {
    const then = this.#pages;
    this.#pages = pages;
    // In this order: another's commit is a new version only after it is counted.
    if (this.#counter !== undefined) this.#countOwn();
    try {
      return withLog(this.walPath, file => {
        // In this order: the next look notices later writes.
        this.#logMark = markOfOpen(file);
        // The frame before the commit is missing if the log was cut, and differs if it was overwritten or restarted.
        if (then > 0 && then <= pages && endsCommitOf(file, this.#salts, then, this.#pageSize)) return true;
        this.#logMark = undefined;
        return this.#checkLog() !== false;
      });
    } catch (error) {
      this.#logMark = undefined;
      // The log is gone, or cannot be opened now: the next look reports it.
      if (isOutOfDescriptors(error) || (error as NodeJS.ErrnoException).code === 'ENOENT') return true;
      throw error;
    }
  }

  /** This process has made the log longer, right after a look. */
  noteLogExtended(): void {
    if (this.#logMark !== undefined) this.#logMark = markOf(this.walPath);
  }

  /** The part that SQLite would recover now of the log that this connection wrote; and pages of it written back. */
  readLog(): ValidLog & { readonly writtenBack: number } {
    const [, pages, writtenBack] = this.#log?.get() ?? [0, this.#pages, 0];
    const found = withLog(this.walPath, file => readValidLog(file, pages));
    const isOther = found.salts !== this.#salts;
    return { ...found, ...(isOther ? { frames: 0, committed: 0, committedBytes: 0 } : {}), writtenBack };
  }

  /** Undefined where it is unknown now: the next look asks again. */
  #isLogWhole({ size, mtimeMs }: Stats): boolean | undefined {
    const then = this.#logMark;
    if (then?.size === size && then.mtimeMs === mtimeMs) return true;
    // On a network file system times change after the last write. Inside a transaction the log is not checked.
    if (this.#log === undefined || this.#db.inTransaction) return undefined;
    return this.#checkLog();
  }

  #checkLog(): boolean | undefined {
    try {
      for (let look = 0; look < MAX_LOG_LOOKS; look++) {
        // In this order: restarting or cutting the log changes the version before the file.
        const version = this.#version.get()!;
        const pages = this.#log?.get()?.[1] ?? this.#pages;
        const { frames, salts, mark } = withLog(this.walPath, file => ({
          mark: markOfOpen(file),
          ...readValidLog(file, pages),
        }));
        if (frames === pages && (pages === 0 || this.#follows(salts, version))) {
          // After a cut by others, the next connection to write may choose any salts.
          if (pages > 0) this.#salts = salts;
          else if (version !== this.#saltsVersion) this.#salts = '';
          this.#saltsVersion = version;
          this.#logMark = mark;
          return true;
        }
        if (this.#version.get() === version) return false;
      }
      return undefined;
    } catch (error) {
      if (isOutOfDescriptors(error) || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      // A lock, or SQLite cannot read the file, which the next batch finds.
      if (error instanceof Database.SqliteError) return undefined;
      throw error;
    }
  }

  /**
   * Whether a log is the known one, or its restart, and not an older one that was put back. After a cut by another connection,
   * which is a new version, the salts are any.
   */
  #follows(salts: string, version: number): boolean {
    if (this.#salts === '' || salts === this.#salts || version !== this.#saltsVersion) return true;
    return isLaterSalt(salts, this.#salts);
  }

  /** This connection has cut the log, which counts as a restart. Call {@link noteCheckpoint} before the cut. */
  noteCut(): void {
    this.#pages = 0;
    this.#renewState(this.#state.next);
  }

  /** The index was rebuilt from the log, and no longer shows what was written back before. */
  noteIndexRemade(): void {
    this.forgetOthers();
    const { sequence, next } = this.#state;
    this.#state = this.#readState(sequence === -1 ? next : sequence);
  }

  /**
   * Whether another connection changed the database, or a transaction of this one failed because the disk is full:
   * {@link othersAdded} distinguishes the two. Inside a transaction it costs no lock.
   */
  get isVersionNew(): boolean {
    return this.#version.get() !== this.#seenVersion;
  }

  /** Whether to call {@link findCounter}. */
  get wantsCounter(): boolean {
    return !this.#soughtCounter && this.#index !== undefined;
  }

  /**
   * Finds the counter of commits that all connections share.
   * @param mappings of this process
   */
  findCounter(mappings: Mappings): void {
    if (!this.wantsCounter || this.#db.inTransaction || this.isVersionNew || this.isIndexGone) return;
    const [, inode = ''] = this.#index!.split(':');
    this.#counter = CommitCounter.find(mappings, inode);
    this.#soughtCounter = true;
    this.#count();
  }

  /** This connection has committed. */
  noteOwnCommit(): void {
    this.#ownCommits++;
  }

  /** If the version is the last seen one, all commits are this connection's, including those it does not know of. */
  #countOwn(): void {
    const counted = this.#counter!.read();
    if (this.isVersionNew) return;
    this.#counted = counted;
    this.#ownCommits = 0;
  }

  #count(): void {
    if (this.#counter === undefined) return;
    this.#counted = this.#counter.read();
    this.#ownCommits = 0;
  }

  /**
   * Whether others committed after this connection. Not inside a transaction. Without the counter, pages added to the log count
   * as others' commits; if it was cut meanwhile (RESTART, TRUNCATE) that is unknown, and the answer is no.
   */
  othersAdded(): boolean {
    const commits = this.#counter && commitsBetween(this.#counted + this.#ownCommits, this.#counter.read());
    const { pages } = this.forgetOthers();
    return commits === undefined ? pages.now > 0 && pages.now !== pages.then : commits > 0;
  }

  /** Treats all changes by others so far as known. */
  forgetOthers(): { readonly pages: { readonly then: number; readonly now: number } } {
    const then = this.#pages;
    // A change in between is a new version at the next look, and must not be counted yet.
    do {
      this.#seenVersion = this.#version.get()!;
      this.#count();
    } while (this.#counter !== undefined && this.isVersionNew);
    this.#pages = this.#log?.get()?.[1] ?? 0;
    return { pages: { then, now: this.#pages } };
  }

  /**
   * Whether a checkpoint of another connection wrote the file. Waits a while for a running one; undefined where a lock hides it,
   * or it is not over: the next look asks again.
   */
  #isCheckpointed(seen: Stats): boolean | undefined {
    try {
      return this.#awaitCheckpoint(seen);
    } catch (error) {
      if (isOutOfDescriptors(error)) return undefined;
      if (!(error instanceof Database.SqliteError)) throw error;
      if (/^SQLITE_(BUSY|LOCKED|PROTOCOL)/.test(error.code)) return undefined;
      // The file was written, and the log cannot be read: its content is unreliable.
      return false;
    }
  }

  #awaitCheckpoint(seen: Stats): boolean | undefined {
    const dueMs = performance.now() + CHECKPOINT_LASTS_MS;
    for (let before = seen; ; ) {
      if (this.#othersWroteBack()) return true;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, CHECKPOINT_SETTLES_MS);
      const now = statOf(this.path) ?? before;
      const rests = now.mtimeMs === before.mtimeMs && now.size === before.size;
      if (rests || performance.now() > dueMs) {
        // Its flush lasts as long as the disk needs.
        return isBeingCheckpointed(this.indexPath) ? undefined : this.#othersWroteBack();
      }
      before = now;
    }
  }

  #othersWroteBack(): boolean {
    return wasWrittenBackByOthers(this.#state, this.#readState(this.#state.next));
  }

  /** @param next for a log without a header: the sequence that it gets with the next commit */
  #readState(next: number): LogState {
    const [, pages, writtenBack] = this.#log?.get() ?? [0, 0, 0];
    const { sequence, salt } = readHeader(this.walPath);
    return {
      sequence,
      salt,
      next: sequence === -1 ? next : sequence + 1,
      writtenBack,
      complete: writtenBack === pages,
      version: this.#version.get()!,
    };
  }
}
