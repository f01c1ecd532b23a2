import { closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { openForLook } from '../adopt/inspect-file.ts';
import { nearest } from '../adopt/plan-adoption.ts';
import { assertRoom } from '../assert-room.ts';
import { copyDatabase } from '../copy/copy-database.ts';
import { hashContent } from '../own/content-hash.ts';
import { findOwnObjects } from '../own/own-objects.ts';
import { giveTo, type Owner, ownerOf } from '../restore/file-owner.ts';
import { makePlain, type PlainJournalMode } from './make-plain.ts';

/**
 * Makes the file for a copy, beside its place, that no other user can read before it has its rights. Those of killed runs are removed:
 * of one tenant only one is released at a time.
 */
export function makeDraft(target: string, warnings: string[]): string {
  const folder = dirname(target);
  const prefix = `.${basename(target)}.releasing-`;
  makeFolder(folder, warnings);
  for (const name of readdirSync(folder))
    if (name.startsWith(prefix)) rmSync(join(folder, name), { force: true });
  const draft = join(folder, `${prefix}${process.pid}`);
  closeSync(openSync(draft, 'wx', 0o600));
  return draft;
}

function makeFolder(folder: string, warnings: string[]): void {
  const owner = ownerInTree(nearest(folder));
  const first = mkdirSync(folder, { recursive: true });
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) giveTo(made, owner, warnings);
}

/** Whose a new file in a folder is to be: where root releases it, an app that is not root is to open it. */
export function ownerInTree(folder: string): Owner | undefined {
  return process.getuid?.() === 0 ? ownerOf(folder) : undefined;
}

/**
 * Makes a plain copy of a tenant's file.
 * @returns the hash of its content
 * @throws OnewriterError DATABASE_…
 */
export async function copyPlain(
  source: string,
  draft: string,
  journalMode: PlainJournalMode,
  busyTimeoutMs: number,
): Promise<string> {
  assertRoom(dirname(draft), statSync(source).size);
  const before = await copyDatabase(
    source,
    draft,
    busyTimeoutMs,
    () => undefined,
    db => hashContent(db),
  );
  const contentHash = makePlain(draft, journalMode, busyTimeoutMs);
  if (contentHash === before) return contentHash;
  throw new OnewriterError(
    'DATABASE_CORRUPT',
    `The copy of ${source} has another content; nothing was changed.`,
  );
}

/**
 * Compares a tenant's file with what a run that was killed has put there.
 * @returns the hash of its content
 * @throws OnewriterError INVALID_ARGUMENT where it is something else, as a backup would be; DATABASE_…
 */
export function compareReleased(
  source: string,
  target: string,
  journalMode: PlainJournalMode,
  busyTimeoutMs: number,
): string {
  const look = <T>(path: string, work: (db: Database) => T): T => {
    const db = openForLook(path, true, busyTimeoutMs);
    try {
      return work(db);
    } finally {
      db.close();
    }
  };
  const contentHash = look(source, hashContent);
  const isSame = look(
    target,
    db =>
      findOwnObjects(db).length === 0 &&
      db.pragma('journal_mode', { simple: true }) === journalMode &&
      hashContent(db) === contentHash,
  );
  if (isSame) return contentHash;
  throw new OnewriterError('INVALID_ARGUMENT', `There is another file at ${target}: move it away.`);
}
