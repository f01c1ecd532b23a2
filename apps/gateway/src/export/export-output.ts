import { writeSync } from 'node:fs';

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

  write(text: string): void {
    this.#pending += text;
    if (this.#pending.length >= FLUSH_CHARACTERS) this.flush();
  }

  flush(): void {
    const bytes = Buffer.from(this.#pending, 'utf8');
    this.#pending = '';
    this.writeBytes(bytes);
  }

  writeBytes(bytes: Uint8Array): void {
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(STDOUT, bytes, written, bytes.length - written);
    }
    this.bytes += bytes.length;
  }
}
