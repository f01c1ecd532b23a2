import { chmodSync, existsSync, mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fromWireError, groupKeys, OnewriterError, tenantFile, tenantsDir } from '@onewriter/protocol';
import { isTenantPaused, markPaused, withHeldTenant } from '@onewriter/tenants';
import type { Redis } from 'ioredis';
import { flush, removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import type { JobLimits } from '../processes/job-limits.ts';
import type { JobKind } from '../processes/job-messages.ts';
import { type JobOutcome, runInProcesses } from '../processes/job-processes.ts';
import type { Numbered } from './file-numbers.ts';
import { giveTo, type Owner, ownerOf } from './file-owner.ts';
import { linkNewFile, replaceFile } from './put-in-place.ts';
import type { StagedBackup } from './stage-backup.ts';

/*
 * A restore destroys nothing, and leaves everything as it was until the last moment:
 *
 *   copy the backup beside the tenant's file ▸ check the copy ▸                      nothing has changed yet (a process of its own)
 *   pause the tenant ▸ the broker closes its file ▸ no other process writes it ▸
 *   number the copy on from the old file ▸                            (a process of its own, too)
 *   a second name for the old one ▸ the path leads to the copy ▸ the old one ends ▸
 *   resume the tenant ▸ the broker commits to it
 */

/** What is to be restored. */
export interface RestoreRequest {
  /** Absolute. */
  readonly backup: string;
  readonly tenant: string;
  /** Whether the tenant's present file may be put aside. */
  readonly replace: boolean;
  /** Whether it stays paused afterwards. */
  readonly leavePaused: boolean;
  /** Undefined: the caller vouches that no broker runs. */
  readonly redis: Redis | undefined;
  /** Who restores it, for those who find the tenant held. */
  readonly who: string;
  /** What each process of it may take; `timeoutMs` gets the tenant's name. */
  readonly limits: JobLimits;
  /** `usual` for what a person started and waits for. Default: `low`. */
  readonly priority?: 'low' | 'usual' | undefined;
  /** Stops it as long as nothing has changed; afterwards it is finished. */
  readonly signal?: AbortSignal | undefined;
  /** Called when the backup is checked: from here on it is finished, whatever the signal says. */
  readonly onChecked?: (() => void) | undefined;
}

/** What a restore did. */
export interface RestoreReport {
  readonly tenant: string;
  readonly file: string;
  /** The file that was there before, under its new name; null for a new tenant. */
  readonly replaced: string | null;
  /** Newest commit of the backup; null where no broker had written it. */
  readonly backupCommitSeq: number | null;
  /** Newest commit of the replaced file; null for a new tenant, and where it could not be read. */
  readonly replacedCommitSeq: number | null;
  /** The number that the restore itself has. */
  readonly commitSeq: number;
  readonly rows: number;
  readonly tables: number;
  /** Null where the manifest does not say and it was not looked at. */
  readonly foreignKeyViolations: number | null;
  /** Whether the bytes were compared with a manifest. */
  readonly comparedWithManifest: boolean;
  /** Jobs that wait in the queue: they are applied to what was restored. */
  readonly queuedJobs: number | null;
  readonly paused: boolean;
  /** What could not be done as it should be. */
  readonly warnings: readonly string[];
}

/**
 * Restores a backup, as a new tenant or in the place of its file.
 *
 * @throws OnewriterError DATABASE_CORRUPT (the backup is damaged), TENANT_BUSY (there is a file and `replace` is not set;
 * or another process writes it), ABORTED, STATEMENT_TIMEOUT, RESULT_TOO_LARGE (its check took more than it may), DATABASE_…,
 * TENANT_UNAVAILABLE. Nothing has changed then, unless the message says otherwise.
 */
export async function restoreTenant(place: DataPlace, request: RestoreRequest): Promise<RestoreReport> {
  const { tenant, replace, redis, signal, onChecked } = request;
  const file = resolve(tenantFile(place.dataDir, tenant, place.dbFile));
  const isThere = existsSync(file);
  if (isThere && !replace) {
    throw new OnewriterError(
      'TENANT_BUSY',
      `Tenant ${tenant} has a file already. To put it aside and restore in its place: --replace. To look at the backup first, restore it under another name.`,
      { tenant },
    );
  }
  const staged = await stage(place, request, file);
  try {
    if (signal?.aborted) throw new OnewriterError('ABORTED', 'The restore was stopped; nothing has changed.');
    onChecked?.();
    if (!isThere) return await placeHeld(place, request, staged);
    return redis === undefined
      ? finish(request, staged, await replaceUnheld(place, request, staged), null, false)
      : await replaceReleased(place, request, staged, redis);
  } finally {
    removeDatabase(staged.path);
  }
}

/** The copy beside the tenant's file. */
interface Staged extends Omit<StagedBackup, 'warnings'> {
  readonly path: string;
  /** Where it will be. */
  readonly file: string;
  readonly warnings: string[];
}

/** Has a process copy the backup and check the copy. @throws OnewriterError as {@link restoreTenant} */
async function stage(place: DataPlace, request: RestoreRequest, file: string): Promise<Staged> {
  const warnings: string[] = [];
  const folder = dirname(file);
  const owner = ownerOf(existsSync(file) ? file : tenantsDir(place.dataDir));
  const path = `${file}.restoring-${process.pid}-${Date.now()}`;
  const isNew = !existsSync(folder);
  if (isNew) {
    mkdirSync(folder, { recursive: true });
    flush(tenantsDir(place.dataDir));
    giveTo(folder, owner, warnings);
  }
  try {
    const staged = await stageInProcess(place, request, path);
    dress(path, file, owner, warnings);
    return { ...staged, path, file, warnings: [...warnings, ...staged.warnings] };
  } catch (error) {
    removeDatabase(path); // that of a process that was stopped
    if (isNew) removeIfEmpty(folder);
    throw error;
  }
}

function stageInProcess(place: DataPlace, request: RestoreRequest, draft: string): Promise<StagedBackup> {
  return runInProcess(place, request, { kind: 'stage', backup: request.backup, draft }, request.signal);
}

/** @throws OnewriterError of the work; STATEMENT_TIMEOUT, RESULT_TOO_LARGE, ABORTED */
async function runInProcess<T>(
  place: DataPlace,
  { tenant, limits, priority }: RestoreRequest,
  job: JobKind,
  signal?: AbortSignal | undefined,
): Promise<T> {
  let outcome: JobOutcome<T> | undefined;
  await runInProcesses<T>({ place, job }, [tenant], { jobs: 1, limits, priority, signal }, (_, done) => {
    outcome = done;
  });
  if (outcome === undefined)
    throw new OnewriterError('INTERNAL', 'No process worked on the backup.', { tenant });
  if ('error' in outcome) throw fromWireError(outcome.error);
  return outcome.result;
}

/** Gives the copy the rights and the owner that the tenant's file has, or would have. */
function dress(path: string, file: string, owner: Owner | undefined, warnings: string[]): void {
  chmodSync(path, existsSync(file) ? statSync(file).mode & 0o777 : 0o666 & ~process.umask());
  giveTo(path, owner, warnings);
}

/** An empty folder of a tenant would look as if its file were lost. */
function removeIfEmpty(folder: string): void {
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

/**
 * Holds the tenant meanwhile: its writes may wait for the file, which is gone, and the end of the hold says to the broker that a
 * person put another in its place.
 */
async function placeHeld(place: DataPlace, request: RestoreRequest, staged: Staged): Promise<RestoreReport> {
  const { tenant, redis, backup, who } = request;
  const work = () => placeNew(place, request, staged);
  if (redis === undefined) return work();
  const hold = { name: 'restore', who, reason: `from ${backup}`, exclusive: true } as const;
  return withHeldTenant(redis, place.group, tenant, hold, async held => {
    await held.beginChange();
    return work();
  });
}

async function placeNew(place: DataPlace, request: RestoreRequest, staged: Staged): Promise<RestoreReport> {
  const { tenant, redis } = request;
  const epoch = await lastEpoch(place, redis);
  const numbered = await numberInProcess(place, request, staged, null, epoch);
  linkNewFile(place, tenant, staged.path, staged.file);
  const paused = redis !== undefined && (await isTenantPaused(redis, place.group, tenant));
  return finish(request, staged, { replaced: null, ...numbered }, null, paused);
}

/** Has the broker close the file, and holds the tenant until the new one is in place. */
async function replaceReleased(
  place: DataPlace,
  request: RestoreRequest,
  staged: Staged,
  redis: Redis,
): Promise<RestoreReport> {
  const { tenant, leavePaused, backup, who } = request;
  const { group } = place;
  const hold = {
    name: 'restore',
    who,
    reason: `from ${backup}`,
    exclusive: true,
    pauseIfLost: true,
  } as const;
  return withHeldTenant(redis, group, tenant, hold, async held => {
    const numbered = await numberInProcess(
      place,
      request,
      staged,
      staged.file,
      await lastEpoch(place, redis),
    );
    await held.beginChange();
    let outcome: ReplacedFile;
    try {
      outcome = replace(place, staged, numbered);
    } catch (error) {
      // Half replaced: no broker may take that for a tenant without a file. Without Redis the hold runs out, to the same end.
      if (!existsSync(staged.file)) {
        await markPaused(redis, group, tenant, who, 'its restore failed half way').catch(() => {});
      }
      throw error;
    }
    if (leavePaused) await markPaused(redis, group, tenant, who, 'left paused by its restore');
    const paused = await isTenantPaused(redis, group, tenant);
    return finish(request, staged, outcome, await held.countJobs(), paused);
  });
}

interface ReplacedFile extends Numbered {
  readonly replaced: string | null;
}

async function replaceUnheld(
  place: DataPlace,
  request: RestoreRequest,
  staged: Staged,
): Promise<ReplacedFile> {
  return replace(place, staged, await numberInProcess(place, request, staged, staged.file, 0));
}

/**
 * Has a process number the copy on. It is finished, whatever the signal says.
 * @throws OnewriterError as {@link runInProcess}; TENANT_BUSY
 */
function numberInProcess(
  place: DataPlace,
  request: RestoreRequest,
  { path, numbers }: Staged,
  old: string | null,
  epoch: number,
): Promise<Numbered> {
  return runInProcess(place, request, { kind: 'number', draft: path, numbers, old, epoch });
}

function replace(
  { busyTimeoutMs }: DataPlace,
  { file, path, warnings }: Staged,
  numbered: Numbered,
): ReplacedFile {
  const { replaced, warning } = replaceFile(file, path, busyTimeoutMs);
  if (warning !== undefined) warnings.push(warning);
  return { replaced, ...numbered };
}

/** The newest epoch that Redis knows: an older leader that wakes up must not be able to write the restored file. */
async function lastEpoch({ group }: DataPlace, redis: Redis | undefined): Promise<number> {
  if (redis === undefined) return 0;
  return Number((await redis.get(groupKeys(group).epoch)) ?? 0);
}

function finish(
  request: RestoreRequest,
  staged: Staged,
  { replaced, old, commitSeq }: ReplacedFile,
  queuedJobs: number | null,
  paused: boolean,
): RestoreReport {
  return {
    tenant: request.tenant,
    file: staged.file,
    replaced,
    backupCommitSeq: staged.commitSeq,
    replacedCommitSeq: replaced === null ? null : (old?.commitSeq ?? null),
    commitSeq,
    rows: staged.rows,
    tables: staged.tables,
    foreignKeyViolations: staged.foreignKeyViolations,
    comparedWithManifest: staged.comparedWithManifest,
    queuedJobs,
    paused,
    warnings: staged.warnings,
  };
}
