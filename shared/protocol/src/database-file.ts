import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import { basename, dirname, join, parse } from 'node:path';
import { flushPath } from './flush-path.ts';
import { forgetHibernatedForGood, hibernatedError, isHibernated } from './hibernated.ts';
import { formerTenantMark, knownTenantMark, logNotePath, tenantFile, tenantsDir } from './names.ts';
import { OnewriterError } from './onewriter-error.ts';
import { TENANT_ID_PATTERN } from './tenant-id.ts';

/*
 * A tenant's file can be replaced by another (a restore), and a deleted tenant can be created again: each such file is a
 * new incarnation of the tenant. SQLite opens a database and its write-ahead log one after the other, both by name, so a
 * name that is used a second time lets a reader combine one file with the log of another. Therefore
 *
 *   tenant.db             the first file of a tenant; or a relative link to the one that counts
 *   tenant.<id>.db        a file that came later: its name is never used again
 *
 * SQLite resolves the link when it opens the file, so -wal and -shm have the name of the file itself. Reasons:
 * infra/adr/0026-a-name-for-each-incarnation.md.
 */

/** What SQLite keeps beside a database, under its name. The order is one in which they can be removed. */
export const DATABASE_COMPANIONS = ['-shm', '-wal', '-journal'] as const;

/** What the path of a tenant's database leads to. */
export interface DatabaseFile {
  /** The file itself: its companions are beside it. */
  readonly path: string;
  /** The id in its name; '' for a file that lies at the path itself. */
  readonly incarnation: string;
}

const ID_BYTES = 10;
const ID = /^[0-9a-f]{20}$/;
/** A link that is swapped all the time is not followed for ever. */
const MAX_SWAPS = 100;

/** A name for a new incarnation that no other has had or will have: `tenant.<id>.db` for `tenant.db`. */
export function newDatabaseName(dbFile: string): string {
  const { name, ext } = parse(dbFile);
  return `${name}.${randomBytes(ID_BYTES).toString('hex')}${ext}`;
}

/** The id in a name of {@link newDatabaseName}, without a companion's suffix; undefined for any other name. */
export function incarnationOf(dbFile: string, fileName: string): string | undefined {
  const { name, ext } = parse(dbFile);
  if (!fileName.startsWith(`${name}.`) || !fileName.endsWith(ext)) return undefined;
  const id = fileName.slice(name.length + 1, fileName.length - ext.length);
  return ID.test(id) ? id : undefined;
}

/**
 * Follows the path of a tenant's database. Looks by name only: opening a database with fs and closing it would drop
 * SQLite's locks of this process.
 *
 * @param path as of {@link tenantFile}
 * @returns undefined where there is nothing
 * @throws OnewriterError TENANT_UNAVAILABLE for any other link, a link that leads to no file, and what is no file
 */
export function findDatabaseFile(path: string): DatabaseFile | undefined {
  let before: string | undefined;
  for (let swaps = 0; swaps < MAX_SWAPS; swaps++) {
    const stats = lstat(path);
    if (stats === undefined) return undefined;
    if (stats.isFile()) return { path, incarnation: '' };
    if (!stats.isSymbolicLink()) throw unavailable('not a regular file');
    const target = readLink(path);
    if (target === undefined) continue; // replaced by a file since
    const incarnation = incarnationOf(basename(path), target);
    if (incarnation === undefined) throw unavailable('symbolic link');
    const file = join(dirname(path), target);
    const targetStats = lstat(file);
    if (targetStats?.isFile()) return { path: file, incarnation };
    // It may have been swapped, and the old file removed, between the two looks.
    if (targetStats !== undefined || target === before) throw unavailable('a link that leads to no file');
    before = target;
  }
  throw unavailable('replaced all the time');
}

/**
 * Finds a tenant's database for readers: `<dataDir>/tenants/<tenant>/<dbFile>` and nothing else, as a link of another kind,
 * or a folder that is one, could lead to another tenant's.
 *
 * @throws OnewriterError INVALID_TENANT, TENANT_NOT_FOUND; TENANT_UNAVAILABLE also for one that is gone, as for its writes; errors
 * of the file system
 */
export function locateDatabase(dataDir: string, tenant: string, dbFile?: string): DatabaseFile {
  const path = tenantFile(dataDir, tenant, dbFile);
  let folder: string;
  let expected: string;
  try {
    // Native: one call, where the other looks at each part of the path.
    folder = realpathSync.native(dirname(path));
    expected = join(realpathSync.native(tenantsDir(dataDir)), tenant);
  } catch (error) {
    throw isMissing(error) ? notFound(dataDir, tenant, path) : orDenied(error, dirname(path));
  }
  if (folder !== expected) {
    throw new OnewriterError('TENANT_UNAVAILABLE', "The tenant's folder or file is a symbolic link.", {
      tenant,
      reason: 'symbolic link',
    });
  }
  const file = findDatabaseFile(join(folder, basename(path)));
  if (file === undefined) throw notFound(dataDir, tenant, path);
  return file;
}

/**
 * The file itself, for those who look at its size or its companions; the path as it is where it leads to none.
 * @throws nothing but errors of the file system
 */
export function realDatabasePath(path: string): string {
  try {
    return findDatabaseFile(path)?.path ?? path;
  } catch (error) {
    if (error instanceof OnewriterError) return path;
    throw error;
  }
}

/**
 * Makes an empty file, which is an empty database, in a folder that exists.
 *
 * @param hadFile whether the tenant had a file before: then the new one has a name of its own
 * @returns false where there is something at the path already; then nothing was done
 */
export function createDatabaseFile(path: string, hadFile: boolean): boolean {
  if (!hadFile) return makeEmpty(path);
  const name = newDatabaseName(basename(path));
  const file = join(dirname(path), name);
  makeEmpty(file);
  // The link comes last, so that it never leads nowhere: a writer that opens it would make a file.
  if (linkNewDatabase(path, name)) return true;
  unlinkSync(file);
  return false;
}

/**
 * Makes a link to a file that is on the disk already, where there is nothing yet.
 * @returns false where there is something at the path already; then nothing was done
 */
export function linkNewDatabase(path: string, name: string): boolean {
  flushPath(dirname(path));
  try {
    symlinkSync(name, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  flushPath(dirname(path));
  return true;
}

/**
 * Whether a tenant had a database that was deleted, so that the next must not have its name.
 * @throws OnewriterError TENANT_UNAVAILABLE where that cannot be seen
 */
export function hadDatabase(dataDir: string, tenant: string): boolean {
  return hasMark(formerTenantMark(dataDir, tenant), tenant);
}

/** What cannot be seen is not taken for absent: a new, empty file would hide what was committed. */
function hasMark(mark: string, tenant: string): boolean {
  try {
    return lstatSync(mark, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    throw markTrouble(mark, tenant, error);
  }
}

function markTrouble(mark: string, tenant: string, error: unknown): OnewriterError {
  const { code } = error as NodeJS.ErrnoException;
  return new OnewriterError(
    'TENANT_UNAVAILABLE',
    `${dirname(mark)} cannot be used (${code}): it notes which tenants have, or had, a database. It has to be a folder that this user may read and write.`,
    { tenant, reason: code },
    error,
  );
}

/** Notes permanently that a tenant had a database; call it before the file is moved away. */
export function noteFormerDatabase(dataDir: string, tenant: string): void {
  const mark = formerTenantMark(dataDir, tenant);
  const folder = dirname(mark);
  if (mkdirSync(folder, { recursive: true }) !== undefined) flushPath(dirname(folder));
  if (makeEmpty(mark)) flushPath(folder);
  else utimesSync(mark, new Date(), new Date());
}

/** When the last database of the tenant before the present one was given up, ms since the epoch; 0 where there was none. */
export function formerDatabaseEndedAt(dataDir: string, tenant: string): number {
  return statSync(formerTenantMark(dataDir, tenant), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/**
 * Notes that a broker writes to a tenant's database, outside of the tenant's folder: where the folder is gone, an empty database in
 * its place would hide what was committed. Not flushed: the tenant's next commit flushes the file system's journal.
 */
export function noteKnownDatabase(dataDir: string, tenant: string): void {
  // An error costs more than a look, and nearly all are known.
  if (isKnownDatabase(dataDir, tenant)) return;
  const mark = knownTenantMark(dataDir, tenant);
  try {
    mkdirSync(dirname(mark), { recursive: true });
    closeSync(openSync(mark, 'a', 0o666));
  } catch (error) {
    throw markTrouble(mark, tenant, error);
  }
}

/**
 * Whether a broker has written to a database of the tenant that was not deleted by Onewriter.
 * @throws OnewriterError TENANT_UNAVAILABLE where that cannot be seen
 */
export function isKnownDatabase(dataDir: string, tenant: string): boolean {
  return hasMark(knownTenantMark(dataDir, tenant), tenant);
}

/** When a broker first wrote to the tenant's database, ms since the epoch; undefined where {@link isKnownDatabase} knows none. */
export function knownDatabaseSince(dataDir: string, tenant: string): number | undefined {
  return statSync(knownTenantMark(dataDir, tenant), { throwIfNoEntry: false })?.mtimeMs;
}

/** Tenants that {@link isKnownDatabase} knows, by name. @throws Error of the file system */
export function listKnownDatabases(dataDir: string): string[] {
  try {
    return readdirSync(`${dataDir}/known`)
      .filter(name => TENANT_ID_PATTERN.test(name))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** The tenant's database goes, or went, on purpose. */
export function forgetKnownDatabase(dataDir: string, tenant: string): void {
  rmSync(knownTenantMark(dataDir, tenant), { force: true });
  rmSync(logNotePath(dataDir, tenant), { force: true });
  forgetHibernatedForGood(dataDir, tenant);
}

/**
 * Checks that a new database may be made at a path where there is none.
 * @throws OnewriterError TENANT_WAKING for a hibernated tenant; TENANT_UNAVAILABLE where a broker has written to one there, and it was
 * not deleted by Onewriter
 */
export function assertMayMakeDatabase(dataDir: string, tenant: string, path: string): void {
  if (isHibernated(dataDir, tenant)) throw hibernatedError(tenant);
  if (!isKnownDatabase(dataDir, tenant)) return;
  throw new OnewriterError(
    'TENANT_UNAVAILABLE',
    [
      `The database of tenant ${tenant} is gone from ${path}: it was moved or deleted outside Onewriter.`,
      'No new one is made in its place.',
      `Put it back, with its -wal if it has one, or restore a backup: onewriter restore <backup> ${tenant}.`,
      `To begin with a new, empty file: onewriter tenants pause ${tenant}, then resume.`,
      `To forget the tenant: onewriter tenants delete ${tenant}.`,
    ].join(' '),
    { tenant, reason: DATABASE_GONE },
  );
}

/** `details.reason` of {@link assertMayMakeDatabase}. */
export const DATABASE_GONE = 'database is gone';

function makeEmpty(path: string): boolean {
  let descriptor: number;
  try {
    // Never an existing one: `wx` fails instead of opening it.
    descriptor = openSync(path, 'wx', 0o666);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  fsyncSync(descriptor);
  closeSync(descriptor);
  return true;
}

function lstat(path: string) {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw orDenied(error, path);
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EINVAL') return undefined;
    throw orDenied(error, path);
  }
}

/**
 * An error of the file system as one of the tenant, where this user lacks a right: with the path and the right.
 * @returns OnewriterError TENANT_UNAVAILABLE; any other error as it is
 */
export function orDenied(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EACCES' && code !== 'EPERM') return error;
  const user = process.getuid === undefined ? 'this user' : `the user with the id ${process.getuid()}`;
  return new OnewriterError(
    'TENANT_UNAVAILABLE',
    `${path} cannot be looked at (${code}): ${user} needs the right to read and write it (rw), and to enter each folder above it (x).`,
    { reason: code },
    error,
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

/** @throws OnewriterError TENANT_UNAVAILABLE where there was one */
function notFound(dataDir: string, tenant: string, path: string): OnewriterError {
  assertMayMakeDatabase(dataDir, tenant, path);
  return new OnewriterError('TENANT_NOT_FOUND', `There is no database of tenant ${tenant}.`, { tenant });
}

function unavailable(reason: string): OnewriterError {
  return new OnewriterError('TENANT_UNAVAILABLE', `The tenant's path is refused: ${reason}.`, { reason });
}
