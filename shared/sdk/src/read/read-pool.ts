import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isOutOfDescriptors, locateDatabase, OnewriterError } from '@onewriter/protocol';
import { FileReplaced, Reader } from './reader.ts';
import { isBusy, sqliteCodeOf, tooManyOpenFiles } from './sqlite-errors.ts';

/** Settings of a {@link ReadPool}. */
export interface ReadPoolOptions {
  readonly dataDir: string;
  readonly dbFile: string;
  readonly maxOpenReaders: number;
}

/** Page caches of all connections together; better-sqlite3 would give each 16 MB. */
const MAX_CACHE_BYTES = 256 * 1024 * 1024;
const MAX_READER_CACHE_BYTES = 16_000 * 1024;
const RETRY_AFTER_MS = 100;
/** So much of what is open is closed where the process may open no more files. */
const SHARE_CLOSED = 1 / 8;
/** What was left open then is the bound for so long: the process may have used its descriptors only for a moment. */
const LOWER_BOUND_MS = 60_000;

/**
 * Turns of the event loop after which it is looked whether a file in use is still the one that was opened. A restore and a
 * deletion need no such check, they end the file with a tombstone; this is for a file that was moved by hand.
 */
const CHECK_EVERY_TURNS = 64;
/** What was not used between two looks is closed: a hibernated tenant's file must not stay open, nor a descriptor for nothing. */
const CLOSE_UNUSED_EVERY_MS = 60_000;
/** A tenant that is replaced all the time is not followed for ever. */
export const MAX_REOPENS = 20;

/**
 * Read-only connections, at most `maxOpenReaders`, the least recently used is closed. A tenant has one for reads
 * that are done at once; a read that continues (iterate) has one of its own meanwhile, because everything on a
 * connection sees the state of the database as of its oldest open read.
 */
export class ReadPool {
  readonly #options: ReadPoolOptions;
  readonly #shared = new Map<string, Reader>();
  readonly #leased = new Set<Reader>();
  /** Set where descriptors ran out before `maxOpenReaders` was reached. */
  #lowered: { readonly bound: number; readonly untilMs: number } | undefined;
  #clock = 0;
  #readerCacheBytes = MAX_READER_CACHE_BYTES;
  #closed = false;
  #turn = 0;
  #turnEnds = false;
  readonly #endTurn = () => {
    this.#turnEnds = false;
    this.#turn++;
  };

  /** The clock at the last look. */
  #lookedAt = 0;
  readonly #looks: NodeJS.Timeout;

  constructor(options: ReadPoolOptions) {
    this.#options = options;
    this.#looks = setInterval(() => this.#closeUnused(), CLOSE_UNUSED_EVERY_MS).unref();
  }

  /** Connections that are open. */
  get size(): number {
    return this.#shared.size + this.#leased.size;
  }

  /**
   * A number that changes with each turn of the event loop: all that a program can learn by waiting, it learns in a
   * later one. To be asked for each read.
   */
  get turn(): number {
    if (!this.#turnEnds) {
      this.#turnEnds = true;
      // After the microtasks of this turn, before any other callback: setImmediate would let others of the same phase run.
      process.nextTick(this.#endTurn);
    }
    return this.#turn;
  }

  /**
   * The tenant's connection, for a read that is done before anything else runs.
   * @throws OnewriterError CLOSED, TENANT_NOT_FOUND, TENANT_UNAVAILABLE; better-sqlite3's errors
   */
  reader(tenant: string): Reader {
    let reader = this.#shared.get(tenant);
    if (reader !== undefined && this.#turn - reader.checkedIn >= CHECK_EVERY_TURNS) {
      reader.checkedIn = this.#turn;
      if (reader.isMoved()) {
        this.drop(tenant);
        reader = undefined;
      }
    }
    if (reader === undefined) {
      reader = this.#open(tenant);
      reader.placedAt = this.#clock + 1;
      this.#shared.set(tenant, reader);
    }
    reader.usedAt = ++this.#clock;
    return reader;
  }

  /** A connection for one caller, to be released. @throws OnewriterError as {@link reader}, BUFFER_FULL */
  lease(tenant: string): Reader {
    const reader = this.#open(tenant);
    this.#leased.add(reader);
    return reader;
  }

  /** Returns a leased connection. */
  release(reader: Reader): void {
    this.#leased.delete(reader);
    reader.close();
  }

  /** Closes the tenant's connection, so that the next read opens the file again. */
  drop(tenant: string): void {
    const reader = this.#shared.get(tenant);
    this.#shared.delete(tenant);
    reader?.close();
  }

  /** Closes all, also those that are leased. Idempotent. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#looks);
    for (const reader of [...this.#shared.values(), ...this.#leased]) reader.close();
    this.#shared.clear();
    this.#leased.clear();
  }

  /** Whether a read of the tenant's connection failed because its file does not count any more; it is closed then. */
  dropReplaced(tenant: string, error: unknown): boolean {
    const reader = this.#shared.get(tenant);
    if (reader === undefined || !isAnswerOfReplaced(error, reader)) return false;
    this.drop(tenant);
    return true;
  }

  /** Runs a read on the tenant's connection; again on the file that counts where it was replaced. @throws as the read */
  current<T>(tenant: string, read: () => T): T {
    for (let reopens = 0; ; reopens++) {
      try {
        return read();
      } catch (error) {
        if (reopens >= MAX_REOPENS || !this.dropReplaced(tenant, error)) throw error;
      }
    }
  }

  #open(tenant: string): Reader {
    if (this.#closed) throw new OnewriterError('CLOSED', 'The client is closed.');
    this.#makeRoom();
    for (let reopens = 0; ; reopens++) {
      const { dataDir, dbFile } = this.#options;
      const file = locateDatabase(dataDir, tenant, dbFile);
      try {
        const reader = new Reader(file, join(dirname(file.path), dbFile), this.#turn);
        this.#shareCache(reader);
        return reader;
      } catch (error) {
        if (isOutOfDescriptors(error)) {
          if (!this.#lowerBound()) throw tooManyOpenFiles(tenant, error);
          continue;
        }
        // It may have been removed, or replaced, since it was found; if it is really gone, that is found now.
        const wasMoved = error instanceof FileReplaced || isGone(error, file.path);
        if (!wasMoved || reopens >= MAX_REOPENS) throw error;
      }
    }
  }

  #makeRoom(): void {
    const bound = this.#bound;
    this.#closeOldest(bound - 1);
    if (this.size < bound) return;
    throw new OnewriterError(
      'BUFFER_FULL',
      `This client has ${this.size} iterations open, its limit is ${bound}; end some.`,
      { retryAfterMs: RETRY_AFTER_MS },
    );
  }

  get #bound(): number {
    const { maxOpenReaders } = this.#options;
    if (this.#lowered === undefined) return maxOpenReaders;
    if (performance.now() < this.#lowered.untilMs) return Math.min(this.#lowered.bound, maxOpenReaders);
    this.#lowered = undefined;
    return maxOpenReaders;
  }

  /** The process may open no more files: closes some and keeps fewer open. @returns false where there are none to close */
  #lowerBound(): boolean {
    if (this.#shared.size === 0) return false;
    this.#closeOldest(Math.min(Math.floor(this.size * (1 - SHARE_CLOSED)), this.size - 1));
    this.#lowered = { bound: this.size + 1, untilMs: performance.now() + LOWER_BOUND_MS };
    return true;
  }

  /**
   * Closes those that were not used for long until `left` are open, or only iterations. A read moves nothing in the list, so
   * the first is put back where it was used since it was put there; that is the order of use, but for the latest.
   */
  #closeOldest(left: number): void {
    for (const [tenant, reader] of this.#shared) {
      if (this.size <= left) return;
      if (reader.usedAt === reader.placedAt) {
        this.drop(tenant);
        continue;
      }
      reader.placedAt = reader.usedAt;
      this.#shared.delete(tenant);
      this.#shared.set(tenant, reader);
    }
  }

  #closeUnused(): void {
    for (const [tenant, { usedAt }] of this.#shared) if (usedAt <= this.#lookedAt) this.drop(tenant);
    this.#lookedAt = this.#clock;
  }

  #shareCache(opened: Reader): void {
    const share = Math.floor(MAX_CACHE_BYTES / (this.size + 1));
    if (share < this.#readerCacheBytes) {
      // Some steps ahead, so that not every open changes all.
      this.#readerCacheBytes = Math.floor(share * 0.8);
      for (const reader of this.#shared.values()) reader.limitCache(this.#readerCacheBytes);
    }
    if (this.#readerCacheBytes < MAX_READER_CACHE_BYTES) opened.limitCache(this.#readerCacheBytes);
  }
}

function isGone(error: unknown, path: string): boolean {
  const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
  return isMissing || (sqliteCodeOf(error)?.startsWith('SQLITE_CANTOPEN') === true && !existsSync(path));
}

/** What a connection to a file that was replaced fails with is in SQLite's words an error of the statement. */
export function isAnswerOfReplaced(error: unknown, reader: Reader): boolean {
  if (error instanceof FileReplaced) return true;
  const code = sqliteCodeOf(error);
  return code !== undefined && !isBusy(error) && reader.isReplaced();
}
