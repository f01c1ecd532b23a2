import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  assertNotHibernated,
  DATABASE_COMPANIONS,
  findDatabaseFile,
  flushPath,
  hadDatabase,
  incarnationOf,
  linkNewDatabase,
  newDatabaseName,
  OnewriterError,
  tenantsDir,
} from '@onewriter/protocol';
import type { DataPlace } from '../data-place.ts';
import { giveTo, ownerOf } from '../restore/file-owner.ts';
import { isSameFile } from './adopt-steps.ts';

/** The second name of a file that is adopted, in its tenant's folder. */
export interface SecondName {
  readonly path: string;
  /**
   * Takes it away again, with the rights that the file had. A name that an earlier run gave stays, and one that a process has open:
   * what that commits would be lost with it.
   * @throws Error of the file system
   */
  undo(): void;
}

/** The second name that an earlier run gave. @throws OnewriterError TENANT_UNAVAILABLE for another link */
export function findSecondName(file: string, source: string): string | undefined {
  const there = findDatabaseFile(file)?.path;
  return there !== undefined && isSameFile(there, source) ? there : undefined;
}

/** The name for a tenant that had a file before, of a run that was killed before a link led there. */
export function findUnnamed(file: string, source: string): string | undefined {
  const folder = dirname(file);
  if (!existsSync(folder)) return undefined;
  const names = readdirSync(folder).filter(name => incarnationOf(basename(file), name) !== undefined);
  return names.map(name => join(folder, name)).find(path => isSameFile(path, source));
}

/**
 * Gives a file its second name.
 * @param file where the tenant's is looked for
 * @throws OnewriterError TENANT_BUSY, TENANT_UNAVAILABLE, INVALID_ARGUMENT; Error of the file system. All is as it was then.
 */
export function giveSecondName(
  place: DataPlace,
  tenant: string,
  source: string,
  file: string,
  warnings: string[],
): SecondName {
  const begun = findSecondName(file, source);
  if (begun !== undefined) return { path: begun, undo: () => {} };
  const folder = dirname(file);
  const hadFolder = existsSync(folder);
  makeFolder(place, folder, warnings);
  let path: string;
  try {
    assertFree(place.dataDir, tenant, file);
    path = findUnnamed(file, source) ?? linkTo(place, tenant, source, file);
  } catch (error) {
    if (!hadFolder) removeIfEmpty(folder);
    throw error;
  }
  const isFirst = path === file;
  const before = lstatSync(path);
  let isNamed = isFirst;
  const undo = () => {
    if (isNamed && !isFirst) unlinkSync(file);
    takeAway(path, before, hadFolder);
  };
  try {
    assertOnlyThese(source, before);
    giveTo(path, ownerOf(tenantsDir(place.dataDir)), warnings);
    if ((before.mode & 0o600) !== 0o600) chmodSync(path, (before.mode & 0o777) | 0o600);
    if (!isFirst) isNamed = linkNewDatabase(file, basename(path));
    if (!isNamed) throw taken(tenant, file);
    flushPath(folder);
  } catch (error) {
    undo();
    throw error;
  }
  return {
    path,
    undo: () => {
      if (existsSync(source) && !existsSync(`${path}-wal`)) undo();
    },
  };
}

function makeFolder({ dataDir }: DataPlace, folder: string, warnings: string[]): void {
  const tenants = tenantsDir(dataDir);
  const owner = ownerOf(tenants) ?? ownerOf(dataDir);
  if (!existsSync(tenants)) {
    mkdirSync(tenants, { recursive: true });
    giveTo(tenants, owner, warnings);
    flushPath(dataDir);
  }
  if (existsSync(folder)) return;
  mkdirSync(folder);
  giveTo(folder, owner, warnings);
  flushPath(tenants);
}

/** @throws OnewriterError TENANT_BUSY, TENANT_UNAVAILABLE */
function assertFree(dataDir: string, tenant: string, file: string): void {
  if (findDatabaseFile(file) !== undefined) throw taken(tenant, file);
  assertNotHibernated(dataDir, tenant);
  for (const suffix of DATABASE_COMPANIONS) {
    if (!existsSync(file + suffix)) continue;
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `${file}${suffix} lies there without its database: SQLite would take it for that of the adopted file. Move it away.`,
      { tenant },
    );
  }
}

function linkTo(place: DataPlace, tenant: string, source: string, file: string): string {
  // For a tenant that had a file before: no name is used twice.
  const hadOne = hadDatabase(place.dataDir, tenant);
  const path = hadOne ? join(dirname(file), newDatabaseName(basename(file))) : file;
  try {
    linkSync(source, path);
    return path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw taken(tenant, path);
    if (code !== 'EXDEV') throw error;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${source} lies on another file system than ${place.dataDir}, and adopting copies nothing. Put the data directory there, or restore a copy: onewriter restore ${source} ${tenant}.`,
      { tenant },
      error,
    );
  }
}

/**
 * Looks at the second name: who can change the tree cannot change that. A link would lead to another file, and a third name could be
 * another tenant's.
 */
function assertOnlyThese(source: string, stats: Stats): void {
  if (!stats.isFile()) {
    throw new OnewriterError('INVALID_ARGUMENT', `${source} is no regular file any more.`);
  }
  if (stats.nlink === 2) return;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${source} has another name somewhere (a hard link): give it content of its own (cp, then mv).`,
  );
}

function takeAway(path: string, { uid, gid, mode }: Stats, hadFolder: boolean): void {
  const now = lstatSync(path);
  if (now.uid !== uid || now.gid !== gid) chownSync(path, uid, gid);
  if (now.mode !== mode) chmodSync(path, mode & 0o7777);
  unlinkSync(path);
  for (const suffix of DATABASE_COMPANIONS) rmSync(path + suffix, { force: true });
  if (!hadFolder) removeIfEmpty(dirname(path));
}

function removeIfEmpty(folder: string): void {
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

function taken(tenant: string, file: string): OnewriterError {
  return new OnewriterError('TENANT_BUSY', `Tenant ${tenant} has another file already: ${file}.`, { tenant });
}
