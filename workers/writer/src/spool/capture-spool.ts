import { closeSync, mkdirSync, openSync, rmSync, writevSync } from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { isSystemError } from '../batch/sqlite-errors.ts';
import type { CaptureMessage } from '../capture/capture-messages.ts';
import { encodeRecord } from './spool-records.ts';

/** A file of this size is followed by another one; whole files are removed. */
const FILE_BYTES = 8 * 1024 * 1024;

/** What is written to one file. */
interface SpoolFile {
  readonly path: string;
  bytes: number;
  /** Number of its last message. */
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
 * flushed: what was written outlives the process, and after a power cut nothing of it is believed.
 *
 * At its bound it gives up its oldest file, and where the disk fails all that it has: then a kill may be a gap in the history of
 * a busy tenant. A write is never refused for it.
 */
export class CaptureSpool {
  readonly #options: CaptureSpoolOptions;
  /** The oldest first; the last one is written to where `#file` is set. */
  readonly #files: SpoolFile[] = [];
  #file: number | undefined;
  #bytes = 0;
  #count = 0;
  #hasFailed = false;

  constructor(options: CaptureSpoolOptions) {
    this.#options = options;
  }

  /** Before the message is sent: its frames are transferred then. */
  append(message: CaptureMessage): void {
    if (!this.#hasFailed) this.#try(() => this.#append(message));
  }

  /** Messages up to this number are stored, or of no use. */
  cut(done: bigint): void {
    this.#hasFailed = false;
    const kept = this.#files.findIndex(({ last }) => last > done);
    this.#try(() => this.#drop(kept === -1 ? this.#files.length : kept));
  }

  /** What it has stays. Idempotent. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #append(message: CaptureMessage): void {
    const record = encodeRecord(message);
    const bytes = record.reduce((sum, part) => sum + part.byteLength, 0);
    while (this.#files.length > 0 && this.#bytes + bytes > this.#options.maxBytes) this.#drop(1);
    const file = this.#current();
    const written = writevSync(this.#file!, record);
    file.bytes += written;
    file.last = message.order;
    this.#bytes += written;
    // The rest has no room. What follows would not be found behind it.
    if (written < bytes) this.#giveUp(new Error('The disk is full.'));
    if (file.bytes >= FILE_BYTES) this.close();
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
    this.close();
    for (const { path } of this.#files.splice(0)) {
      try {
        rmSync(path, { force: true });
      } catch {
        // The disk fails, which is reported below. The next process finds what could not be removed.
      }
    }
    this.#bytes = 0;
    this.#options.onFailed(error);
  }

  /** The file that is written to. */
  #current(): SpoolFile {
    if (this.#file !== undefined) return this.#files.at(-1)!;
    const { folder } = this.#options;
    if (this.#count === 0) mkdirSync(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, `${threadId}-${this.#count++}`);
    this.#file = openSync(path, 'wx', 0o600);
    const file = { path, bytes: 0, last: 0n };
    this.#files.push(file);
    return file;
  }

  /** Removes the oldest files. */
  #drop(count: number): void {
    if (count > 0 && count === this.#files.length) this.close();
    for (const { path, bytes } of this.#files.splice(0, count)) {
      this.#bytes -= bytes;
      rmSync(path, { force: true });
    }
  }
}
