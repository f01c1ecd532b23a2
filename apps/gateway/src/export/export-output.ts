import { writeSync } from 'node:fs';
import type { SnapshotIndex } from '@onewriter/protocol';

const STDOUT = 1;
/** Text that is gathered before it is written. */
const FLUSH_CHARACTERS = 64 * 1024;

/** Standard output of the exporting process. Writing blocks while the reader is slow, so memory stays bounded. */
export class ExportOutput {
  /** Rows that were counted by the writers of the formats. */
  rows = 0;
  /** Bytes written so far. */
  bytes = 0;
  #pending = '';
  #assertKept = () => {};

  /** What is written from now on was read with this snapshot. */
  guard(index: SnapshotIndex, tenant: string): void {
    this.#assertKept = () => index.assertKept(tenant);
  }

  write(text: string): void {
    this.#pending += text;
    if (this.#pending.length >= FLUSH_CHARACTERS) this.flush();
  }

  /** @throws OnewriterError SNAPSHOT_ENDED; what was to be written may be of another state, and is dropped */
  flush(): void {
    const bytes = Buffer.from(this.#pending, 'utf8');
    this.#pending = '';
    this.#assertKept();
    this.writeBytes(bytes);
  }

  /** Writes what says that an export is whole. @throws as {@link flush} */
  end(text = ''): void {
    this.flush();
    this.#assertKept = () => {};
    this.write(text);
    this.flush();
  }

  /** Writes what says that an export is not whole. */
  fail(text: string): void {
    this.#assertKept = () => {};
    this.write(text);
    this.flush();
  }

  writeBytes(bytes: Uint8Array): void {
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(STDOUT, bytes, written, bytes.length - written);
    }
    this.bytes += bytes.length;
  }
}
