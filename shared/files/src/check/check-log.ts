import { constants, copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOnewriterError } from '@onewriter/protocol';
import { assertRoom } from '../assert-room.ts';
import type { Finding } from './finding.ts';

/** Source: sqlite.org/fileformat.html, section 4.1. */
const WAL_HEADER_BYTES = 32;
/** A larger file is not copied to look at it. */
const MAX_BYTES = 1024 * 1024 * 1024;

/**
 * Checks whether a damaged file is sound without its write-ahead log: then the log belongs to another file, or is
 * damaged. A log has no mark of the database that it belongs to, so the database is copied and checked without it.
 *
 * @param path of the database, which this process must not have open
 * @param check of a copy
 */
export function checkLog(
  tenant: string,
  path: string,
  check: (copy: string) => readonly Finding[],
): Finding[] {
  const wal = statSync(`${path}-wal`, { throwIfNoEntry: false });
  const file = statSync(path, { throwIfNoEntry: false });
  if (wal === undefined || wal.size <= WAL_HEADER_BYTES || file?.isFile() !== true) return [];
  if (file.size > MAX_BYTES) return [];
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-check-'));
  try {
    assertRoom(folder, file.size);
    const copy = join(folder, 'copy.db');
    copyFileSync(path, copy, constants.COPYFILE_FICLONE);
    if (check(copy).some(({ level }) => level === 'error')) return [];
  } catch (error) {
    // Without room for a copy it is not known; what else was found stands.
    if (isOnewriterError(error, 'DATABASE_FULL')) return [];
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return [
    {
      level: 'error',
      tenant,
      check: 'wal',
      found: `Looked at without its write-ahead log (${path}-wal, ${wal.size} bytes), the file is in order: the log is of another file, or damaged.`,
      next: `Keep the log: pause the tenant (onewriter tenants pause ${tenant}), move ${path}-wal and -shm away, check again, then resume it. Commits that are in the log alone are missing then.`,
    },
  ];
}
