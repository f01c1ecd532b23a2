import { closeSync, mkdirSync, openSync, rmSync, writevSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { isSystemError } from '../batch/sqlite-errors.ts';
import type { CaptureMessage } from '../capture/capture-messages.ts';
import { encodeRecord, newMark } from './spool-records.ts';

/** A file of this size, or of this part of the bound, is followed by another one. */
const FILE_BYTES = 8 * 1024 * 1024;
const FILE_PART = 4;

/** What is written to one file. */
interface SpoolFile {
  readonly path: string;
  readonly mark: Buffer;
  /** Of its records. */
  end: number;
  /** On the disk: more than its records where it is written over. */
  bytes: number;
  /** Numbers of its first message, and of its last. */
  readonly first: bigint;
  last: bigint;
}

/** Dependencies of {@link CaptureSpool}. */
export interface CaptureSpoolOptions {
  /** Of its room; made with the first message. */
  readonly folder: string;
  readonly maxBytes: number;
  /** It cannot be written: until the next request a killed process loses what was captured. */
  readonly onFailed: (error: Error) => void;
}

/**
 * Keeps what one thread has captured until it is stored, so that the next process has it although the logs were overwritten. Nothing is
 * flushed: what was written outlives the process, and after a power cut nothing of it is believed. Files whose messages are
 * stored are written over, because the system has memory for them already; what is left of them at the next request is removed.
 *
 * At its bound it gives up its oldest file, and where the disk fails all that it has: then a kill may be a gap in the history of
 * a busy tenant. A write is never refused for it.
 */
export class CaptureSpool {
  readonly #options: CaptureSpoolOptions;
  readonly #fileBytes: number;
  /** The oldest first; the last one is written to where `#file` is set. */
  readonly #files: SpoolFile[] = [];
  #file: number | undefined;
  /** All that these have is stored. */
  #spare: SpoolFile[] = [];
  #count = 0;
  #hasFailed = false;

  constructor(options: CaptureSpoolOptions) {
    this.#options = options;
    this.#fileBytes = Math.min(FILE_BYTES, options.maxBytes / FILE_PART);
  }

  /** Before the message is sent: its frames are transferred then. */
  append(message: CaptureMessage): void {
    if (!this.#hasFailed) this.#try(() => this.#append(message));
  }

  /** Messages up to this number are stored, or of no use. */
  cut(done: bigint): void {
    this.#hasFailed = false;
    this.#try(() => {
      // What follows has a file of its own, so that this one is of no use soon. While nothing is stored, files are not many but large.
      if (this.#file !== undefined && this.#files.at(-1)!.first <= done) this.close();
      const kept = this.#files.findIndex(({ last }) => last > done);
      const unused = this.#spare;
      this.#spare = this.#files.splice(0, kept === -1 ? this.#files.length : kept);
      unused.forEach(remove);
    });
  }

  /** What it has stays. Idempotent. */
  close(): void {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined) closeSync(file);
  }

  #append(message: CaptureMessage): void {
    const file = this.#current(message);
    const record = encodeRecord(message, file.mark);
    const end = file.end + record.reduce((sum, part) => sum + part.byteLength, 0);
    this.#makeRoom(end - file.bytes);
    const written = writevSync(this.#file!, record, file.end);
    if (file.end + written < end) {
      // The rest has no room. What follows would not be found behind it.
      this.#giveUp(new Error('The disk is full.'));
      return;
    }
    file.end = end;
    file.bytes = Math.max(file.bytes, end);
    file.last = message.order;
    if (end >= this.#fileBytes) this.close();
  }

  #try(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#giveUp(error);
    }
  }

  /** Until the next request; the room on the disk is for the tenants' files. */
  #giveUp(error: Error): void {
    this.#hasFailed = true;
    const files = [...this.#spare.splice(0), ...this.#files.splice(0)];
    for (const release of [() => this.close(), ...files.map(file => () => remove(file))]) {
      try {
        release();
      } catch {
        // The disk fails, which is reported below. The next process finds what could not be removed.
      }
    }
    this.#options.onFailed(error);
  }

  /** The file that is written to; with this message it begins another one if there is none. */
  #current({ order }: CaptureMessage): SpoolFile {
    if (this.#file !== undefined) return this.#files.at(-1)!;
    const spare = this.#spare.pop();
    const { path, bytes } = spare ?? { path: this.#newPath(), bytes: 0 };
    this.#file = openSync(path, spare === undefined ? 'wx' : 'r+', 0o600);
    const file = { path, mark: newMark(), end: 0, bytes, first: order, last: order };
    this.#files.push(file);
    return file;
  }

  #newPath(): string {
    const { folder } = this.#options;
    if (this.#count === 0) {
      // Others may read what else is in `replica`.
      mkdirSync(dirname(folder), { recursive: true });
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    return join(folder, `${threadId}-${this.#count++}`);
  }

  /** So that files may grow by this; the one that is written to stays. */
  #makeRoom(bytes: number): void {
    const { maxBytes } = this.#options;
    while ([...this.#spare, ...this.#files].reduce((sum, file) => sum + file.bytes, bytes) > maxBytes) {
      const oldest = this.#spare.shift() ?? (this.#files.length > 1 ? this.#files.shift() : undefined);
      if (oldest === undefined) return;
      remove(oldest);
    }
  }
}

function remove({ path }: SpoolFile): void {
  rmSync(path, { force: true });
}
