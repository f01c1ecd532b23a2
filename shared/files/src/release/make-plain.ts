import { OnewriterError } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { checkAs } from '../check/check-file.ts';
import { flush } from '../copy/copy-database.ts';
import { hashContent } from '../own/content-hash.ts';
import { exclusively } from '../own/exclusively.ts';
import { findOwnObjects, removeOwnObjects } from '../own/own-objects.ts';

/** The journal modes that a file keeps; the others are those of a connection. */
export const JOURNAL_MODES = ['delete', 'wal'] as const;
export type PlainJournalMode = (typeof JOURNAL_MODES)[number];

/**
 * Makes a file plain: all that is the writer's goes in one transaction, which is committed only where the rest is as before. No other
 * process may have it open. Done again it changes nothing.
 *
 * @returns the hash of its content
 * @throws OnewriterError DATABASE_BUSY, DATABASE_CORRUPT, DATABASE_…; the file is as it was then
 */
export function makePlain(path: string, journalMode: PlainJournalMode, busyTimeoutMs: number): string {
  const contentHash = exclusively(
    path,
    busyTimeoutMs,
    db => removeAndCompare(db, path),
    db => setJournalMode(db, path, journalMode),
  );
  flush(path);
  return contentHash;
}

function removeAndCompare(db: Database, path: string): string {
  const before = hashContent(db);
  // What was in the writer's rows is overwritten, not only forgotten.
  db.pragma('secure_delete = ON');
  removeOwnObjects(db);
  const [left] = findOwnObjects(db);
  const { problems } = checkAs('quick', db);
  const trouble =
    left !== undefined
      ? `${left.type} ${left.name} is left`
      : (problems[0] ?? (hashContent(db) === before ? undefined : 'its content would have changed'));
  if (trouble === undefined) return before;
  throw new OnewriterError('DATABASE_CORRUPT', `${path} cannot be made plain: ${trouble}. It is as it was.`, {
    reason: trouble,
  });
}

function setJournalMode(db: Database, path: string, mode: PlainJournalMode): void {
  const now = db.pragma(`journal_mode = ${mode}`, { simple: true });
  if (now === mode) return;
  throw new OnewriterError('DATABASE_IO_ERROR', `${path} stays in the journal mode ${String(now)}.`);
}
