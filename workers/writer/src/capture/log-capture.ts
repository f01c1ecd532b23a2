import { fstatSync } from 'node:fs';
import { isOutOfDescriptors, type WriteSummary } from '@onewriter/protocol';
import Database, { type Statement } from 'better-sqlite3';
import { isSystemError } from '../batch/sqlite-errors.ts';
import { identify, toIdentity } from '../file/file-mark.ts';
import { withLog } from '../file/log-check.ts';
import type { WalFile } from '../thread/lane-task.ts';
import type { CapturedCommit, FileMark, LogPosition, LostReason } from './capture-messages.ts';
import type { CaptureSink } from './capture-sink.ts';
import { LeftCapture, noteClosed } from './closed-file.ts';
import { findBeginning, withLogIfThere } from './log-beginning.ts';
import { NO_LOG, type ReadFrames, readCommits, readPosition, readSalts } from './log-frames.ts';

/** A piece with whole commits ends here: larger ones would delay the thread's other tenants. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** Commits that are noted and not sent: at so many they are sent without being asked for. */
const MAX_NOTES = 8_192;
/** Read at least: the end of the log is not known exactly. */
const FEW_FRAMES = 4;

/** A connection, as its capture sees it. */
export interface CapturedFile {
  readonly tenant: string;
  readonly incarnation: string;
  readonly db: Database.Database;
  /** The file itself; its log lies beside it. */
  readonly path: string;
}

/** What the connection knows when it is completely open. */
export interface CapturedConnection {
  /** `isVersionNew`: another connection has written since this one last looked. */
  readonly watch: { readonly isVersionNew: boolean };
  /** `pages`: frames in the log at the last look. */
  readonly checkpoints: { readonly pages: number };
  /** `seq`: the newest commit that it knows. */
  readonly others: { readonly seq: number };
  /** Set where the log may have commits that are not flushed. */
  readonly unflushed: WalFile | undefined;
}

/** A commit of this connection, without its place in the log. */
type NotedCommit = Omit<CapturedCommit, 'frames' | 'pages'>;

/**
 * Sends the log of one tenant to the replicator. A COMMIT costs it a small note. When the replicator asks, and before
 * anything may overwrite the log, it reads as many commits as were noted: where one ends, its last frame says.
 *
 *   log      ┃ others' commits, before the opening ┃ sent ┃ noted ┃ not committed, or rest of an older log
 *            0                                othersTo    at
 *
 * It reads by a descriptor of its own, which it closes again: SQLite locks the database and the index of the log, not the log. What
 * finds no room stays in the log, which is read again later; only where the log is about to be overwritten it is given up as
 * `lost`.
 *
 * Where it is in doubt it says `lost`, or nothing: the replicator believes no piece that does not continue the one before.
 */
export class LogCapture {
  readonly #file: CapturedFile;
  readonly #walPath: string;
  readonly #sink: CaptureSink;
  readonly #measure: Statement<[], readonly [number, number, number]>;
  readonly #pageSize: number;
  /** The log, by device and inode. */
  readonly #wal: string;
  #connection: CapturedConnection | undefined;
  #notes: NotedCommit[] = [];
  /** Where the next piece begins; the log may have been restarted since. */
  #at: LogPosition = NO_LOG;
  /** What the next piece says was before it. */
  #before: LogPosition = NO_LOG;
  #mark: FileMark | undefined;
  /** Commits up to this frame are others', with numbers that are not known here. */
  #othersTo = 0;
  /** When the log was last written before the opening, ms since the epoch. */
  #othersAtMs = 0;
  /** The place in the log is not known: it is found outside a transaction. */
  #isAstray = false;
  /** The last commit that this connection made, or knew at its opening. */
  #seq = 0;
  /** The next commit may begin a log. */
  #mayBeginLog = true;
  /** A caller waits until what is committed now is stored. */
  isAwaited = false;

  /**
   * To be called before the connection commits anything, also a new epoch.
   * @param known what an earlier connection of this thread sent
   */
  constructor(file: CapturedFile, sink: CaptureSink, known?: LogPosition | undefined) {
    const { db, path } = file;
    this.#file = file;
    this.#walPath = `${path}-wal`;
    this.#sink = sink;
    this.#measure = db
      .prepare<[], readonly [number, number, number]>('PRAGMA wal_checkpoint(NOOP)')
      .raw(true);
    this.#pageSize = db.pragma('page_size', { simple: true }) as number;
    this.#wal = identify(this.#walPath);
    this.#begin(known);
  }

  /** The connection is open. */
  attach(connection: CapturedConnection): void {
    this.#connection = connection;
    this.#seq = connection.others.seq;
  }

  get #isDue(): boolean {
    return this.#notes.length > 0 || this.#at.frame < this.#othersTo;
  }

  /** This connection has committed. */
  note(commitSeq: number, epoch: number, writes?: WriteSummary | undefined): void {
    this.#notes.push({ commitSeq, atMs: Date.now(), epoch, writes });
    this.#seq = commitSeq;
    this.#sink.noteDue(this);
    if (this.#notes.length >= MAX_NOTES) this.send(true);
    else if (this.#mayBeginLog) {
      // At once: another thread that opens the file later can send this log from its beginning, and not what was before it.
      this.#mayBeginLog = false;
      this.send();
    }
  }

  /**
   * Sends all commits that are noted. Never throws: where the log cannot be read they are lost, or stay for the next call.
   * @param isLastChance the log may be overwritten next
   * @returns whether nothing is left
   */
  send(isLastChance = false): boolean {
    if (this.#isAstray && !this.#findEnd()) return false;
    if (this.#isDue) {
      try {
        withLog(this.#walPath, log => this.#sendFrom(log, isLastChance));
      } catch (error) {
        if (isOutOfDescriptors(error) && !isLastChance) return false;
        // The watch of the file reports what is wrong with it.
        if (!isSystemError(error)) throw error;
        this.#lose('unreadable log');
      }
    }
    if (this.#isDue) return false;
    this.#sink.forgetDue(this);
    return true;
  }

  /**
   * Sends all, before this connection writes the log back.
   * @returns false where it must not write back: the tenant has moved to another connection, whose commits are not sent
   */
  prepareWriteBack(): boolean {
    this.#mayBeginLog = true;
    this.send(true);
    if (this.#isAstray) return !this.#isOvertaken;
    const end = this.#countFrames()?.frames;
    // Not known, cut since, or as it was sent.
    if (end === undefined || end === 0 || end === this.#before.frame) return true;
    if (this.#isOvertaken) return false;
    this.#lose('log changed');
    return true;
  }

  /** Another connection has committed, and this one continues after it. Not inside a transaction. */
  continueAfterOthers(): void {
    this.#goAstray();
    this.#begin(this.#before);
    this.#isAstray = false;
    this.#seq = this.#connection?.others.seq ?? this.#seq;
  }

  /** The replicator was started again, and has only what is stored: sends what is still in the log. */
  sendAgain(): void {
    const { salts, frame } = this.#before;
    const isThere = !this.#isAstray && frame > 0 && withLogIfThere(this.#walPath, readSalts) === salts;
    if (!isThere) return;
    this.#othersTo = Math.max(this.#othersTo, frame);
    this.#othersAtMs = Date.now();
    this.#at = { salts, frame: 0, checksum: '' };
    this.#sink.noteDue(this);
    // Before the log is restarted.
    this.send();
  }

  /** The connection is closed. @param isComplete all of its log was sent, which is gone if SQLite has removed it */
  closed(isComplete: boolean): void {
    this.#sink.forgetDue(this);
    if (isComplete) this.noteWrittenBack();
  }

  /** The log is empty: all of it is in the file. */
  noteWrittenBack(): void {
    if (!this.#isAstray && !this.#isDue) noteClosed(this.#file, this.#before, this.#sink);
  }

  /** Where it stands when the file is closed and its log is left beside it; undefined where not all was sent. */
  get left(): LeftCapture | undefined {
    if (this.#isAstray || this.#isDue || this.#before === NO_LOG) return undefined;
    return new LeftCapture(this.#file, this.#before, this.#pageSize, this.#sink);
  }

  #begin(known: LogPosition | undefined): void {
    const log = this.#countFrames();
    const file = { path: this.#file.path, pageSize: this.#pageSize, frames: log?.frames };
    const { before, at, othersTo, othersAtMs, mark } = findBeginning(file, known);
    this.#before = before;
    this.#at = at;
    this.#othersTo = othersTo;
    this.#othersAtMs = othersAtMs;
    this.#mark = mark;
    if (!this.#isDue) return;
    this.#sink.noteDue(this);
    // The next commit restarts the log.
    if (log?.isComplete) this.send(true);
  }

  #sendFrom(log: number, isLastChance: boolean): void {
    const salts = toIdentity(fstatSync(log)) === this.#wal ? readSalts(log) : '';
    if (salts !== this.#at.salts) {
      // A log is restarted when all of it is written back, and before that it was sent: only one without a place was not.
      if (salts === '' || this.#at.frame < this.#othersTo) {
        this.#changed();
        return;
      }
      this.#at = { salts, frame: 0, checksum: '' };
      this.#othersTo = 0;
    }
    while (this.#isDue) {
      // In this order: where another connection commits after the look, its message has a higher number, and this one is late.
      const order = this.#sink.nextOrder();
      if (this.#isOvertaken) {
        this.#goAstray();
        return;
      }
      const expected = Math.max(FEW_FRAMES, this.#expectedEnd(salts) - this.#at.frame);
      const read = readCommits(log, {
        pageSize: this.#pageSize,
        from: this.#at,
        othersTo: this.#othersTo,
        commits: this.#notes.length,
        expected,
        pieceBytes: PIECE_BYTES,
        maxBytes: this.#sink.maxPieceBytes,
      });
      if (read === 'short') {
        this.#changed();
        return;
      }
      if (read === 'too large') {
        this.#lose('no room');
        return;
      }
      if (!this.#sink.take(read.frames.byteLength)) {
        if (isLastChance) this.#lose('no room');
        return;
      }
      this.#post(read, order);
    }
  }

  /** Where the noted commits probably end. */
  #expectedEnd(salts: string): number {
    // The last look may have been at the log before.
    const pages = this.#before.salts === salts ? (this.#connection?.checkpoints.pages ?? 0) : 0;
    return Math.max(this.#othersTo, pages);
  }

  #post({ frames, ends, to }: ReadFrames, order: bigint | undefined): void {
    const { tenant, incarnation } = this.#file;
    const from = this.#at;
    let noted = 0;
    const commits = ends.map(({ frames: count, pages }): CapturedCommit => {
      const commit = from.frame + count > this.#othersTo ? this.#notes[noted++] : undefined;
      return { frames: count, pages, ...(commit ?? { commitSeq: 0, atMs: this.#othersAtMs, epoch: 0 }) };
    });
    const piece = {
      kind: 'log',
      tenant,
      incarnation,
      pageSize: this.#pageSize,
      before: this.#before,
      mark: this.#mark,
      from,
      to,
      moreTo: to.frame < this.#othersTo ? this.#othersTo : undefined,
      commits,
      frames,
      unflushed: this.#connection?.unflushed,
      urgent: this.isAwaited,
    } as const;
    this.#sink.post(piece, order);
    this.#mark = undefined;
    this.#before = this.#at = to;
    this.#notes.splice(0, noted);
  }

  /**
   * Another connection of this broker may have the tenant now. It sends all from the beginning of the log, also what this one did
   * not.
   */
  get #isOvertaken(): boolean {
    const connection = this.#connection;
    if (!this.#file.db.open) return true;
    if (connection === undefined) return false;
    return connection.watch.isVersionNew || connection.others.seq !== this.#seq;
  }

  /** The log is not as this connection left it. */
  #changed(): void {
    if (this.#isOvertaken) this.#goAstray();
    else this.#lose('log changed');
  }

  #lose(reason: LostReason): void {
    this.#sink.post({ kind: 'lost', tenant: this.#file.tenant, reason });
    this.#goAstray();
    // At once: the replicator reads the whole file next, and what follows has to continue that.
    this.#findEnd();
  }

  #goAstray(): void {
    this.#notes = [];
    this.#othersTo = 0;
    this.#isAstray = true;
    this.#sink.forgetDue(this);
  }

  /** What follows begins at the present end of the log. @returns false where that is not known now */
  #findEnd(): boolean {
    if (this.#isOvertaken) return false;
    const log = this.#countFrames();
    if (log === undefined) return false;
    const end = withLogIfThere(this.#walPath, file => readPosition(file, log.frames, this.#pageSize));
    if (end === undefined) return false;
    // Committed while it was astray: the file may have been read whole before.
    if (this.#notes.length > 0)
      this.#sink.post({ kind: 'lost', tenant: this.#file.tenant, reason: 'log changed' });
    this.#goAstray();
    this.#before = this.#at = end;
    this.#mark = undefined;
    this.#isAstray = false;
    return true;
  }

  /** Undefined where it is not known now: inside a transaction, or a lock hides it. */
  #countFrames(): { readonly frames: number; readonly isComplete: boolean } | undefined {
    const { db } = this.#file;
    if (!db.open || db.inTransaction) return undefined;
    try {
      const [, frames, writtenBack] = this.#measure.get()!;
      return { frames, isComplete: frames > 0 && writtenBack === frames };
    } catch (error) {
      if (error instanceof Database.SqliteError) return undefined;
      throw error;
    }
  }
}
