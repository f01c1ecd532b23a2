import { closeSync, constants, fstatSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';

/** A WAL with fewer bytes written is left alone: most tenants never write more before they are closed. */
const MIN_USED_BYTES = 128 * 1024;
/** The WAL grows when less than this is left of it. */
const MIN_LEFT_BYTES = 64 * 1024;
const MIN_STEP_BYTES = 256 * 1024;
/** After 1,000 pages at most it is written back and overwritten. */
const MAX_BYTES = 5 * 1024 * 1024;

/**
 * Makes room in the write-ahead log ahead of use. Flushing a commit that makes the file longer costs about twice as much as
 * flushing one that overwrites (ext4: 217 and 118 us, `test/bench/README.md`), because the file system has to write
 * the new length, too. So the log of a tenant that writes much is made longer in large steps, with zeros. SQLite
 * treats them as the rest of an older log: a frame counts only with the salt and checksum of its log.
 * Source: https://www.sqlite.org/fileformat2.html, section 4.
 */
export class WalSpace {
  readonly #path: string;
  #size = 0;
  #gaveUp = false;

  /** @param path of the -wal file, which must not be replaced while this is used. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Whether {@link extend} is worth calling. @param usedBytes of the log since it restarted. */
  isScarce(usedBytes: number): boolean {
    if (this.#gaveUp || usedBytes < MIN_USED_BYTES) return false;
    if (usedBytes + MIN_LEFT_BYTES > this.#size) this.#size = this.#look();
    return usedBytes + MIN_LEFT_BYTES > this.#size && this.#size < MAX_BYTES;
  }

  /**
   * Makes the file longer: twice as long, by 256 KiB at least. Only ever appends (O_APPEND: the kernel finds the end), so
   * that no commit since {@link isScarce} is overwritten, whichever process made it. SQLite locks the
   * database and the index, not this file, so that opening and closing it here drops no lock. Without disk space it gives up
   * for good: it affects only speed.
   */
  extend(): void {
    let file: number | undefined;
    try {
      file = openSync(this.#path, constants.O_WRONLY | constants.O_APPEND);
      const { size } = fstatSync(file);
      const step = Math.min(Math.max(size, MIN_STEP_BYTES), MAX_BYTES - size);
      if (step > 0) {
        writeSync(file, Buffer.alloc(step));
        fsyncSync(file);
      }
      this.#size = size + Math.max(step, 0);
    } catch {
      this.#gaveUp = true;
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  /** The file was cut: its size is read again. */
  noteCut(): void {
    this.#size = 0;
  }

  #look(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? Number.POSITIVE_INFINITY;
  }
}
