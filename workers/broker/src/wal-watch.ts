import { readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tenantFile } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';

/**
 * A log that nobody holds is begun anew at about 1,000 pages (4 MB). One of this size is held by a reader whose
 * transaction does not end; it is told again each time the log has doubled.
 */
const HELD_BYTES = 16 * 1024 * 1024;
/** SQLite's locks of readers in the index of the log. Source: https://www.sqlite.org/walformat.html, section 2.3.1. */
const FIRST_READ_LOCK = 123;
const LAST_READ_LOCK = 127;
/** Of a command line in the log. */
const MAX_COMMAND_LENGTH = 120;

/** A process that reads a tenant's file. */
export interface WalReader {
  readonly pid: number;
  /** Its command line, shortened; '' where it is hidden. */
  readonly command: string;
}

/** Notices write-ahead logs that a reader keeps from being begun anew, and names the reader. */
export class WalWatch {
  readonly #dataDir: string;
  readonly #dbFile: string;
  readonly #log: Logger;
  /** Tenant to the size at which its log is told again. */
  readonly #held = new Map<string, { bytes: number; nextBytes: number }>();

  constructor(dataDir: string, dbFile: string, log: Logger) {
    this.#dataDir = dataDir;
    this.#dbFile = dbFile;
    this.#log = log;
  }

  /** Tenants whose log is held. */
  get heldTenants(): number {
    return this.#held.size;
  }

  /** Size of the largest of them; 0 where there is none. */
  get largestBytes(): number {
    let largest = 0;
    for (const { bytes } of this.#held.values()) largest = Math.max(largest, bytes);
    return largest;
  }

  /** Takes the size of a tenant's log after a batch. */
  observe(tenant: string, walBytes: number): void {
    if (walBytes < HELD_BYTES) {
      if (this.#held.size > 0 && this.#held.delete(tenant)) {
        this.#log.info({ tenant, walBytes }, 'The write-ahead log is not held any more');
      }
      return;
    }
    const held = this.#held.get(tenant);
    if (held !== undefined && walBytes < held.nextBytes) {
      held.bytes = walBytes;
      return;
    }
    this.#held.set(tenant, { bytes: walBytes, nextBytes: walBytes * 2 });
    void this.#tell(tenant, walBytes);
  }

  /** The tenant is closed. */
  forget(tenant: string): void {
    this.#held.delete(tenant);
  }

  async #tell(tenant: string, walBytes: number): Promise<void> {
    let readers: readonly WalReader[] = [];
    try {
      readers = await findWalReaders(tenantFile(this.#dataDir, tenant, this.#dbFile));
    } catch (error) {
      this.#log.debug({ err: error, tenant }, 'Who reads the file cannot be told here');
    }
    this.#log.warn(
      { tenant, walBytes, readers },
      'A reader keeps the write-ahead log from being begun anew: it grows until that reader ends its transaction',
    );
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
