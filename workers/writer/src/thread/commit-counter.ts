import { openSync, readFileSync, readSync } from 'node:fs';
import { isOutOfDescriptors } from '@onewriter/protocol';

/** Where the header of a log's index counts the commits of all connections. Source: walformat.html, section 2.1, iChange. */
const COUNTER_OFFSET = 8;
const COUNTER_BYTES = 4;
const COUNTERS = 2 ** 32;

/** The memory of this process, opened once per thread. */
let memory: number | undefined;
const word = Buffer.alloc(COUNTER_BYTES);
const value = new Uint32Array(word.buffer, word.byteOffset, 1);

/**
 * Reads how many commits there were, from the index of a log that SQLite has mapped into memory. (Its file must not be opened:
 * closing it would drop SQLite's locks.) Only while the connection is open.
 */
export class CommitCounter {
  readonly #address: number;

  private constructor(address: number) {
    this.#address = address;
  }

  /**
   * @param mappings as of {@link readMappings}
   * @param inode of the index
   * @returns undefined where the process has no such index in memory, or cannot read it
   */
  static find(mappings: Mappings, inode: string): CommitCounter | undefined {
    const address = mappings.get(inode);
    if (address === undefined) return undefined;
    const counter = new CommitCounter(address);
    try {
      counter.read();
      return counter;
    } catch (error) {
      if (isOutOfDescriptors(error)) throw error;
      return undefined; // a hardened kernel lets no process read its own memory like this
    }
  }

  /** @throws Error of the file system where the memory cannot be read */
  read(): number {
    memory ??= openSync('/proc/self/mem', 'r');
    readSync(memory, word, 0, COUNTER_BYTES, this.#address + COUNTER_OFFSET);
    return value[0]!;
  }
}

/** Commits between two readings; undefined where the index was rebuilt in between, which restarts at 0. */
export function commitsBetween(then: number, now: number): number | undefined {
  const commits = (now - then + COUNTERS) % COUNTERS;
  return commits < COUNTERS / 2 ? commits : undefined;
}

/** Start addresses of indexes, by inode. */
export type Mappings = ReadonlyMap<string, number>;

/** `7f4cca82e000-7f4cca836000 rw-s 00000000 fe:00 2146843   /data/tenants/acme/tenant.db-shm`. Source: proc_pid_maps(5). */
const INDEX = /^([0-9a-f]+)-\S+ \S+ 0+ \S+ (\d+) .*-shm$/gm;

/** The indexes that this process has in memory: takes some ms where thousands of tenants are open. */
export function readMappings(): Mappings {
  const mappings = new Map<string, number>();
  for (const [, address = '', inode = ''] of readFileSync('/proc/self/maps', 'utf8').matchAll(INDEX)) {
    mappings.set(inode, Number.parseInt(address, 16));
  }
  return mappings;
}
