import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DATABASE_COMPANIONS, findDatabaseFile, incarnationOf } from './database-file.ts';
import { flushPath } from './flush-path.ts';
import { endDatabase, hasSchema, type OpenRetired, retireDatabase } from './retire-database.ts';

/*
 * A file that is put in a tenant's place, or taken away, changes in several steps, and the process may die between two of them.
 * So it first notes beside the file what it is about to do:
 *
 *   note ▸ second names ▸ the path leads to the new file, or nowhere ▸ tombstone ▸ the old names are removed ▸ note removed
 *
 * Before a tenant's file is changed again, or opened for writes, a note that was left is settled: undone where the path still leads to
 * the old file, and finished otherwise. So those who have the old file open notice before the new one gets its first commit, and no
 * name is left that no path leads to. See infra/adr/0082-a-change-of-files-is-noted-first.md.
 */

/** What is about to change. Names are those of files in the tenant's folder. */
export interface DatabaseChange {
  /** The file that the path leads to before. */
  readonly old: string;
  /** The name under which it ends: its own, or a second one of a file that lies at the path itself. */
  readonly ended: string;
  /** The name under which it is kept; null: it is not. */
  readonly kept: string | null;
  /** The file that the path leads to afterwards; null: it leads nowhere. */
  readonly fresh: string | null;
}

/** `tenant.db.change`: where the note of a tenant's file is. */
export function changeNotePath(path: string): string {
  return `${path}.change`;
}

/**
 * Notes a change, on the disk.
 * @throws Error EEXIST where another change is under way, or was left: see {@link settleDatabaseChange}
 */
export function noteDatabaseChange(path: string, change: DatabaseChange): void {
  const descriptor = openSync(changeNotePath(path), 'wx', 0o666);
  try {
    // The broker may run as another user than a restore.
    fchmodSync(descriptor, 0o644);
    writeSync(descriptor, JSON.stringify(change));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  flushPath(dirname(path));
}

/**
 * Undoes or finishes a change whose process died. Only for the one who may change the file, or open it for writes.
 * @throws OnewriterError TENANT_UNAVAILABLE as {@link findDatabaseFile}; Error of the file system
 */
export function settleDatabaseChange(path: string, open: OpenRetired): void {
  const text = readNote(path);
  if (text === undefined) return;
  const change = parseChange(path, text);
  // Its process died while it wrote the note: nothing else had been done.
  if (change === undefined) removeNote(path);
  else if (findDatabaseFile(path)?.path === join(dirname(path), change.old)) undoDatabaseChange(path, change);
  else finishDatabaseChange(path, change, open);
}

/** Gives a database a second name, with its log. The database comes last: without its log it must not be found. */
export function linkDatabase(from: string, to: string): void {
  for (const suffix of [...DATABASE_COMPANIONS, '']) {
    if (suffix === '' || existsSync(from + suffix)) linkSync(from + suffix, to + suffix);
  }
}

/** Removes what was made for a change while the path still leads to the old file. @throws Error of the file system */
export function undoDatabaseChange(path: string, { old, ended, kept, fresh }: DatabaseChange): void {
  const at = (name: string) => join(dirname(path), name);
  if (fresh !== null) {
    rmSync(`${at(fresh)}.link`, { force: true });
    removeNames(at(fresh));
  }
  for (const name of [ended, kept]) {
    if (name === null || name === old) continue;
    // Never the only name of a file.
    if (!existsSync(at(name)) || isSame(at(name), at(old))) removeNames(at(name));
  }
  removeNote(path);
}

/**
 * Ends the old file, after the path no longer leads to it: those who have it open fail their next read. A second call changes nothing.
 * @returns why processes that have it open may continue to read it, for example as it is damaged; undefined where they notice
 * @throws Error of the file system
 */
export function finishDatabaseChange(
  path: string,
  { old, ended, kept }: DatabaseChange,
  open: OpenRetired,
): Error | undefined {
  const folder = dirname(path);
  let notEnded: Error | undefined;
  if (existsSync(join(folder, ended))) {
    try {
      if (kept !== null && existsSync(join(folder, kept)))
        retire(join(folder, ended), join(folder, kept), open);
      else endDatabase(join(folder, ended), open);
    } catch (error) {
      notEnded = error as Error;
    }
  }
  // The database first: without its log it must not be found.
  removeNames(join(folder, ended));
  // A file that came to the path itself has a log of its own there.
  if (old === basename(path) && findDatabaseFile(path)?.path !== path) {
    for (const suffix of DATABASE_COMPANIONS) rmSync(path + suffix, { force: true });
  }
  removeNote(path);
  return notEnded;
}

/** Leaves the kept name with a whole file, and the log that others have open with the tombstone. */
function retire(ended: string, kept: string, open: OpenRetired): void {
  if (isEnded(ended, open)) return;
  // A process that died in the middle may have given the kept name another log: the tombstone has to come into the one in use.
  rmSync(`${kept}-wal.kept`, { force: true });
  for (const suffix of DATABASE_COMPANIONS) {
    rmSync(kept + suffix, { force: true });
    if (existsSync(ended + suffix)) linkSync(ended + suffix, kept + suffix);
  }
  retireDatabase(kept, open);
}

/** Whether it has its tombstone. A file that cannot be read has none. */
function isEnded(path: string, open: OpenRetired): boolean {
  try {
    const db = open(path, { readonly: true });
    try {
      return !hasSchema(db);
    } finally {
      db.close();
    }
  } catch {
    return false; // retireDatabase says why
  }
}

function readNote(path: string): string | undefined {
  try {
    return readFileSync(changeNotePath(path), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined for a note that is not complete. Names that no change gives are not followed. */
function parseChange(path: string, text: string): DatabaseChange | undefined {
  let change: DatabaseChange;
  try {
    change = JSON.parse(text) as DatabaseChange;
  } catch {
    return undefined;
  }
  const dbFile = basename(path);
  const isOwn = (name: unknown) => typeof name === 'string' && incarnationOf(dbFile, name) !== undefined;
  const isKept = (name: unknown) =>
    typeof name === 'string' && name.startsWith(`${dbFile}.`) && basename(name) === name;
  const { old, ended, kept, fresh } = change;
  const isValid =
    (old === dbFile || isOwn(old)) &&
    isOwn(ended) &&
    (kept === null || isKept(kept)) &&
    (fresh === null || isOwn(fresh));
  return isValid ? change : undefined;
}

function removeNames(path: string): void {
  for (const suffix of ['', ...DATABASE_COMPANIONS]) rmSync(path + suffix, { force: true });
}

function removeNote(path: string): void {
  flushPath(dirname(path));
  rmSync(changeNotePath(path), { force: true });
  flushPath(dirname(path));
}

function isSame(path: string, other: string): boolean {
  const [one, two] = [lstatSync(path), lstatSync(other)];
  return one.ino === two.ino && one.dev === two.dev;
}
