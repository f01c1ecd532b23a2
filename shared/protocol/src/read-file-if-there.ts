import { readFileSync } from 'node:fs';

/**
 * Reads a whole file.
 * @param encoding `latin1` where a text that is cut in the middle of a character still has to be read
 * @returns undefined where there is no file
 * @throws Error of the file system for any other reason
 */
export function readFileIfThere(path: string, encoding: 'utf8' | 'latin1' = 'utf8'): string | undefined {
  try {
    return readFileSync(path, encoding);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
