import { mkdirSync, readFileSync, type Stats, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { logNotePath } from '@onewriter/protocol';
import { fileChanged, withhold } from '../thread/withheld-tenant.ts';
import { describeOtherLog } from './file-finding.ts';
import { identify, NO_FILE, statOf } from './file-mark.ts';

/*
 * SQLite writes a log that was left behind into whatever database lies beside it: nothing in the log says which it belongs to. So
 * each opening notes both. Where the same log lies beside another file, that one was put there while no broker had it open.
 *
 * The note is not flushed: without it, after a power cut, nothing is noticed. Nor where both were copied: the log is another then.
 */

/** To be called when the file at `path` is open, with its log. @throws Error of the file system */
export function noteLog(dataDir: string, tenant: string, path: string): void {
  const note = logNotePath(dataDir, tenant);
  const text = `${identify(path)} ${identifyLog(statOf(`${path}-wal`))}`;
  if (readNote(note) === text) return;
  mkdirSync(dirname(note), { recursive: true });
  writeFileSync(note, text, { mode: 0o666 });
}

/**
 * To be called before the file is opened.
 * @param entry leads to the file
 * @param path the file itself
 * @throws OnewriterError TENANT_UNAVAILABLE where the log beside it belongs to another file; then the tenant is withheld
 */
export function assertOwnLog(dataDir: string, tenant: string, entry: string, path: string): void {
  const log = statOf(`${path}-wal`);
  if (log === undefined || log.size === 0) return;
  const [main, wal] = readNote(logNotePath(dataDir, tenant))?.split(' ') ?? [];
  if (wal !== identifyLog(log) || main === identify(path)) return;
  const message = describeOtherLog(tenant, path);
  withhold(dataDir, tenant, { message, entry, path, since: new Date().toISOString() });
  throw fileChanged(message);
}

/** Numbers of deleted files are given to new ones, so the time of its making counts, too. */
function identifyLog(stats: Stats | undefined): string {
  return stats === undefined ? NO_FILE : `${stats.dev}:${stats.ino}:${stats.birthtimeMs}`;
}

function readNote(path: string): string | undefined {
  // An error costs more than a look.
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // the tenant was deleted
    throw error;
  }
}
