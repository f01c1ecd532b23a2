import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  groupKeys,
  hadDatabase,
  linkNewDatabase,
  newDatabaseName,
  OnewriterError,
  shownName,
  tenantFile,
  tenantsDir,
  uuidv7,
} from '@onewriter/protocol';
import type { UncheckedTable } from '@onewriter/runtime/inspect';
import { isTenantPaused, markPaused, withHeldTenant } from '@onewriter/tenants';
import { addLedgerNote, FILE_FORMAT, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import { operatorName } from '../operator.ts';
import { toFileError } from '../sqlite-error.ts';
import type { Target } from '../target.ts';
import { hasTable, openReadOnly, readFormat, readState } from '../tenants/open-tenant.ts';
import { assertRoom } from './backup-tenant.ts';
import { checkAs, countViolations, mergeUnchecked } from './check-file.ts';
import { countRows, MAPPED_BYTES } from './compare-copy.ts';
import { copyDatabase, flush, removeDatabase } from './copy-database.ts';
import { explainFile } from './explain-file.ts';
import { assertUnchanged, type BackupManifest } from './manifest.ts';
import { swapFile } from './swap-file.ts';

/*
 * A restore destroys nothing, and leaves everything as it was until the last moment:
 *
 *   copy the backup beside the tenant's file ▸ check the copy ▸                      nothing has changed yet
 *   pause the tenant ▸ the broker closes its file ▸ no other process writes it ▸
 *   number the copy on from the old file ▸ a second name for the old one ▸ the path leads to the copy ▸ the old one ends ▸
 *   resume the tenant ▸ the broker commits to it
 *
 * Numbering (ADR "A restore is a commit"): readers and clients hold commit numbers, positions in the ledger and epochs of
 * the old file; none of them may seem to run backwards. So the copy takes the higher epoch, and one commit more than the
 * higher commit number, which is a row of the ledger of its own.
 */

/** Where the old file cannot be read, commit numbers continue from here: more than it can have made since any backup. */
const LEAP = 1_000_000_000_000;

/** What is to be restored, checked. */
export interface RestoreRequest {
  /** Absolute. */
  readonly backup: string;
  readonly manifest: BackupManifest | undefined;
  readonly tenant: string;
  /** Whether the tenant's present file may be put aside. */
  readonly replace: boolean;
  /** Whether it stays paused afterwards. */
  readonly leavePaused: boolean;
  /** Undefined: the caller vouches that no broker runs. */
  readonly redis: Redis | undefined;
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

/** Numbers that must not run backwards. */
interface FileNumbers {
  readonly epoch: number;
  readonly commitSeq: number;
  readonly ledgerId: number;
}

/**
 * Restores a backup, as a new tenant or in the place of its file.
 *
 * @throws OnewriterError DATABASE_CORRUPT (the backup is damaged), TENANT_BUSY (there is a file and `replace` is not set;
 * or another process writes it), DATABASE_…, TENANT_UNAVAILABLE. Nothing has changed then, unless the message says
 * otherwise.
 */
export async function restoreTenant(target: Target, request: RestoreRequest): Promise<RestoreReport> {
  const { tenant, replace, redis } = request;
  const file = resolve(tenantFile(target.dataDir, tenant, target.dbFile));
  const isThere = existsSync(file);
  if (isThere && !replace) {
    throw new OnewriterError(
      'TENANT_BUSY',
      `Tenant ${tenant} has a file already. To put it aside and restore in its place: --replace. To look at the backup first, restore it under another name.`,
      { tenant },
    );
  }
  const staged = await stage(target, request, file);
  try {
    if (!isThere) return await placeHeld(target, request, file, staged);
    return redis === undefined
      ? finish(request, file, staged, replaceUnheld(target, request, file, staged), null, false)
      : await replaceReleased(target, request, file, staged, redis);
  } finally {
    removeDatabase(staged.path);
  }
}

/** The copy beside the tenant's file. */
interface Staged {
  readonly path: string;
  readonly commitSeq: number | null;
  readonly numbers: FileNumbers;
  readonly rows: number;
  readonly tables: number;
  readonly foreignKeyViolations: number | null;
  readonly warnings: string[];
}

/** Checks the backup alone. @throws OnewriterError DATABASE_CORRUPT */
async function stage(target: Target, request: RestoreRequest, file: string): Promise<Staged> {
  const { backup, manifest } = request;
  const warnings: string[] = [];
  if (manifest === undefined) warnings.push(...lookAtPlainFile(backup));
  const folder = dirname(file);
  const owner = ownerOf(existsSync(file) ? file : tenantsDir(target.dataDir));
  const path = `${file}.restoring-${process.pid}-${Date.now()}`;
  const isNew = !existsSync(folder);
  if (isNew) {
    mkdirSync(folder, { recursive: true });
    flush(tenantsDir(target.dataDir));
    giveTo(folder, owner, warnings);
  }
  try {
    assertRoom(folder, statSync(backup).size);
    if (manifest === undefined) await copyDatabase(backup, path, target.config.busyTimeoutMs, noLook, noLook);
    else await copyBytes(backup, manifest, path);
    const db = openReadOnly(path, 0);
    try {
      db.pragma(`mmap_size = ${MAPPED_BYTES}`);
      // The same bytes were checked in full when the backup was taken, unless it was asked for less.
      const wasVerified = manifest !== undefined && (manifest.verified ?? 'full') === 'full';
      const { problems, report } = checkAs(wasVerified ? 'quick' : 'full', db);
      if (problems.length > 0) throw damaged(backup, problems[0]!);
      assertKnownFormat(db, backup);
      const { rows, tables } = countRows(db);
      chmodSync(path, existsSync(file) ? statSync(file).mode & 0o777 : 0o666 & ~process.umask());
      giveTo(path, owner, warnings);
      const commitSeq = readState(db)?.commitSeq ?? null;
      const numbers = readNumbers(db);
      const foreignKeyViolations =
        report === undefined ? (manifest?.foreignKeyViolations ?? null) : countViolations(report);
      warnings.push(...mergeUnchecked(report?.unchecked ?? manifest?.unchecked ?? []).map(notVerified));
      return { path, commitSeq, numbers, rows, tables, foreignKeyViolations, warnings };
    } finally {
      db.close();
    }
  } catch (error) {
    removeDatabase(path);
    if (isNew) removeIfEmpty(folder);
    throw toFileError(error, `Cannot restore ${backup}`);
  }
}

function noLook(): void {}

/**
 * Copies a backup that has a manifest. It is one file that nothing writes, so that its bytes can be compared: those of the
 * copy are, which shows at the same time that the backup is sound. @throws OnewriterError DATABASE_CORRUPT
 */
async function copyBytes(backup: string, manifest: BackupManifest, path: string): Promise<void> {
  copyFileSync(backup, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  await assertUnchanged(backup, manifest, path);
  flush(path);
  flush(dirname(path));
}

/** An empty folder of a tenant would look as if its file were lost. */
function removeIfEmpty(folder: string): void {
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

/**
 * A file that no manifest vouches for. @returns what may be missing in it
 * @throws OnewriterError INVALID_ARGUMENT where it is no database
 */
function lookAtPlainFile(backup: string): string[] {
  const { isDatabase, isWalMode, trouble } = explainFile(backup);
  if (!isDatabase) {
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `${backup} cannot be restored: ${trouble}. Nothing was restored.`,
      {
        reason: trouble,
      },
    );
  }
  if (!isWalMode || existsSync(`${backup}-wal`)) return [];
  return [
    `${backup} is in WAL mode, and no -wal is beside it: if it was copied while it was in use, its newest commits are missing.`,
  ];
}

/** @throws OnewriterError UNSUPPORTED_VERSION */
function assertKnownFormat(db: Database.Database, backup: string): void {
  const format = readFormat(db);
  if (format === undefined || (format >= 1 && format <= FILE_FORMAT)) return;
  throw new OnewriterError(
    'UNSUPPORTED_VERSION',
    `${backup} was written by a newer version of Onewriter: its tables have format ${format}, and this program knows 1 to ${FILE_FORMAT}. Update it first. Nothing was restored.`,
    { fileFormat: format },
  );
}

function notVerified({ name, error }: UncheckedTable): string {
  return `table ${shownName(name)} is restored and not verified in full, because SQLite lacks here what it uses: ${error}.`;
}

function damaged(backup: string, damage: string): OnewriterError {
  const message = `The backup ${backup} is damaged: ${damage}. Nothing was restored; use another backup.`;
  return new OnewriterError('DATABASE_CORRUPT', message, { reason: damage });
}

/**
 * Holds the tenant meanwhile: its writes may wait for the file, which is gone, and the end of the hold says to the broker that a
 * person put another in its place.
 */
async function placeHeld(
  target: Target,
  request: RestoreRequest,
  file: string,
  staged: Staged,
): Promise<RestoreReport> {
  const { tenant, redis, backup } = request;
  const place = () => placeNew(target, request, file, staged);
  if (redis === undefined) return place();
  const hold = { name: 'restore', who: operatorName(), reason: `from ${backup}`, exclusive: true } as const;
  return withHeldTenant(redis, target.group, tenant, hold, async held => {
    await held.beginChange();
    return place();
  });
}

async function placeNew(
  target: Target,
  request: RestoreRequest,
  file: string,
  staged: Staged,
): Promise<RestoreReport> {
  const { tenant, redis } = request;
  const epoch = await lastEpoch(target, redis);
  const commitSeq = number(staged, { epoch, commitSeq: 0, ledgerId: 0 });
  try {
    // Unlike a rename neither takes the place of a file that came meanwhile.
    if (!hadDatabase(target.dataDir, tenant)) linkSync(staged.path, file);
    else linkUnderOwnName(staged.path, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const message = `Tenant ${tenant} got a file meanwhile: another process writes to it. Nothing was restored.`;
    throw new OnewriterError('TENANT_BUSY', message, { tenant }, error);
  }
  rmSync(staged.path);
  flush(dirname(file));
  const paused = redis !== undefined && (await isTenantPaused(redis, target.group, tenant));
  return finish(request, file, staged, { replaced: null, old: undefined, commitSeq }, null, paused);
}

/** For a tenant that had a file before. @throws Error EEXIST */
function linkUnderOwnName(fresh: string, file: string): void {
  const name = newDatabaseName(basename(file));
  const own = join(dirname(file), name);
  linkSync(fresh, own);
  if (linkNewDatabase(file, name)) return;
  unlinkSync(own);
  throw Object.assign(new Error(`${file} is there`), { code: 'EEXIST' });
}

/** Has the broker close the file, and holds the tenant until the new one is in place. */
async function replaceReleased(
  target: Target,
  request: RestoreRequest,
  file: string,
  staged: Staged,
  redis: Redis,
): Promise<RestoreReport> {
  const { tenant, leavePaused, backup } = request;
  const { group } = target;
  const who = operatorName();
  const hold = {
    name: 'restore',
    who,
    reason: `from ${backup}`,
    exclusive: true,
    pauseIfLost: true,
  } as const;
  return withHeldTenant(redis, group, tenant, hold, async held => {
    const epoch = await lastEpoch(target, redis);
    const numbers = numberOn(target, request, file, staged, epoch);
    await held.beginChange();
    let outcome: ReplacedFile;
    try {
      outcome = replaceFile(target, file, staged, numbers);
    } catch (error) {
      // Half replaced: no broker may take that for a tenant without a file. Without Redis the hold runs out, to the same end.
      if (!existsSync(file)) {
        await markPaused(redis, group, tenant, who, 'its restore failed half way').catch(() => {});
      }
      throw error;
    }
    if (leavePaused) await markPaused(redis, group, tenant, who, 'left paused by its restore');
    const paused = await isTenantPaused(redis, group, tenant);
    return finish(request, file, staged, outcome, await held.countJobs(), paused);
  });
}

interface ReplacedFile {
  readonly replaced: string | null;
  readonly old: FileNumbers | undefined;
  readonly commitSeq: number;
}

function replaceUnheld(target: Target, request: RestoreRequest, file: string, staged: Staged): ReplacedFile {
  return replaceFile(target, file, staged, numberOn(target, request, file, staged, 0));
}

/** Numbers the copy on from the old file, which stays as it is. @throws OnewriterError TENANT_BUSY */
function numberOn(
  { config }: Target,
  { tenant }: RestoreRequest,
  file: string,
  staged: Staged,
  epoch: number,
): Pick<ReplacedFile, 'old' | 'commitSeq'> {
  const old = readOldFile(file, tenant, config.busyTimeoutMs);
  const from = old ?? {
    epoch,
    commitSeq: staged.numbers.commitSeq + LEAP,
    ledgerId: staged.numbers.ledgerId + LEAP,
  };
  const commitSeq = number(staged, { ...from, epoch: Math.max(from.epoch, epoch) });
  return { old, commitSeq };
}

/** What changes files, and nothing before it does. */
function replaceFile(
  { config }: Target,
  file: string,
  staged: Staged,
  numbers: Pick<ReplacedFile, 'old' | 'commitSeq'>,
): ReplacedFile {
  const replaced = freeName(
    `${file}.replaced-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`,
  );
  const { notRetired } = swapFile(file, staged.path, replaced, config.busyTimeoutMs);
  if (notRetired !== undefined) {
    staged.warnings.push(
      `the replaced file could not take a last commit (${notRetired.message}): a process that has it open reads it until it is restarted.`,
    );
  }
  return { replaced, ...numbers };
}

/** A rename would take the place of a file that an earlier restore has kept. */
function freeName(name: string): string {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    if (!existsSync(candidate)) return candidate;
  }
}

/**
 * Makes sure that no process writes the old file, and reads its numbers. Undefined where it is too damaged for either.
 * @throws OnewriterError TENANT_BUSY
 */
function readOldFile(file: string, tenant: string, busyTimeoutMs: number): FileNumbers | undefined {
  let db: Database.Database | undefined;
  try {
    db = new Database(file, { fileMustExist: true, timeout: busyTimeoutMs });
    // The holder of the write lock keeps all other writers out.
    db.exec('BEGIN IMMEDIATE');
    const numbers = readNumbers(db);
    db.exec('ROLLBACK');
    return numbers;
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error;
    if (error.code.startsWith('SQLITE_BUSY') || error.code.startsWith('SQLITE_LOCKED')) {
      throw new OnewriterError(
        'TENANT_BUSY',
        `Another process is writing tenant ${tenant}, although the broker has closed its file: end it (\`fuser -v ${file}\` names it). Nothing was changed.`,
        { tenant },
        error,
      );
    }
    return undefined; // it is kept as it is
  } finally {
    db?.close();
  }
}

function readNumbers(db: Database.Database): FileNumbers {
  const state = readState(db);
  const ledgerId = hasTable(db, '_onewriter_ledger')
    ? db.prepare<[], number | null>('SELECT max(id) FROM _onewriter_ledger').pluck().get()
    : 0;
  return { epoch: state?.epoch ?? 0, commitSeq: state?.commitSeq ?? 0, ledgerId: ledgerId ?? 0 };
}

/**
 * Numbers the copy on from another file: a restore is a commit of its own, with a row in the ledger that no job has.
 * @returns its number
 */
function number(staged: Staged, from: FileNumbers): number {
  const { path, numbers } = staged;
  const db = new Database(path, { fileMustExist: true });
  try {
    db.pragma('synchronous = FULL');
    // Makes the writer's tables where the backup has none, or older ones.
    takeEpoch(db, Math.max(from.epoch, numbers.epoch));
    const commitSeq = Math.max(from.commitSeq, numbers.commitSeq) + 1;
    const id = Math.max(from.ledgerId, numbers.ledgerId) + 1;
    const jobId = `restore-${uuidv7()}`;
    db.transaction(() => addLedgerNote(db, { id, jobId, commitSeq, committedAtMs: Date.now() }))();
    // As the broker would: a process that reads it before the broker must notice when it is replaced later.
    db.pragma('journal_mode = WAL');
    return commitSeq;
  } finally {
    db.close();
    flush(path);
  }
}

/** The newest epoch that Redis knows: an older leader that wakes up must not be able to write the restored file. */
async function lastEpoch(target: Target, redis: Redis | undefined): Promise<number> {
  if (redis === undefined) return 0;
  return Number((await redis.get(groupKeys(target.group).epoch)) ?? 0);
}

function finish(
  request: RestoreRequest,
  file: string,
  staged: Staged,
  { replaced, old, commitSeq }: ReplacedFile,
  queuedJobs: number | null,
  paused: boolean,
): RestoreReport {
  return {
    tenant: request.tenant,
    file,
    replaced,
    backupCommitSeq: staged.commitSeq,
    replacedCommitSeq: replaced === null ? null : (old?.commitSeq ?? null),
    commitSeq,
    rows: staged.rows,
    tables: staged.tables,
    foreignKeyViolations: staged.foreignKeyViolations,
    comparedWithManifest: request.manifest !== undefined,
    queuedJobs,
    paused,
    warnings: staged.warnings,
  };
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined where there is nothing to go by: the folder is made by this user. */
function ownerOf(path: string): Owner | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

/** A restore by root must not leave a file that the broker cannot write. */
function giveTo(path: string, owner: Owner | undefined, warnings: string[]): void {
  if (owner === undefined) return;
  const { uid, gid } = statSync(path);
  if (uid === owner.uid && gid === owner.gid) return;
  try {
    chownSync(path, owner.uid, owner.gid);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    warnings.push(
      `${path} should belong to ${owner.uid}:${owner.gid}, as the others do, and could not be given to them (${code}): the broker may not be able to write it.`,
    );
  }
}
