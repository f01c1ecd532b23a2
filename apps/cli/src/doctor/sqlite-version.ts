import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Before this a race at the reset of the write-ahead log could damage databases. Source: sqlite.org/releaselog */
export const OLDEST_SAFE_SQLITE = '3.51.3';

/** Larger files are read up to here: a program with SQLite in it may have hundreds of megabytes. */
const MAX_BYTES = 256 * 1024 * 1024;
const CHUNK_BYTES = 4 * 1024 * 1024;
/** Longer than what is looked for, so that nothing is cut in two. */
const OVERLAP_BYTES = 128;

/** SQLite's date and hash of its own source, which every library and program has that contains it. */
const SOURCE_ID = /(\d{4}-\d\d-\d\d) \d\d:\d\d:\d\d [0-9a-f]{60,64}/;
/** The version as a C string of its own, unlike the `GLIBCXX_3.4.20` of add-ons. */
const VERSION = /(?<![ -~])3\.\d{1,3}\.\d{1,3}(?=\0)/g;

/** Whether a version, `3.40.1`, is older than the oldest safe one. */
export function isOldSqlite(version: string): boolean {
  const [a, b] = [version, OLDEST_SAFE_SQLITE].map(text => text.split('.').map(Number));
  for (let index = 0; index < 3; index++) {
    const difference = (a![index] ?? 0) - (b![index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/**
 * The version of the SQLite that a library or program contains; undefined where there is none, or it is ambiguous.
 * @throws Error of the file system
 */
export function findSqliteVersion(path: string): string | undefined {
  const file = openSync(path, 'r');
  try {
    const size = Math.min(fstatSync(file).size, MAX_BYTES);
    const buffer = Buffer.alloc(CHUNK_BYTES + OVERLAP_BYTES);
    const versions = new Set<string>();
    let isSqlite = false;
    for (let position = 0; position < size; position += CHUNK_BYTES) {
      const length = readSync(file, buffer, 0, buffer.length, position);
      const text = buffer.toString('latin1', 0, length);
      isSqlite ||= SOURCE_ID.test(text);
      for (const [version] of text.matchAll(VERSION)) versions.add(version);
    }
    if (!isSqlite) return undefined;
    // Other libraries' versions of that form are rarer than SQLite's own: one alone is it.
    return versions.size === 1 ? [...versions][0] : undefined;
  } finally {
    closeSync(file);
  }
}
