import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { OnewriterError, tenantFile, tenantsDir } from '@onewriter/protocol';
import { Reader } from './reader.ts';
import { toReadError } from './sqlite-errors.ts';

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

/** How often it is looked whether a file in use is still the one that was opened. */
const CHECK_FILES_EVERY_MS = 500;

/**
 * Read-only connections, at most `maxOpenReaders`, the least recently used is closed. A tenant has one for reads
 * that are done at once; a read that goes on (iterate) has one of its own meanwhile, because everything on a
 * connection sees the state of the database as of its oldest open read.
 */
export class ReadPool {
  readonly #options: ReadPoolOptions;
  readonly #shared = new Map<string, Reader>();
  readonly #leased = new Set<Reader>();
  #clock = 0;
  #readerCacheBytes = MAX_READER_CACHE_BYTES;
  #closed = false;
  /** Counts the periods of {@link CHECK_FILES_EVERY_MS}. */
  #period = 0;
  readonly #periods: NodeJS.Timeout;
  #turn = 0;
  #turnEnds = false;
  readonly #endTurn = () => {
    this.#turnEnds = false;
    this.#turn++;
  };

  constructor(options: ReadPoolOptions) {
    this.#options = options;
    this.#periods = setInterval(() => this.#period++, CHECK_FILES_EVERY_MS).unref();
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
   * @throws OnewriterError CLOSED, TENANT_NOT_FOUND, TENANT_UNAVAILABLE, DATABASE_…
   */
  reader(tenant: string): Reader {
    let reader = this.#shared.get(tenant);
    if (reader?.isStale(this.#period)) {
      this.drop(tenant);
      reader = undefined;
    }
    if (reader === undefined) {
      reader = this.#open(tenant);
      this.#shared.set(tenant, reader);
    }
    reader.usedAt = ++this.#clock;
    return reader;
  }

  /** A connection of the caller's own; give it back. @throws OnewriterError as {@link reader}, BUFFER_FULL */
  lease(tenant: string): Reader {
    const reader = this.#open(tenant);
    this.#leased.add(reader);
    return reader;
  }

  /** Takes a leased connection back. */
  release(reader: Reader): void {
    this.#leased.delete(reader);
    reader.close();
  }

  /** Closes the tenant's connection, so that the next read opens the file anew. */
  drop(tenant: string): void {
    const reader = this.#shared.get(tenant);
    this.#shared.delete(tenant);
    reader?.close();
  }

  /** Closes all, also those that are leased. Idempotent. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#periods);
    for (const reader of [...this.#shared.values(), ...this.#leased]) reader.close();
    this.#shared.clear();
    this.#leased.clear();
  }

  #open(tenant: string): Reader {
    if (this.#closed) throw new OnewriterError('CLOSED', 'The client is closed.');
    this.#makeRoom();
    try {
      const reader = new Reader(this.#locate(tenant), this.#period);
      this.#shareCache(reader);
      return reader;
    } catch (error) {
      throw isMissing(error) ? notFound(tenant) : toReadError(error, tenant);
    }
  }

  /** The path of the tenant's file, which is really there: a link could lead to another tenant's. */
  #locate(tenant: string): string {
    const { dataDir, dbFile } = this.#options;
    const file = tenantFile(dataDir, tenant, dbFile);
    const expected = join(realpathSync(tenantsDir(dataDir)), tenant, dbFile);
    if (realpathSync(file) === expected) return expected;
    throw new OnewriterError('TENANT_UNAVAILABLE', "The tenant's folder or file is a symbolic link.", {
      tenant,
      reason: 'symbolic link',
    });
  }

  #makeRoom(): void {
    if (this.size < this.#options.maxOpenReaders) return;
    let oldest: string | undefined;
    let usedAt = Number.POSITIVE_INFINITY;
    for (const [tenant, reader] of this.#shared) {
      if (reader.usedAt >= usedAt) continue;
      oldest = tenant;
      usedAt = reader.usedAt;
    }
    if (oldest === undefined) {
      throw new OnewriterError(
        'BUFFER_FULL',
        `This client has ${this.size} iterations open, its limit is ${this.#options.maxOpenReaders}; end some.`,
        { retryAfterMs: RETRY_AFTER_MS },
      );
    }
    this.drop(oldest);
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

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function notFound(tenant: string): OnewriterError {
  return new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
}
