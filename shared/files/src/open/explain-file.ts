import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** What a look at a file's size and first bytes says. */
export interface FileTraits {
  /** Whether it begins as a SQLite database does. */
  readonly isDatabase: boolean;
  /** Why SQLite cannot read it, or not all of it, for a sentence: `it is …`; undefined where nothing shows. */
  readonly trouble: string | undefined;
  /** Whether newer commits may be in a log beside it. */
  readonly isWalMode: boolean;
}

/** Bytes of the header. Source: sqlite.org/fileformat.html, section 1.3. */
const HEADER_BYTES = 100;
const MAGIC = 'SQLite format 3\0';
/** What people take for a database, by its first bytes (as latin1). */
const OTHERS: readonly (readonly [begins: readonly string[] | RegExp, what: string])[] = [
  [['\x1f\x8b'], 'it is compressed with gzip: unpack it first'],
  [['PK\x03\x04', 'BZh', '\xfd7zXZ', '\x28\xb5\x2f\xfd'], 'it is compressed: unpack it first'],
  [
    ['\x37\x7f\x06\x82', '\x37\x7f\x06\x83'],
    'it is a write-ahead log (-wal), and not the database that it belongs to',
  ],
  [['\xd9\xd5\x05\xf9'], 'it is a rollback journal, and not the database that it belongs to'],
  [['\0'.repeat(HEADER_BYTES)], 'its first page is empty: it is damaged'],
  [
    /^(\xef\xbb\xbf)?\s*(--|\/\*|PRAGMA|BEGIN|CREATE|INSERT|DROP)/i,
    'it is SQL text, a dump: onewriter import loads it',
  ],
  [/^\s*[{[]/, 'it is JSON, as the manifest beside a backup is'],
];

/**
 * Looks at a file's size and header. Not for a file that this process has open with SQLite: closing it drops SQLite's locks.
 * @throws Error of the file system
 */
export function explainFile(path: string): FileTraits {
  const stats = statSync(path);
  const none = { isDatabase: false, isWalMode: false };
  if (stats.isDirectory()) return { ...none, trouble: 'it is a directory' };
  if (!stats.isFile()) return { ...none, trouble: 'it is no regular file' };
  if (stats.size === 0) return { ...none, trouble: 'it is empty (0 bytes)' };
  const header = readHeader(path);
  const text = header.toString('latin1');
  if (!text.startsWith(MAGIC)) {
    const known = OTHERS.find(([begins]) =>
      begins instanceof RegExp ? begins.test(text) : begins.some(bytes => text.startsWith(bytes)),
    )?.[1];
    const unknown = 'it is no SQLite database, or an encrypted one, which cannot be read here';
    return { ...none, trouble: known ?? unknown };
  }
  return {
    isDatabase: true,
    isWalMode: header[18] === 2,
    trouble: header.length < HEADER_BYTES ? cutOff(stats.size, HEADER_BYTES) : troubleOf(header, stats.size),
  };
}

function readHeader(path: string): Buffer {
  const file = openSync(path, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    return header.subarray(0, readSync(file, header, 0, HEADER_BYTES, 0));
  } finally {
    closeSync(file);
  }
}

function troubleOf(header: Buffer, size: number): string | undefined {
  if (header[19]! > 2) return 'it is of a newer SQLite, which this one cannot read';
  const pageSize = header.readUInt16BE(16) === 1 ? 65_536 : header.readUInt16BE(16);
  const pages = header.readUInt32BE(28);
  // The number of pages counts where it was written with the last change.
  const counts = pages > 0 && header.readUInt32BE(24) === header.readUInt32BE(92);
  return counts && size < pages * pageSize ? cutOff(size, pages * pageSize) : undefined;
}

function cutOff(size: number, whole: number): string {
  return `it is cut off: ${size} of ${whole} bytes are there`;
}
