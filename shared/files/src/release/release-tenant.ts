import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  findDatabaseFile,
  flushPath,
  forgetKnownDatabase,
  OnewriterError,
  tenantFile,
} from '@onewriter/protocol';
import { type HeldTenant, markPaused, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { assertRoom } from '../assert-room.ts';
import { copyDatabase, removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly } from '../open/open-database.ts';
import { hashContent } from '../own/content-hash.ts';
import { exclusively } from '../own/exclusively.ts';
import { giveTo, ownerOf } from '../restore/file-owner.ts';
import { makePlain, type PlainJournalMode } from './make-plain.ts';
import { moveToTrash } from './move-to-trash.ts';

/*
 * Gives a tenant's file back, as a plain file of SQLite. A process that is killed leaves the tenant as it was, or done:
 *
 *   in its place     the writer's tables go in one transaction ▸ the file gets the plain name ▸ no more known ▸ paused
 *   to a new place   a copy beside the new place ▸ the copy is made plain and compared ▸ it gets its name ▸
 *                    paused ▸ the tenant's folder goes to the trash
 *
 * The tenant stays paused: a write that came later would make it Onewriter's again, or make a new, empty file.
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
    const hold = { name: 'release', who, reason, exclusive: true } as const;
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
  const source = findDatabaseFile(path)?.path;
  if (source === undefined)
    throw new OnewriterError('TENANT_NOT_FOUND', `Tenant ${tenant} has no file ${path}.`, { tenant });
  const { target } = request;
  return target === undefined || target === path
    ? releaseInPlace(place, tenant, request, { path, source }, led)
    : releaseTo(place, tenant, request, { target, source }, led);
}

async function releaseInPlace(
  place: DataPlace,
  tenant: string,
  { journalMode }: ReleaseRequest,
  { path, source }: { readonly path: string; readonly source: string },
  led: Led | undefined,
): Promise<Released> {
  await led?.held.beginChange();
  const contentHash = makePlain(source, journalMode, place.busyTimeoutMs);
  // It was alone a moment ago, so nothing is beside it; a rename takes the place of the link.
  if (source !== path) renameSync(source, path);
  forgetKnownDatabase(place.dataDir, tenant);
  flushPath(dirname(path));
  await led?.pause();
  const { size: bytes } = statSync(path);
  return { tenant, file: path, bytes, contentHash, journalMode, trash: null, warnings: [] };
}

async function releaseTo(
  place: DataPlace,
  tenant: string,
  { journalMode, retentionMs }: ReleaseRequest,
  { target, source }: { readonly target: string; readonly source: string },
  led: Led | undefined,
): Promise<Released> {
  // Without Redis only SQLite's locks show whether a broker runs.
  if (led === undefined) exclusively(source, place.busyTimeoutMs, () => {});
  const warnings: string[] = [];
  const contentHash = existsSync(target)
    ? assertSame(place, source, target)
    : await copyPlain(place, source, target, journalMode, warnings);
  await led?.pause();
  await led?.held.assertHeld();
  const { folder, notRetired } = moveToTrash(place, tenant, retentionMs);
  if (notRetired !== undefined) {
    warnings.push(
      `the old file could not take a last commit (${notRetired.message}): a process that has it open reads it until it is restarted.`,
    );
  }
  const { size: bytes } = statSync(target);
  return { tenant, file: target, bytes, contentHash, journalMode, trash: folder, warnings };
}

/** What a run that was killed has put there already. @throws OnewriterError INVALID_ARGUMENT where it is something else */
function assertSame(place: DataPlace, source: string, target: string): string {
  const hash = (path: string) => {
    const db = openReadOnly(path, place.busyTimeoutMs);
    try {
      return hashContent(db);
    } finally {
      db.close();
    }
  };
  const contentHash = hash(source);
  if (hash(target) === contentHash) return contentHash;
  throw new OnewriterError('INVALID_ARGUMENT', `There is another file at ${target}: move it away.`);
}

async function copyPlain(
  place: DataPlace,
  source: string,
  target: string,
  journalMode: PlainJournalMode,
  warnings: string[],
): Promise<string> {
  const folder = dirname(target);
  mkdirSync(folder, { recursive: true });
  removeDrafts(target);
  assertRoom(folder, statSync(source).size);
  const draft = join(folder, `${draftPrefix(target)}${process.pid}`);
  try {
    const before = await copyDatabase(
      source,
      draft,
      place.busyTimeoutMs,
      () => undefined,
      db => hashContent(db),
    );
    const contentHash = makePlain(draft, journalMode, place.busyTimeoutMs);
    if (contentHash !== before) {
      throw new OnewriterError(
        'DATABASE_CORRUPT',
        `The copy of ${source} has another content; nothing was changed.`,
      );
    }
    chmodSync(draft, statSync(source).mode & 0o777);
    giveTo(draft, ownerOf(source), warnings);
    // Unlike a rename it never takes the place of a file.
    linkSync(draft, target);
    rmSync(draft);
    flushPath(folder);
    return contentHash;
  } catch (error) {
    removeDatabase(draft);
    throw error;
  }
}

function draftPrefix(target: string): string {
  return `.${basename(target)}.releasing-`;
}

/** Of killed runs: of one tenant only one is released at a time. */
function removeDrafts(target: string): void {
  for (const name of readdirSync(dirname(target)))
    if (name.startsWith(draftPrefix(target))) rmSync(join(dirname(target), name), { force: true });
}
