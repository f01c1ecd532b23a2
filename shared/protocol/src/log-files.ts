import { statSync } from 'node:fs';

/**
 * What distinguishes the write-ahead log and its index from others at their paths. A connection that has read has both open, so
 * SQLite deletes neither; another index, or none, was put there by hand, and what is committed over it is not seen over this one.
 *
 * @param path of the database file itself
 * @returns inodes, 0 where there is none
 */
export function identifyLog(path: string): { readonly log: number; readonly index: number } {
  return { log: inodeOf(`${path}-wal`), index: inodeOf(`${path}-shm`) };
}

/** Whether a connection has a log or an index open that is not at its path any more. @param opened when it had read first */
export function isLogReplaced(path: string, opened: ReturnType<typeof identifyLog>): boolean {
  const { log, index } = identifyLog(path);
  return (opened.log !== 0 && log !== opened.log) || (opened.index !== 0 && index !== opened.index);
}

function inodeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
}
