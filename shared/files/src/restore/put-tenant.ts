import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { OnewriterError, realDatabasePath, tenantFile } from '@onewriter/protocol';
import { type HeldTenant, isTenantPaused, markPaused, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import type { JobLimits } from '../processes/job-limits.ts';
import type { JobKind } from '../processes/job-messages.ts';
import { type ProcessOptions, runOneJob } from '../processes/job-processes.ts';
import type { FileNumbers, Numbered } from './file-numbers.ts';
import { lastEpoch } from './last-epoch.ts';
import { newDraft, removeLostDrafts } from './new-draft.ts';
import { linkNewFile, replaceFile } from './put-in-place.ts';
import type { StagedFile } from './staged-file.ts';

/*
 * A restore and an import put a file in a tenant's place. Both destroy nothing, and leave everything as it was until the last
 * moment:
 *
 *   make the file beside the tenant's ▸ check it ▸                                   nothing has changed yet (a process of its own)
 *   pause the tenant ▸ the broker closes its file ▸ no other process writes it ▸
 *   number the new file on from the old one ▸                         (a process of its own, too)
 *   a second name for the old one ▸ the path leads to the new one ▸ the old one ends ▸
 *   resume the tenant ▸ the broker commits to it
 *
 * What is added to a tenant's content is made while the tenant is held: the new file begins as a copy of the old one.
 */

/** What is to be put in a tenant's place. */
export interface PutRequest {
  readonly tenant: string;
  /**
   * - `new`: there is no file, and there must be none
   * - `replace`: the tenant's file is put aside
   * - `add`: as `replace`, and the process begins with a copy of it, so that the tenant is held from the start
   */
  readonly where: 'new' | 'replace' | 'add';
  /** What makes and checks the file. @param base the tenant's file, to `add` */
  readonly job: (draft: string, base: string | undefined) => JobKind;
  /** Whether the new file takes over the ledger of the one it replaces. */
  readonly keepsLedger: boolean;
  /** Whether it stays paused afterwards. */
  readonly leavePaused: boolean;
  /** Undefined: the caller vouches that no broker runs. */
  readonly redis: Redis | undefined;
  /** Who does it and why, for those who find the tenant held. */
  readonly who: string;
  readonly reason: string;
  readonly limits: JobLimits;
  /** Of its processes, as {@link ProcessOptions.env}. */
  readonly env?: ProcessOptions['env'];
  readonly priority?: 'low' | 'usual' | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes that are done, in the process. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Called when the file is checked: from here on it is finished, whatever the signal says. */
  readonly onChecked?: (() => void) | undefined;
}

/** What was put there. */
export interface PutFile<T> {
  readonly file: string;
  readonly staged: T;
  /** The file that was there before, under its new name; null for a new tenant, and where it was added to. */
  readonly replaced: string | null;
  /** Numbers of that one; null for a new tenant, and where it could not be read. */
  readonly old: FileNumbers | null;
  /** The number that putting it there has itself. */
  readonly commitSeq: number;
  /** Jobs that wait in the queue: they are applied to it. */
  readonly queuedJobs: number | null;
  readonly paused: boolean;
  readonly warnings: readonly string[];
}

/**
 * Makes a file in a process of its own and puts it in a tenant's place.
 * @throws OnewriterError TENANT_BUSY (another process writes its file), ABORTED, STATEMENT_TIMEOUT, RESULT_TOO_LARGE, DATABASE_…,
 * TENANT_UNAVAILABLE, and what the process answers. Nothing has changed then, unless the message says otherwise.
 */
export async function putTenant<T extends StagedFile>(
  place: DataPlace,
  request: PutRequest,
): Promise<PutFile<T>> {
  const file = resolve(tenantFile(place.dataDir, request.tenant, place.dbFile));
  const { redis } = request;
  if (request.where !== 'add') {
    return withStaged<T>(place, request, file, async staged => {
      if (request.where === 'new') return placeHeld(place, request, staged);
      if (redis !== undefined)
        return holdFor(place, request, redis, held => replaceHeld(place, request, staged, redis, held));
      const numbered = await numberInProcess(place, request, staged, file, 0);
      return finish(staged, replace(place, staged, numbered, true), null, false);
    });
  }
  if (redis === undefined) throw new TypeError('A tenant cannot be added to without Redis.');
  return holdFor(place, request, redis, held =>
    withStaged<T>(place, request, file, staged => replaceHeld(place, request, staged, redis, held)),
  );
}

/** The file beside the tenant's. */
interface Staged<T> {
  readonly made: T;
  readonly path: string;
  /** Where it will be. */
  readonly file: string;
  readonly warnings: string[];
}

async function withStaged<T extends StagedFile>(
  place: DataPlace,
  request: PutRequest,
  file: string,
  put: (staged: Staged<T>) => Promise<PutFile<T>>,
): Promise<PutFile<T>> {
  const staged = await stage<T>(place, request, file);
  const { before } = staged.made;
  if (before !== undefined)
    return finish(staged, { replaced: null, old: null, commitSeq: before }, null, false);
  try {
    if (request.signal?.aborted) throw new OnewriterError('ABORTED', 'It was stopped; nothing has changed.');
    request.onChecked?.();
    return await put(staged);
  } finally {
    removeDatabase(staged.path);
  }
}

/** Has a process make the file and check it. @throws OnewriterError as {@link putTenant} */
async function stage<T extends StagedFile>(
  place: DataPlace,
  request: PutRequest,
  file: string,
): Promise<Staged<T>> {
  removeLostDrafts(file);
  const draft = newDraft(place.dataDir, file);
  const { path } = draft;
  try {
    const base = request.where === 'add' ? realDatabasePath(file) : undefined;
    const made = await runOne<T>(place, request, request.job(path, base), request.signal);
    if (made.before === undefined) draft.dress();
    return { made, path, file, warnings: [...draft.warnings, ...made.warnings] };
  } catch (error) {
    draft.discard(); // that of a process that was stopped
    throw error;
  }
}

function runOne<T>(
  place: DataPlace,
  { tenant, limits, env, priority, onProgress }: PutRequest,
  job: JobKind,
  signal: AbortSignal | undefined,
): Promise<T> {
  return runOneJob<T>({ place, job }, tenant, { limits, env, priority, signal, onProgress });
}

/**
 * Holds the tenant meanwhile: its writes may wait for the file, which is gone, and the end of the hold says to the broker that a
 * person put another in its place.
 */
async function placeHeld<T extends StagedFile>(
  place: DataPlace,
  request: PutRequest,
  staged: Staged<T>,
): Promise<PutFile<T>> {
  const { tenant, redis, reason, who } = request;
  const work = () => placeNew(place, request, staged);
  if (redis === undefined) return work();
  const hold = { name: 'restore', who, reason, exclusive: true } as const;
  return keepResult(keep =>
    withHeldTenant(redis, place.group, tenant, hold, async held => {
      await held.beginChange();
      return keep(await work());
    }),
  );
}

/** What is in place stays there, and is answered, also where the end of the hold fails: it runs out then. */
async function keepResult<T>(
  work: (keep: (put: PutFile<T>) => PutFile<T>) => Promise<PutFile<T>>,
): Promise<PutFile<T>> {
  let kept: PutFile<T> | undefined;
  try {
    return await work(put => {
      kept = put;
      return put;
    });
  } catch (error) {
    if (kept === undefined) throw error;
    return { ...kept, warnings: [...kept.warnings, inPlaceAnd(error)] };
  }
}

function inPlaceAnd(error: unknown): string {
  return `the file is in place, and what came afterwards failed (${(error as Error).message}): look whether the tenant is held or paused.`;
}

async function placeNew<T extends StagedFile>(
  place: DataPlace,
  request: PutRequest,
  staged: Staged<T>,
): Promise<PutFile<T>> {
  const { tenant, redis } = request;
  const epoch = await lastEpoch(place, redis);
  const numbered = await numberInProcess(place, request, staged, null, epoch);
  linkNewFile(place, tenant, staged.path, staged.file);
  let paused = false;
  try {
    paused = redis !== undefined && (await isTenantPaused(redis, place.group, tenant));
  } catch (error) {
    staged.warnings.push(inPlaceAnd(error));
  }
  return finish(staged, { replaced: null, ...numbered }, null, paused);
}

/** Has the broker close the file, and holds the tenant until `work` has put the new one in place. */
function holdFor<T>(
  { group }: DataPlace,
  { tenant, reason, who }: PutRequest,
  redis: Redis,
  work: (held: HeldTenant) => Promise<PutFile<T>>,
): Promise<PutFile<T>> {
  const hold = { name: 'restore', who, reason, exclusive: true, pauseIfLost: true } as const;
  return keepResult(keep => withHeldTenant(redis, group, tenant, hold, async held => keep(await work(held))));
}

async function replaceHeld<T extends StagedFile>(
  place: DataPlace,
  request: PutRequest,
  staged: Staged<T>,
  redis: Redis,
  held: HeldTenant,
): Promise<PutFile<T>> {
  const { tenant, leavePaused, who } = request;
  const { group } = place;
  const numbered = await numberInProcess(place, request, staged, staged.file, await lastEpoch(place, redis));
  await held.beginChange();
  let outcome: ReplacedFile;
  try {
    // Where it was added to, the new file holds all of it; kept, each small addition would leave the tenant's size on the disk.
    outcome = replace(place, staged, numbered, request.where !== 'add');
  } catch (error) {
    // Half replaced: no broker may take that for a tenant without a file. Without Redis the hold runs out, to the same end.
    if (!existsSync(staged.file)) {
      await markPaused(redis, group, tenant, who, 'its restore failed half way').catch(() => {});
    }
    throw error;
  }
  let paused = false;
  let queuedJobs: number | null = null;
  try {
    if (leavePaused) await markPaused(redis, group, tenant, who, 'left paused by its restore');
    paused = await isTenantPaused(redis, group, tenant);
    queuedJobs = await held.countJobs();
  } catch (error) {
    staged.warnings.push(inPlaceAnd(error));
  }
  return finish(staged, outcome, queuedJobs, paused);
}

interface ReplacedFile extends Numbered {
  readonly replaced: string | null;
}

/**
 * Has a process number the new file on. It is finished, whatever the signal says.
 * @param old the file that it replaces
 * @throws OnewriterError TENANT_BUSY, and as {@link runOne}
 */
async function numberInProcess(
  place: DataPlace,
  request: PutRequest,
  { path, made: { numbers, loadKey }, warnings }: Staged<StagedFile>,
  old: string | null,
  epoch: number,
): Promise<Numbered> {
  // A copy of the old file has its ledger.
  const keepsLedger = request.keepsLedger && request.where === 'replace';
  const job = { kind: 'number', draft: path, numbers, old, keepsLedger, epoch, loadKey } as const;
  const numbered = await runOne<Numbered>(place, request, job, undefined);
  if (keepsLedger && numbered.old === null)
    warnings.push('the ledger of the replaced file could not be read: its receipts are unknown now.');
  return numbered;
}

function replace(
  { busyTimeoutMs }: DataPlace,
  { file, path, warnings }: Staged<StagedFile>,
  numbered: Numbered,
  keeps: boolean,
): ReplacedFile {
  const { replaced, warning } = replaceFile(file, path, busyTimeoutMs, keeps);
  if (warning !== undefined) warnings.push(warning);
  return { replaced, ...numbered };
}

function finish<T>(
  { made, file, warnings }: Staged<T>,
  { replaced, old, commitSeq }: ReplacedFile,
  queuedJobs: number | null,
  paused: boolean,
): PutFile<T> {
  return { file, staged: made, replaced, old, commitSeq, queuedJobs, paused, warnings };
}
