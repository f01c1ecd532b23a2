import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import type { CorpusScript } from './corpus-item.ts';
import { isSqllogictest, parseSqllogictest } from './sqllogictest.ts';
import { isTclTest, parseTclTest } from './tcl-tests.ts';

/** A file with statements. */
export interface CorpusFile {
  readonly path: string;
  /** Below the path that was asked for. */
  readonly name: string;
  readonly bytes: number;
}

/** All files `*.test` in a folder and below, or the one file, in the order of their names. */
export function findCorpusFiles(path: string): CorpusFile[] {
  const stats = statSync(path);
  if (!stats.isDirectory()) return [{ path, name: basename(path), bytes: stats.size }];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.test'))
    .map(entry => {
      const file = join(entry.parentPath, entry.name);
      return { path: file, name: relative(path, file), bytes: statSync(file).size };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Reads a file in either format; undefined where it is in none. */
export function readCorpusFile(path: string): CorpusScript | undefined {
  const text = readFileSync(path, 'utf8');
  // Tcl first: in its tests, lines of SQL may begin like sqllogictest's records.
  if (isTclTest(text)) return parseTclTest(text);
  return isSqllogictest(text) ? parseSqllogictest(text) : undefined;
}
