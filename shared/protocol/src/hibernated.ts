import { lstatSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flushPath } from './flush-path.ts';
import { hibernatedNotePath } from './names.ts';
import { OnewriterError } from './onewriter-error.ts';
import { readFileIfThere } from './read-file-if-there.ts';
import { TENANT_ID_PATTERN } from './tenant-id.ts';

/*
 * A hibernated tenant has no file here: it lies in the replica, and a note says so. A file that is there counts, whatever a note says:
 * the note comes before the file goes, and goes after the file has come.
 */

/** `<dataDir>/hibernated/<tenant>`. */
export interface HibernatedNote {
  /** The newest commit of its file; 0 where that is known to the replica only. */
  readonly commitSeq: number;
  /** Size of its file. */
  readonly bytes: number;
  /** ISO time. */
  readonly since: string;
  /** A person, or the broker. */
  readonly who: string;
  /** How the replica finds it without a search; only the replicator reads it. */
  readonly place?: unknown;
}

/** `details.reason` where a tenant's file is not here. */
export const HIBERNATED = 'hibernated';
/** A file goes within milliseconds after its note. */
const MAX_LEAVING_MS = 60_000;
/** A small file is here after less than that. */
const RETRY_AFTER_MS = 100;

/** Undefined where the tenant is not hibernated. @throws OnewriterError TENANT_UNAVAILABLE where the note cannot be read */
export function readHibernated(dataDir: string, tenant: string): HibernatedNote | undefined {
  const path = hibernatedNotePath(dataDir, tenant);
  const text = readFileIfThere(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as HibernatedNote;
  } catch (error) {
    const message = `${path} cannot be read: it says that tenant ${tenant} lies in the replica. Restore it: onewriter restore ${tenant} --at newest --as …`;
    throw new OnewriterError('TENANT_UNAVAILABLE', message, { tenant }, error);
  }
}

/** Whether there is a note, without a look at the file. @throws Error of the file system */
export function isHibernated(dataDir: string, tenant: string): boolean {
  return lstatSync(hibernatedNotePath(dataDir, tenant), { throwIfNoEntry: false }) !== undefined;
}

/** Notes it durably. @throws Error of the file system */
export function noteHibernated(dataDir: string, tenant: string, note: HibernatedNote): void {
  const path = hibernatedNotePath(dataDir, tenant);
  const folder = dirname(path);
  if (mkdirSync(folder, { recursive: true }) !== undefined) flushPath(dirname(folder));
  const draft = `${path}.draft`;
  writeFileSync(draft, JSON.stringify(note), { flush: true });
  renameSync(draft, path);
  flushPath(folder);
}

/** Its file is here, or it is deleted. Idempotent. @throws Error of the file system */
export function forgetHibernated(dataDir: string, tenant: string): void {
  rmSync(hibernatedNotePath(dataDir, tenant), { force: true });
}

/** It is deleted: where the note came back with a power cut, so would the tenant. @throws Error of the file system */
export function forgetHibernatedForGood(dataDir: string, tenant: string): void {
  if (!isHibernated(dataDir, tenant)) return;
  forgetHibernated(dataDir, tenant);
  flushPath(dirname(hibernatedNotePath(dataDir, tenant)));
}

/**
 * Removes the note of a tenant whose file is here, as a process left it that was killed: where the file is moved away later, it must be
 * missing, and not come back out of the replica as it was. @throws Error of the file system
 */
export function forgetOldHibernated(dataDir: string, tenant: string): void {
  const note = lstatSync(hibernatedNotePath(dataDir, tenant), { throwIfNoEntry: false });
  // A file that is about to go has a new one.
  if (note !== undefined && Date.now() - note.mtimeMs > MAX_LEAVING_MS) forgetHibernated(dataDir, tenant);
}

/** Tenants with a note, sorted. @throws Error of the file system */
export function listHibernated(dataDir: string): string[] {
  try {
    return readdirSync(`${dataDir}/hibernated`)
      .filter(name => TENANT_ID_PATTERN.test(name))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Tenants with a note. @throws Error of the file system */
export async function countHibernated(dataDir: string): Promise<number> {
  try {
    return (await readdir(`${dataDir}/hibernated`)).filter(name => TENANT_ID_PATTERN.test(name)).length;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
}

/** Keeps another file from being put where a hibernated tenant's will be. @throws OnewriterError TENANT_BUSY */
export function assertNotHibernated(dataDir: string, tenant: string): void {
  if (!isHibernated(dataDir, tenant)) return;
  const message = `Tenant ${tenant} is hibernated: its file is in the replica. Bring it back first: onewriter wake ${tenant}.`;
  throw new OnewriterError('TENANT_BUSY', message, { tenant, reason: HIBERNATED });
}

/** What a read or a write of a hibernated tenant meets first. */
export function hibernatedError(tenant: string): OnewriterError {
  return new OnewriterError(
    'TENANT_WAKING',
    `Tenant ${tenant} is hibernated: its file comes from the replica.`,
    {
      ...{ tenant, reason: HIBERNATED, retryAfterMs: RETRY_AFTER_MS },
    },
  );
}
