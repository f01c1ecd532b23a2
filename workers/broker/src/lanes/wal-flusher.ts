import assert from 'node:assert/strict';
import { close, fdatasync, fstat, open } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isOutOfDescriptors } from '@onewriter/protocol';
import type { RefusedOutcome, WalFile } from '@onewriter/writer';

/*
 * A commit of one tenant costs a flush; commits of many tenants at the same time need not flush one after the other. Where
 * several tenants wait for a thread, it commits without flushing, and their WALs are flushed here, all at once: the disk merges
 * the flushes. No caller is answered before. Why this keeps the promise of `synchronous=FULL`: README.md.
 */

const openFile = promisify(open);
const statFile = promisify(fstat);
const flushFile = promisify(fdatasync);
const closeFile = promisify(close);

/** Tries to open a log where descriptors have run out; each try closes others first, or waits for those in use. */
const MAX_TRIES = 20;
const TRY_AFTER_MS = 50;

interface OpenLog {
  readonly opened: Promise<{ readonly fd: number; readonly identity: string }>;
  /** Flushes under way, also those that wait for the log to open: it is not closed before they end. */
  users: number;
  /** The map no longer has it; the last user closes it. */
  evicted: boolean;
}

/**
 * Flushes write-ahead logs through descriptors of its own. SQLite locks the database file and its index, never the WAL,
 * so that closing a descriptor of the WAL drops no lock.
 */
export class WalFlusher {
  readonly #maxOpen: () => number;
  readonly #open = new Map<string, OpenLog>();

  /** @param maxOpen descriptors that may be kept now; the least recently used is closed. */
  constructor(maxOpen: () => number) {
    this.#maxOpen = maxOpen;
  }

  /** Closes logs beyond the bound, which changes as tenants are opened and closed. */
  trim(): void {
    const bound = this.#maxOpen();
    for (const [path, oldest] of this.#open) {
      if (this.#open.size <= bound) break;
      this.#evict(path, oldest);
    }
  }

  /**
   * Resolves when all that is in the file is on the disk.
   * @throws Error of the file system, or where the path now leads to another file: then the result is unknown.
   */
  async flush({ path, identity }: WalFile): Promise<void> {
    const { log, fd } = await this.#acquire(path, identity);
    try {
      await flushFile(fd);
    } catch (error) {
      this.#evict(path, log);
      throw error;
    } finally {
      this.#release(log);
    }
  }

  /** Closes all descriptors that are not in use. */
  close(): void {
    for (const [path, log] of [...this.#open]) this.#evict(path, log);
  }

  /** Call {@link #release} when the flush has ended. */
  async #acquire(path: string, identity: string): Promise<{ readonly log: OpenLog; readonly fd: number }> {
    for (;;) {
      const known = this.#open.get(path);
      const log = known ?? { opened: this.#openLog(path, identity), users: 0, evicted: false };
      // The most recently used comes last. It counts as used before it is awaited, so that others do not close it meanwhile.
      this.#open.delete(path);
      this.#open.set(path, log);
      log.users++;
      this.trim();
      try {
        const file = await log.opened;
        if (file.identity === identity) return { log, fd: file.fd };
      } catch (error) {
        this.#evict(path, log);
        this.#release(log);
        if (log !== known) throw error;
        continue;
      }
      // The log belongs to the file that was there before.
      this.#evict(path, log);
      this.#release(log);
    }
  }

  async #openLog(path: string, identity: string): Promise<{ fd: number; identity: string }> {
    const fd = await this.#openWithRoom(path);
    const { dev, ino } = await statFile(fd);
    if (`${dev}:${ino}` !== identity) {
      await closeFile(fd);
      throw new Error(`${path} is not the file that was written.`);
    }
    return { fd, identity };
  }

  /** Where the process may open no more files, half of the logs are closed until it can. */
  async #openWithRoom(path: string): Promise<number> {
    for (let tries = 1; ; tries++) {
      try {
        // Read-only: file-rescue.ts recognises the writer's connections by their write access.
        return await openFile(path, 'r');
      } catch (error) {
        if (!isOutOfDescriptors(error) || tries >= MAX_TRIES) throw error;
        const half = this.#open.size / 2;
        for (const [other, oldest] of this.#open) {
          if (this.#open.size <= half) break;
          // The log that is being opened stays, so that others wait for it instead of opening it again.
          if (other !== path) this.#evict(other, oldest);
        }
        // Flushes that are under way end, and the threads close files.
        if (tries > 1) await pause(TRY_AFTER_MS);
      }
    }
  }

  #evict(path: string, log: OpenLog): void {
    if (log.evicted) return;
    log.evicted = true;
    this.#open.delete(path);
    if (log.users === 0) void this.#closeLog(log);
  }

  #release(log: OpenLog): void {
    log.users--;
    assert(log.users >= 0, 'A log was released more often than it was acquired.');
    if (log.users === 0 && log.evicted) void this.#closeLog(log);
  }

  /** Once for each log: its number may belong to another file after the first close. */
  async #closeLog(log: OpenLog): Promise<void> {
    try {
      await closeFile((await log.opened).fd);
    } catch {
      // If it could not be opened, its users got the error. For a log that is no longer used no result matters.
    }
  }
}

/**
 * The outcome of a batch whose log could not be flushed. As after a COMMIT that failed: the file is opened again, and its ledger
 * asked.
 */
export function notFlushed({ message }: Error): RefusedOutcome {
  return {
    kind: 'refused',
    error: {
      code: 'DATABASE_IO_ERROR',
      message: `The write-ahead log could not be flushed: ${message}`,
    },
    uncertain: true,
    begun: true,
    evicted: [],
  };
}
