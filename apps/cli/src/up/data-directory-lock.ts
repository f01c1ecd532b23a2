import { join } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { readRunFile } from '../run-file.ts';

/** The right of one `onewriter up` to a data directory. */
export interface DataDirectoryLock {
  /** Releases it. Idempotent. */
  release(): void;
}

/**
 * Makes sure that one `onewriter up` at a time uses `dataDir`. The lock is SQLite's own lock on an otherwise empty
 * file: the kernel drops it with the process, so a killed holder leaves nothing stale, and a process id that is used
 * again misleads no later start.
 *
 * @throws OnewriterError MISCONFIGURED if another process holds it.
 */
export function lockDataDirectory(dataDir: string): DataDirectoryLock {
  const database = new Database(join(dataDir, 'up.lock'), { timeout: 0 });
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    if (!(cause instanceof Database.SqliteError) || !cause.code.startsWith('SQLITE_BUSY')) throw cause;
    const pid = readRunFile(dataDir)?.pid;
    throw new OnewriterError(
      'MISCONFIGURED',
      `Another \`onewriter up\`${pid === undefined ? '' : ` (pid ${pid})`} uses ${dataDir}. ` +
        'Stop it, or give this one its own --data-dir.',
      {},
      cause,
    );
  }
  return { release: () => void database.close() };
}
