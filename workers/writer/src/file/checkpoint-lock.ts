import { readFileSync, statSync } from 'node:fs';

/** The byte of the log's index that is locked while a checkpoint runs. Source: SQLite, walformat.html, section 2.3.1. */
const CHECKPOINT_BYTE = 121;

/**
 * Whether a connection, of any process, is in the middle of a checkpoint: it has the lock until all is written and flushed,
 * which lasts as long as the disk needs. Asks the kernel, because SQLite reports it only to a connection that begins a checkpoint.
 * @returns false also where the kernel does not show it
 */
export function isBeingCheckpointed(shmPath: string): boolean {
  const inode = statSync(shmPath, { throwIfNoEntry: false })?.ino;
  if (inode === undefined) return false;
  let locks: string;
  try {
    locks = readFileSync('/proc/locks', 'utf8');
  } catch {
    return false; // not Linux, or not mounted
  }
  return locks.split('\n').some(line => isCheckpointLock(line, inode));
}

/**
 * `1: POSIX  ADVISORY  WRITE 1234 fe:00:2264654 121 121`. Ignores the device, because stat reports another on some file systems.
 * Source: proc_locks(5).
 */
function isCheckpointLock(line: string, inode: number): boolean {
  const [, kind, , access, , file = '', from, to] = line.trim().split(/\s+/);
  if (kind !== 'POSIX' || access !== 'WRITE' || Number(file.split(':')[2]) !== inode) return false;
  return Number(from) <= CHECKPOINT_BYTE && (to === 'EOF' || Number(to) >= CHECKPOINT_BYTE);
}
