import { createHash } from 'node:crypto';
import type { SourceValue } from './column-value.ts';

/**
 * A hash of a table's content, fed row by row. Each value is encoded with its type and length, so that neither
 * null and '', nor 1 and '1', nor ('a', 'b') and ('ab', '') can have the same hash:
 *
 *   n                          null
 *   d <8 bytes, big endian>    number, as IEEE 754 double
 *   t <length, 4 bytes> UTF-8  text
 *   ;                          end of a row
 */
export class ContentHash {
  readonly #hash = createHash('sha256');
  rows = 0;

  add(row: readonly SourceValue[]): void {
    for (const value of row) this.#hash.update(encode(value));
    this.#hash.update(';');
    this.rows++;
  }

  /** Hexadecimal SHA-256 of the rows so far. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }
}

function encode(value: SourceValue): Buffer {
  if (value === null) return Buffer.from('n');
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(9, 'd');
    bytes.writeDoubleBE(value, 1);
    return bytes;
  }
  const text = Buffer.from(value, 'utf8');
  const bytes = Buffer.alloc(5, 't');
  bytes.writeUInt32BE(text.length, 1);
  return Buffer.concat([bytes, text]);
}
