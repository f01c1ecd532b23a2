import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ListedObject } from '../object-store.ts';
import { isKey } from '../store-key.ts';

/**
 * The files under `root` whose names below it begin with `prefix` and come after `after`, in the order of S3: by bytes of the whole key, so
 * that a folder stands where its name with '/' does ("a-b" before "a/b", "a0" behind it).
 */
export async function* walkKeys(root: string, prefix: string, after: string): AsyncIterable<ListedObject> {
  const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  yield* walkFolder(root, folder, prefix, after);
}

async function* walkFolder(
  root: string,
  folder: string,
  prefix: string,
  after: string,
): AsyncIterable<ListedObject> {
  for (const key of await namesIn(root, folder)) {
    if (key.endsWith('/')) {
      const mayHave = key.startsWith(prefix) || prefix.startsWith(key);
      // All keys in the folder begin with its name.
      const isBefore = key < after && !after.startsWith(key);
      if (mayHave && !isBefore) yield* walkFolder(root, key, prefix, after);
    } else if (key.startsWith(prefix) && key > after) {
      const found = await statOf(join(root, key));
      if (found !== undefined) yield { key, ...found };
    }
  }
}

/** Keys of files, and of folders with a '/' behind, in order. */
async function namesIn(root: string, folder: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(join(root, folder), { withFileTypes: true });
    return entries
      .filter(({ name }) => isKey(folder + name))
      .map(entry => folder + entry.name + (entry.isDirectory() ? '/' : ''))
      .sort();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

async function statOf(path: string): Promise<{ size: number; modifiedMs: number } | undefined> {
  try {
    const { size, mtimeMs } = await stat(path);
    return { size, modifiedMs: Math.floor(mtimeMs) };
  } catch (error) {
    // Deleted since the folder was read.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
