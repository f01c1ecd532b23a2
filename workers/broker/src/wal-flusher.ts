import { close, fdatasync, fstat, open } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isOutOfDescriptors } from '@onewriter/protocol';
import type { WalFile } from '@onewriter/writer';

/*
 * A commit of one tenant costs a flush; those of many tenants at the same time need not cost one each after the other.
 * Where several tenants wait for a thread, it commits without flushing, and their WALs are flushed here, all at once: the
 * disk merges them. Nobody is told before that. Why this keeps what `synchronous=FULL` promises: DESIGN.md.
 */

const openFile = promisify(open);
const statFile = promisify(fstat);
const flushFile = promisify(fdatasync);
const closeFile = promisify(close);

/** Tries to open a log where descriptors have run out; each closes others first, or waits for those in use. */
const MAX_TRIES = 20;
const TRY_AFTER_MS = 50;

interface OpenWal {
  readonly fd: number;
  readonly identity: string;
  /** Flushes under way; it is not closed before they end. */
  users: number;
  evicted: boolean;
}

/**
 * Flushes write-ahead logs through descriptors of its own. SQLite locks the database file and its index, never the WAL,
 * so that closing a descriptor of the WAL drops no lock.
 */
export class WalFlusher {
  readonly #maxOpen: () => number;
  readonly #open = new Map<string, Promise<OpenWal>>();

  /** @param maxOpen descriptors that may be kept now; the least recently used is closed. */
  constructor(maxOpen: () => number) {
    this.#maxOpen = maxOpen;
  }

  /** Closes what is beyond the bound, which changes as tenants are opened and closed. */
  trim(): void {
    const bound = this.#maxOpen();
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= bound) break;
      this.#forget(oldest);
    }
  }

  /**
   * Resolves when all that is in the file is on the disk.
   * @throws Error of the file system, or where the path leads to another file by now: then nothing is known.
   */
  async flush({ path, identity }: WalFile): Promise<void> {
    const wal = await this.#acquire(path, identity);
    try {
      await flushFile(wal.fd);
    } catch (error) {
      this.#forget(path);
      throw error;
    } finally {
      wal.users--;
      if (wal.evicted) this.#closeUnused(wal);
    }
  }

  /** Closes all descriptors that are not in use. */
  close(): void {
    for (const path of [...this.#open.keys()]) this.#forget(path);
  }

  async #acquire(path: string, identity: string): Promise<OpenWal> {
    let opening = this.#open.get(path);
    this.#open.delete(path);
    if (opening !== undefined) {
      const wal = await opening.catch(() => undefined);
      if (wal?.identity !== identity) {
        if (wal !== undefined) this.#evict(wal);
        opening = undefined;
      }
    }
    opening ??= this.#openWal(path, identity);
    this.#open.set(path, opening);
    this.trim();
    const wal = await opening;
    wal.users++;
    return wal;
  }

  async #openWal(path: string, identity: string): Promise<OpenWal> {
    const fd = await this.#openWithRoom(path);
    const { dev, ino } = await statFile(fd);
    if (`${dev}:${ino}` !== identity) {
      await closeFile(fd);
      throw new Error(`${path} is not the file that was written.`);
    }
    return { fd, identity, users: 0, evicted: false };
  }

  /** Where the process may open no more files, half of the logs are closed until it can. */
  async #openWithRoom(path: string): Promise<number> {
    for (let tries = 1; ; tries++) {
      try {
        // Not to write: by that the writer tells its connections from this (file-rescue.ts).
        return await openFile(path, 'r');
      } catch (error) {
        if (!isOutOfDescriptors(error) || tries >= MAX_TRIES) throw error;
        const half = this.#open.size / 2;
        for (const oldest of this.#open.keys()) {
          if (this.#open.size <= half) break;
          // The one that is being opened stays, so that others wait for it instead of opening it again.
          if (oldest !== path) this.#forget(oldest);
        }
        // Flushes that are under way end, and the threads close files.
        if (tries > 1) await pause(TRY_AFTER_MS);
      }
    }
  }

  #forget(path: string): void {
    const opening = this.#open.get(path);
    this.#open.delete(path);
    // One that could not be opened has told its caller.
    opening?.then(wal => this.#evict(wal)).catch(() => {});
  }

  #evict(wal: OpenWal): void {
    wal.evicted = true;
    this.#closeUnused(wal);
  }

  #closeUnused(wal: OpenWal): void {
    if (wal.users > 0) return;
    // Closing a descriptor that is not used any more has no result that matters.
    closeFile(wal.fd).catch(() => {});
  }
}
