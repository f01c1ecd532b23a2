import { closeSync, fsyncSync, openSync } from 'node:fs';

/** Flushes the names in a folder, or a file that SQLite does not have open in this process. */
export function flushPath(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
