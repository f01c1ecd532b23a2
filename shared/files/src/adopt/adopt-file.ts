import { chmodSync, existsSync, linkSync, mkdirSync, rmdirSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  DATABASE_COMPANIONS,
  findDatabaseFile,
  flushPath,
  hadDatabase,
  knownTenantMark,
  linkNewDatabase,
  newDatabaseName,
  noteKnownDatabase,
  OnewriterError,
  realDatabasePath,
  tenantFile,
  tenantsDir,
} from '@onewriter/protocol';
import { withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { checkAs } from '../check/check-file.ts';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { readFormat } from '../open/open-database.ts';
import { hashContent } from '../own/content-hash.ts';
import { exclusively } from '../own/exclusively.ts';
import { findOwnObjects } from '../own/own-objects.ts';
import { giveTo, ownerOf } from '../restore/file-owner.ts';
import { openForLook } from './inspect-file.ts';

/*
 * Adopts a file: gives it its place in the data directory, on the same file system, without a copy. It may be killed at each step,
 * and continues there when it runs again:
 *
 *   settle what a killed process left ▸ hash ▸ a second name, in the tenant's folder ▸ hash again ▸ the tenant is known ▸
 *   the first name is removed
 *
 * What is in its place already is only hashed and marked.
 */

/** A file that has become a tenant's. */
export interface Adopted {
  readonly tenant: string;
  /** Where it was. */
  readonly source: string;
  readonly file: string;
  /** False: it was in its place. */
  readonly moved: boolean;
  readonly bytes: number;
  /** See `hashContent`; the same before and after. */
  readonly contentHash: string;
  readonly warnings: readonly string[];
}

/**
 * Adopts a file as a tenant's. An error leaves it where it was, with its content.
 *
 * @param root folder of the tree, which stays
 * @param redis undefined: the caller vouches that no broker runs
 * @param who for those who find the tenant held
 * @throws OnewriterError DATABASE_BUSY (a process has it open), DATABASE_CORRUPT, TENANT_BUSY (the tenant has another file),
 * INVALID_ARGUMENT (another file system; names of Onewriter in it), DATABASE_…, TENANT_UNAVAILABLE
 */
export async function adoptFile(
  place: DataPlace,
  tenant: string,
  source: string,
  root: string,
  redis: Redis | undefined,
  who: string,
): Promise<Adopted> {
  const work = () => adopt(place, tenant, source, root);
  try {
    if (redis === undefined) return work();
    const hold = { name: 'adopt', who, reason: `from ${source}`, exclusive: true } as const;
    return await withHeldTenant(redis, place.group, tenant, hold, async held => {
      await held.assertHeld();
      return work();
    });
  } catch (error) {
    throw toFileError(error, `Cannot adopt ${source}`);
  }
}

function adopt(place: DataPlace, tenant: string, source: string, root: string): Adopted {
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  const inPlace = resolve(source) === file;
  const contentHash = exclusively(inPlace ? realDatabasePath(file) : source, place.busyTimeoutMs, db => {
    const { problems } = checkAs('quick', db);
    if (problems.length > 0) {
      throw new OnewriterError('DATABASE_CORRUPT', `${source} is damaged: ${problems[0]}.`, { problems });
    }
    assertNotOurs(db, source, inPlace);
    return hashContent(db);
  });
  const warnings: string[] = [];
  if (!inPlace) {
    link(place, tenant, source, file, warnings);
    verify(place, tenant, source, file, contentHash);
  }
  noteKnownDatabase(place.dataDir, tenant);
  flushPath(dirname(knownTenantMark(place.dataDir, tenant)));
  flushPath(place.dataDir);
  if (!inPlace) removeName(source, root);
  const { size } = statSync(file);
  return { tenant, source, file, moved: !inPlace, bytes: size, contentHash, warnings };
}

function assertNotOurs(db: Parameters<typeof readFormat>[0], source: string, inPlace: boolean): void {
  if (readFormat(db) !== undefined) {
    if (inPlace) return;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${source} was written by Onewriter: restore it (onewriter restore ${source} <tenant>), or release it where it comes from.`,
    );
  }
  const [own] = findOwnObjects(db);
  if (own === undefined) return;
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${source} has ${own.type} ${own.name}: names that begin with _onewriter_ are for the broker.`,
  );
}

/** Gives the file its second name. @throws OnewriterError TENANT_BUSY, INVALID_ARGUMENT; Error of the file system */
function link(place: DataPlace, tenant: string, source: string, file: string, warnings: string[]): void {
  const tenants = tenantsDir(place.dataDir);
  const owner = ownerOf(tenants) ?? ownerOf(place.dataDir);
  const folder = dirname(file);
  mkdirSync(tenants, { recursive: true });
  if (!existsSync(folder)) {
    mkdirSync(folder);
    giveTo(folder, owner, warnings);
    flushPath(tenants);
    flushPath(place.dataDir);
  }
  const there = findDatabaseFile(file);
  // A run that was killed has linked it.
  if (there !== undefined && isSameFile(there.path, source)) return;
  if (there !== undefined) throw taken(tenant, file);
  for (const suffix of DATABASE_COMPANIONS) {
    if (!existsSync(file + suffix)) continue;
    throw new OnewriterError(
      'TENANT_UNAVAILABLE',
      `${file}${suffix} lies there without its database: SQLite would take it for that of the adopted file. Move it away.`,
      { tenant },
    );
  }
  giveTo(source, owner, warnings);
  const { mode } = statSync(source);
  if ((mode & 0o600) !== 0o600) chmodSync(source, (mode & 0o777) | 0o600);
  try {
    if (!hadDatabase(place.dataDir, tenant)) linkSync(source, file);
    else linkUnderOwnName(tenant, source, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw taken(tenant, file);
    if (code !== 'EXDEV') throw error;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${source} lies on another file system than ${place.dataDir}, and adopting copies nothing. Put the data directory there, or restore a copy: onewriter restore ${source} ${tenant}.`,
      { tenant },
      error,
    );
  }
  flushPath(folder);
}

/** For a tenant that had a file before: no name is used twice. */
function linkUnderOwnName(tenant: string, source: string, file: string): void {
  const name = newDatabaseName(basename(file));
  linkSync(source, join(dirname(file), name));
  if (linkNewDatabase(file, name)) return;
  unlinkSync(join(dirname(file), name));
  throw taken(tenant, file);
}

function taken(tenant: string, file: string): OnewriterError {
  return new OnewriterError('TENANT_BUSY', `Tenant ${tenant} has another file already: ${file}.`, { tenant });
}

function isSameFile(path: string, other: string): boolean {
  const [one, two] = [statSync(path), statSync(other)];
  return one.ino === two.ino && one.dev === two.dev;
}

/** @throws OnewriterError DATABASE_CORRUPT; the second name is gone then */
function verify(place: DataPlace, tenant: string, source: string, file: string, contentHash: string): void {
  const path = realDatabasePath(file);
  try {
    const db = openForLook(path, true, place.busyTimeoutMs);
    try {
      if (hashContent(db) === contentHash) return;
    } finally {
      db.close();
    }
    throw new OnewriterError(
      'DATABASE_CORRUPT',
      `${source} changed while it was adopted: another process writes it. Stop that first.`,
      { tenant },
    );
  } catch (error) {
    if (path !== file) unlinkSync(file);
    unlinkSync(path);
    throw error;
  }
}

/** Removes the first name, what SQLite left beside it, and the folder if nothing else is in it. */
function removeName(source: string, root: string): void {
  unlinkSync(source);
  for (const suffix of DATABASE_COMPANIONS) rmSync(source + suffix, { force: true });
  const folder = dirname(source);
  flushPath(folder);
  if (resolve(folder) === resolve(root)) return;
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EACCES' && code !== 'EBUSY' && code !== 'EPERM') throw error;
  }
}
