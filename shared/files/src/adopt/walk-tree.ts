import { type Dirent, readdirSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { incarnationOf, OnewriterError } from '@onewriter/protocol';
import { FOUND_DEPTH, looksLikeDatabase } from './find-layout.ts';
import type { FileNote } from './inspect-file.ts';
import { matchesSoFar, type TreePattern, tenantNameIn } from './tree-pattern.ts';

/** A tree with more has to be adopted in parts. */
const MAX_FILES = 200_000;

/** Something below the folder. */
export interface TreeEntry {
  /** Of its path below the folder. */
  readonly names: readonly string[];
  /** Absolute. */
  readonly path: string;
  /** Why it is no file that could be adopted. */
  readonly trouble: FileNote | undefined;
}

/**
 * Lists what is where a pattern says; without one, what looks like a database, down to three names. Follows no symbolic link.
 * @param skip a folder that is left out: the data directory, where it lies in the tree; undefined: it is the tree, and has links of
 *   its own, to the files beside them
 * @throws OnewriterError INVALID_ARGUMENT for more files than can be handled at once; Error where the folder cannot be read
 */
export function walkTree(
  root: string,
  pattern: TreePattern | undefined,
  skip: string | undefined,
): readonly TreeEntry[] {
  const found: TreeEntry[] = [];
  const isFile = (names: readonly string[]) =>
    pattern === undefined ? looksLikeDatabase(names.at(-1)!) : tenantNameIn(pattern, names) !== undefined;
  const mayHold = (names: readonly string[]) =>
    pattern === undefined
      ? names.length < FOUND_DEPTH && !names.at(-1)!.startsWith('.') && names.at(-1) !== 'node_modules'
      : names.length < pattern.segments.length && matchesSoFar(pattern, names);
  const add = (names: readonly string[], path: string, trouble: FileNote | undefined) => {
    if (found.length === MAX_FILES) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `There are more than ${MAX_FILES} files below ${root}: adopt them in parts, with --pattern.`,
      );
    }
    found.push({ names, path, trouble });
  };
  const walk = (folder: string, above: readonly string[]): void => {
    for (const entry of entriesOf(folder, above, add)) {
      const names = [...above, entry.name];
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        if (mayHold(names) && resolve(path) !== skip) walk(path, names);
      } else if (entry.isSymbolicLink()) {
        if (skip === undefined && isFile(names) && leadsBeside(path, entry.name)) add(names, path, undefined);
        else if (isFile(names) || (pattern !== undefined && mayHold(names))) add(names, path, LINK);
      } else if (isFile(names)) add(names, path, entry.isFile() ? undefined : NO_FILE);
    }
  };
  walk(root, []);
  return found;
}

function leadsBeside(path: string, name: string): boolean {
  return incarnationOf(name, readlinkSync(path)) !== undefined;
}

const LINK: FileNote = Object.freeze({
  level: 'error',
  check: 'link',
  found: 'It is a symbolic link, which could lead to another tenant.',
  next: 'Move the file or folder itself here.',
});
const NO_FILE: FileNote = Object.freeze({
  level: 'error',
  check: 'readable',
  found: 'It is no regular file.',
  next: 'See what it is.',
});

/** In the order of their names. A folder below the first that cannot be read is an entry with its trouble. */
function entriesOf(
  folder: string,
  names: readonly string[],
  add: (names: readonly string[], path: string, trouble: FileNote) => void,
): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (names.length === 0) throw error;
    const found = `The folder cannot be read (${(error as NodeJS.ErrnoException).code}).`;
    const next = 'Run this as the user that the broker runs as, or give it the right.';
    add(names, folder, { level: 'error', check: 'rights', found, next });
    return [];
  }
}
