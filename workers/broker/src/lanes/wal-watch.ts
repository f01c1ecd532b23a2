import { readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { realDatabasePath, STATUS_TOP, type StatusHeldWal, tenantFile } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { pickLargest } from '../observe/status/pick-largest.ts';

/**
 * A log that no reader holds restarts at 1,000 pages (4 MB) at most. A log of this size either had one large write, after which
 * the writer cuts it at once, or is held by a reader whose transaction does not end; that is reported again each time the log
 * has doubled.
 */
const HELD_BYTES = 16 * 1024 * 1024;
/** By then the writer has cut a log that no reader holds. */
const CONFIRM_MS = 1_500;
/** SQLite's locks of readers in the index of the log. Source: https://www.sqlite.org/walformat.html, section 2.3.1. */
const FIRST_READ_LOCK = 123;
const LAST_READ_LOCK = 127;
/** Characters of a command line in the log. */
const MAX_COMMAND_LENGTH = 120;

/** A process that reads a tenant's file. */
export interface WalReader {
  readonly pid: number;
  /** Its command line, shortened; '' where it is hidden. */
  readonly command: string;
}

/** A log that is held. */
interface HeldWal {
  readonly since: number;
  bytes: number;
  /** The size at which it is reported again. */
  nextBytes: number;
  readers: readonly WalReader[];
  /** It was still large when it was looked at later. */
  confirmed: boolean;
}

/** Notices write-ahead logs that a reader keeps from restarting, and names the reader. */
export class WalWatch {
  readonly #dataDir: string;
  readonly #dbFile: string;
  readonly #log: Logger;
  readonly #held = new Map<string, HeldWal>();
  #refreshing = false;

  constructor(dataDir: string, dbFile: string, log: Logger) {
    this.#dataDir = dataDir;
    this.#dbFile = dbFile;
    this.#log = log;
  }

  /** Tenants whose log is held. */
  get heldTenants(): number {
    let held = 0;
    for (const { confirmed } of this.#held.values()) if (confirmed) held++;
    return held;
  }

  /** The largest of them, with their readers as of the last call: each call refreshes them. */
  held(): readonly StatusHeldWal[] {
    const largest = pickLargest(this.#held, STATUS_TOP, ([, { bytes, confirmed }]) =>
      confirmed ? bytes : 0,
    );
    if (largest.length > 0) void this.#refresh(largest);
    return largest.map(([tenant, { bytes, since, readers }]) => ({ tenant, bytes, since, readers }));
  }

  /** Notes the size of a tenant's log after a batch. */
  observe(tenant: string, walBytes: number): void {
    if (walBytes < HELD_BYTES) {
      if (this.#held.size > 0) this.#free(tenant, walBytes);
      return;
    }
    const held = this.#held.get(tenant);
    if (held !== undefined && walBytes < held.nextBytes) {
      held.bytes = walBytes;
      return;
    }
    const since = held?.since ?? Date.now();
    const { readers = [], confirmed = false } = held ?? {};
    const entry = { since, bytes: walBytes, nextBytes: walBytes * 2, readers, confirmed };
    this.#held.set(tenant, entry);
    if (confirmed) void this.#report(tenant, walBytes);
    else setTimeout(() => this.#confirm(tenant, entry), CONFIRM_MS).unref();
  }

  /** The tenant is closed. */
  forget(tenant: string): void {
    this.#held.delete(tenant);
  }

  #confirm(tenant: string, entry: HeldWal): void {
    if (this.#held.get(tenant) !== entry || !this.#isStillLarge(tenant)) return;
    entry.confirmed = true;
    void this.#report(tenant, entry.bytes);
  }

  /** Asks the file: the writer also cuts it when the tenant has no more writes. */
  #isStillLarge(tenant: string): boolean {
    const path = realDatabasePath(tenantFile(this.#dataDir, tenant, this.#dbFile));
    const size = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (size >= HELD_BYTES) return true;
    this.#free(tenant, size);
    return false;
  }

  #free(tenant: string, walBytes: number): void {
    const held = this.#held.get(tenant);
    this.#held.delete(tenant);
    if (held?.confirmed) this.#log.info({ tenant, walBytes }, 'The write-ahead log is not held any more');
  }

  async #report(tenant: string, walBytes: number): Promise<void> {
    const readers = await this.#findReaders(tenant);
    const held = this.#held.get(tenant);
    if (held !== undefined) held.readers = readers;
    this.#log.warn(
      { tenant, walBytes, readers },
      'A reader keeps the write-ahead log from restarting: it grows until that reader ends its transaction',
    );
  }

  async #refresh(entries: readonly (readonly [string, HeldWal])[]): Promise<void> {
    if (this.#refreshing) return;
    this.#refreshing = true;
    for (const [tenant, held] of entries) {
      if (this.#isStillLarge(tenant)) held.readers = await this.#findReaders(tenant);
    }
    this.#refreshing = false;
  }

  async #findReaders(tenant: string): Promise<readonly WalReader[]> {
    try {
      return await findWalReaders(realDatabasePath(tenantFile(this.#dataDir, tenant, this.#dbFile)));
    } catch (error) {
      this.#log.debug({ err: error, tenant }, 'Cannot find out who reads the file');
      return [];
    }
  }
}

/**
 * The processes, other than this one, that hold a reader's lock on a database, from /proc/locks.
 * @param path of the database file. @throws Error where there is no /proc/locks or no such file.
 */
export async function findWalReaders(path: string): Promise<readonly WalReader[]> {
  const { dev, ino } = statSync(`${path}-shm`);
  const locks = await readFile('/proc/locks', 'utf8');
  const pids = new Set<number>();
  for (const line of locks.split('\n')) {
    // 1: POSIX  ADVISORY  READ 4711 fe:00:131 123 123
    const fields = line.trim().split(/\s+/);
    const [major, minor, inode] = (fields[5] ?? '').split(':');
    if (Number(inode) !== ino || toDevice(major, minor) !== dev) continue;
    const pid = Number(fields[4]);
    const from = Number(fields[6]);
    if (pid > 0 && pid !== process.pid && from >= FIRST_READ_LOCK && from <= LAST_READ_LOCK) pids.add(pid);
  }
  return Array.from(pids, pid => ({ pid, command: commandOf(pid) }));
}

/** A device number as stat gives it. Source: gnu_dev_makedev(3). */
function toDevice(major = '', minor = ''): number {
  const high = Number.parseInt(major, 16);
  const low = Number.parseInt(minor, 16);
  return (high & 0xfff) * 256 + (low & 0xff) + (low & 0xfff00) * 0x1000;
}

function commandOf(pid: number): string {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return command.slice(0, MAX_COMMAND_LENGTH);
  } catch {
    return ''; // it ended, or is another user's
  }
}
