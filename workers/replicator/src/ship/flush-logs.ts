import { close, fdatasync, fstat, open } from 'node:fs';
import { promisify } from 'node:util';
import type { WalFile } from '@onewriter/writer';
import type { TenantLine } from './tenant-line.ts';

const openFile = promisify(open);
const statFile = promisify(fstat);
const flushFile = promisify(fdatasync);
const closeFile = promisify(close);

/** Logs that are flushed at the same time. */
const CONCURRENT = 8;
/** A log that is gone was closed, which its writer says soon after, or was put away by others. */
const MAX_TRIES = 3;

/** Flushes the logs of what is to be stored, so that no copy is ahead of the disk. */
export class LogFlushes {
  readonly #failures = new WeakMap<TenantLine, number>();

  /** What could not be flushed stays; after three tries its tenant has to begin again. */
  async flush(lines: Iterable<TenantLine>): Promise<void> {
    const left = [...lines].filter(line => line.unflushed.length > 0);
    const work = async () => {
      for (let line = left.shift(); line !== undefined; line = left.shift()) await this.#flushLine(line);
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENT, left.length) }, work));
  }

  async #flushLine(line: TenantLine): Promise<void> {
    const items = line.unflushed;
    const logs = new Map(
      items.map(({ unflushed }) => [`${unflushed?.path} ${unflushed?.identity}`, unflushed]),
    );
    for (const log of logs.values()) {
      if (log === undefined || (await flushLog(log))) continue;
      const failures = (this.#failures.get(line) ?? 0) + 1;
      this.#failures.set(line, failures);
      if (failures < MAX_TRIES) return;
      this.#failures.delete(line);
      line.dropUnflushed();
      return;
    }
    this.#failures.delete(line);
    for (const item of items) item.unflushed = undefined;
  }
}

/**
 * SQLite locks the database file and its index, never the log: closing a descriptor of it drops no lock.
 * @returns false where it was not flushed: the disk failed, or the path leads to another file, or to none
 */
async function flushLog({ path, identity }: WalFile): Promise<boolean> {
  let fd: number | undefined;
  try {
    // Read-only, as the broker's own flush: file-rescue.ts recognises the writer's connections by their write access.
    fd = await openFile(path, 'r');
    const { dev, ino } = await statFile(fd);
    if (`${dev}:${ino}` !== identity) return false;
    await flushFile(fd);
    return true;
  } catch {
    // The writer meets the same error, and reports it; here the pieces are not stored.
    return false;
  } finally {
    if (fd !== undefined) await closeFile(fd);
  }
}
