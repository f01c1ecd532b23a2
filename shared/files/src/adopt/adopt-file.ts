import { existsSync, rmdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { OnewriterError, realDatabasePath, tenantFile } from '@onewriter/protocol';
import { type HeldTenant, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { findLog } from '../own/exclusively.ts';
import { callerFor } from '../processes/in-thread.ts';
import { examine, noteAdopted, removeFirstName } from './adopt-steps.ts';
import { findSecondName, giveSecondName, type SecondName } from './second-name.ts';

/*
 * Adopts a file: gives it its place in the data directory, on the same file system, without a copy. It may be killed at each step,
 * and continues there when it runs again:
 *
 *   settle what a killed process left ▸ hash ▸ a second name, in the tenant's folder ▸ locked: hash again ▸ the tenant is known ▸
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
  const request = { place, tenant, source, root };
  try {
    if (redis === undefined) return await adopt(request, undefined);
    const hold = { name: 'adopt', who, reason: `from ${source}`, exclusive: true } as const;
    return await withHeldTenant(redis, place.group, tenant, hold, held => adopt(request, held));
  } catch (error) {
    throw toFileError(error, `Cannot adopt ${source}`);
  }
}

interface Adoption {
  readonly place: DataPlace;
  readonly tenant: string;
  readonly source: string;
  readonly root: string;
}

async function adopt(adoption: Adoption, held: HeldTenant | undefined): Promise<Adopted> {
  const { place, tenant, source, root } = adoption;
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  const inPlace = resolve(source) === file;
  const begun = inPlace ? realDatabasePath(file) : findSecondName(file, source);
  const path = begun !== undefined && (inPlace || findLog(begun) !== undefined) ? begun : source;
  const call = callerFor(held, statSync(source).size, new URL('./adopt-steps.js', import.meta.url));
  const contentHash = await call(examine, path, source, begun !== undefined, place.busyTimeoutMs);
  const warnings: string[] = [];
  await held?.assertHeld();
  if (inPlace) noteAdopted(place.dataDir, tenant);
  else {
    const second = giveSecondName(place, tenant, source, file, warnings);
    const { dataDir, busyTimeoutMs } = place;
    try {
      await call(removeFirstName, dataDir, tenant, source, second.path, contentHash, busyTimeoutMs);
    } catch (error) {
      throw giveUp(second, source, error);
    }
    removeIfEmpty(dirname(source), root);
  }
  const { size } = statSync(file);
  return { tenant, source, file, moved: !inPlace, bytes: size, contentHash, warnings };
}

/** Leaves the file as it was, where that is possible. @returns the error to throw */
function giveUp(second: SecondName, source: string, error: unknown): unknown {
  second.undo();
  if (!existsSync(second.path) || !existsSync(source)) return error;
  const failure = toFileError(error, `Cannot adopt ${source}`);
  return new OnewriterError(
    failure.code,
    `${failure.message} It is ${second.path} already, too: run this again, and let nothing open it before.`,
    failure.details,
    error,
  );
}

/** The folder of the first name, if nothing else is in it. */
function removeIfEmpty(folder: string, root: string): void {
  if (resolve(folder) === resolve(root)) return;
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EACCES' && code !== 'EBUSY' && code !== 'EPERM') throw error;
  }
}
