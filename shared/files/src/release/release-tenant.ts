import { chmodSync, existsSync, linkSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import {
  findDatabaseFile,
  flushPath,
  forgetKnownDatabase,
  OnewriterError,
  settleDatabaseChange,
  tenantFile,
} from '@onewriter/protocol';
import { type HeldTenant, markPaused, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { opensRetired } from '../open/opens-retired.ts';
import { exclusively } from '../own/exclusively.ts';
import { callerFor } from '../processes/in-thread.ts';
import { giveTo } from '../restore/file-owner.ts';
import { compareReleased, copyPlain, makeDraft, ownerInTree } from './copy-plain.ts';
import { makePlain, type PlainJournalMode } from './make-plain.ts';
import { moveToTrash } from './move-to-trash.ts';
import { assertNoLog, assertTarget } from './release-target.ts';

/*
 * Gives a tenant's file back, as a plain file of SQLite. A process that is killed leaves the tenant as it was, or done:
 *
 *   in its place     the writer's tables go in one transaction ▸ the file gets the plain name ▸ no more known ▸ paused
 *   to a new place   a copy beside the new place ▸ the copy is made plain and compared ▸ no write waits ▸ it gets its name ▸
 *                    the tenant's folder goes to the trash ▸ paused
 *
 * The tenant stays paused: a write that came later would make it Onewriter's again, or make a new, empty file. Where the process is
 * killed while files change, the end of its hold pauses the tenant.
 */

/** How a tenant is released. */
export interface ReleaseRequest {
  /** Where the file is to be; undefined: it stays in its place. Absolute. */
  readonly target: string | undefined;
  readonly journalMode: PlainJournalMode;
  /** How long the folder of a file that was copied stays in the trash. */
  readonly retentionMs: number;
  /** Who asked for it. */
  readonly who: string;
}

/** A tenant's file that is plain. */
export interface Released {
  readonly tenant: string;
  readonly file: string;
  readonly bytes: number;
  /** See `hashContent`: the same as before. */
  readonly contentHash: string;
  readonly journalMode: PlainJournalMode;
  /** Folder of the tenant in the trash; null where the file stays in its place. */
  readonly trash: string | null;
  readonly warnings: readonly string[];
}

/**
 * Releases a tenant.
 *
 * @param redis undefined: the caller vouches that no broker runs
 * @throws OnewriterError TENANT_NOT_FOUND, TENANT_BUSY (writes wait in its queue), DATABASE_BUSY (a process has the file open),
 * INVALID_ARGUMENT (there is another file at the target), DATABASE_…, TENANT_UNAVAILABLE
 */
export async function releaseTenant(
  place: DataPlace,
  tenant: string,
  redis: Redis | undefined,
  request: ReleaseRequest,
): Promise<Released> {
  try {
    if (redis === undefined) return await release(place, tenant, request, undefined);
    const { who, target } = request;
    const reason = target === undefined ? 'in its place' : `to ${target}`;
    const hold = { name: 'release', who, reason, exclusive: true, pauseIfLost: true } as const;
    return await withHeldTenant(redis, place.group, tenant, hold, async held => {
      const pause = () => markPaused(redis, place.group, tenant, who, `released ${reason}`);
      await assertNothingWaits(held, tenant);
      return release(place, tenant, request, { held, pause });
    });
  } catch (error) {
    throw toFileError(error, `Cannot release tenant ${tenant}`);
  }
}

/** What there is with a Redis. */
interface Led {
  readonly held: HeldTenant;
  readonly pause: () => Promise<void>;
}

/** Writes that wait would be lost. @throws OnewriterError TENANT_BUSY */
async function assertNothingWaits(held: HeldTenant, tenant: string): Promise<void> {
  const jobs = await held.countJobs();
  if (jobs === 0) return;
  throw new OnewriterError(
    'TENANT_BUSY',
    `${jobs === 1 ? '1 job waits' : `${jobs} jobs wait`} in the queue of tenant ${tenant}. Stop its clients, and release it when all are applied.`,
    { tenant, queuedJobs: jobs },
  );
}

async function release(
  place: DataPlace,
  tenant: string,
  request: ReleaseRequest,
  led: Led | undefined,
): Promise<Released> {
  const path = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  settleDatabaseChange(path, opensRetired(place.busyTimeoutMs));
  const source = findDatabaseFile(path)?.path;
  if (source === undefined)
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file ${path}.`, { tenant });
  const { target } = request;
  if (target === undefined || target === path)
    return releaseInPlace(place, tenant, request, { path, source }, led);
  assertTarget(place, target);
  return releaseTo(place, tenant, request, { target, source }, led);
}

async function releaseInPlace(
  place: DataPlace,
  tenant: string,
  { journalMode }: ReleaseRequest,
  { path, source }: { readonly path: string; readonly source: string },
  led: Led | undefined,
): Promise<Released> {
  await led?.held.beginChange();
  const call = callerFor(led?.held, statSync(source).size, new URL('./make-plain.js', import.meta.url));
  const contentHash = await call(makePlain, source, journalMode, place.busyTimeoutMs);
  await led?.held.assertHeld();
  // It was alone a moment ago, so nothing is beside it; a rename takes the place of the link.
  if (source !== path) renameSync(source, path);
  forgetKnownDatabase(place.dataDir, tenant);
  flushPath(dirname(path));
  const warnings = await pauseReleased(led, tenant);
  const { size: bytes } = statSync(path);
  return { tenant, file: path, bytes, contentHash, journalMode, trash: null, warnings };
}

async function releaseTo(
  place: DataPlace,
  tenant: string,
  { journalMode, retentionMs }: ReleaseRequest,
  { target, source }: { readonly target: string; readonly source: string },
  led: Led | undefined,
): Promise<Released> {
  const { busyTimeoutMs } = place;
  // Without Redis only SQLite's locks show whether a broker runs.
  if (led === undefined) exclusively(source, busyTimeoutMs, () => {});
  const call = callerFor(led?.held, statSync(source).size, new URL('./copy-plain.js', import.meta.url));
  const warnings: string[] = [];
  // A run that was killed may have put it there.
  const draft = existsSync(target) ? undefined : makeDraft(target, warnings);
  let isThere = false;
  let trash: string;
  let contentHash: string;
  try {
    contentHash = await (draft === undefined
      ? call(compareReleased, source, target, journalMode, busyTimeoutMs)
      : call(copyPlain, source, draft, journalMode, busyTimeoutMs));
    // The copy took its time.
    if (led !== undefined) await assertNothingWaits(led.held, tenant);
    await led?.held.beginChange();
    if (draft !== undefined) {
      putThere(draft, source, target, warnings);
      isThere = true;
    }
    trash = trashFolder(place, tenant, retentionMs, warnings);
  } catch (error) {
    // The tenant stays in use: an app must not find its file there.
    if (isThere && existsSync(source)) rmSync(target);
    throw error;
  } finally {
    if (draft !== undefined) removeDatabase(draft);
  }
  warnings.push(...(await pauseReleased(led, tenant)));
  const { size: bytes } = statSync(target);
  return { tenant, file: target, bytes, contentHash, journalMode, trash, warnings };
}

/** It is released, whatever Redis answers. @returns warnings */
async function pauseReleased(led: Led | undefined, tenant: string): Promise<readonly string[]> {
  if (led === undefined) return [];
  try {
    await led.pause();
    const jobs = await led.held.countJobs();
    return jobs === 0
      ? []
      : [
          `jobs that came at the last moment wait in its queue (${jobs}): they are applied if it is adopted and resumed.`,
        ];
  } catch (error) {
    return [
      `it may not be paused (${(error as Error).message}): a write of a client that was left behind makes a new file. Pause it: onewriter tenants pause ${tenant}.`,
    ];
  }
}

/** Gives the copy its rights and its name. @throws OnewriterError INVALID_ARGUMENT; Error of the file system */
function putThere(draft: string, source: string, target: string, warnings: string[]): void {
  chmodSync(draft, statSync(source).mode & 0o777);
  giveTo(draft, ownerInTree(dirname(target)), warnings);
  assertNoLog(target);
  // Unlike a rename it never takes the place of a file.
  linkSync(draft, target);
  rmSync(draft);
  flushPath(dirname(target));
}

function trashFolder(place: DataPlace, tenant: string, retentionMs: number, warnings: string[]): string {
  const { folder, notRetired } = moveToTrash(place, tenant, retentionMs);
  if (notRetired !== undefined) {
    warnings.push(
      `the old file could not take a last commit (${notRetired.message}): a process that has it open reads it until it is restarted.`,
    );
  }
  return folder;
}
