import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {
  assertTenantId,
  forgetKnownDatabase,
  isHibernated,
  isKnownDatabase,
  logNotePath,
  noteFormerDatabase,
  OnewriterError,
  tenantFile,
  withheldDir,
} from '@onewriter/protocol';
import { type FileMark, identify, markOf } from '../file/file-mark.ts';

/** `details.reason` where the files changed under the broker. */
export const FILE_CHANGED = 'file changed while it was open';

/** Why a tenant's file is not opened, as JSON in a file of its own, so that new leaders and other threads know it, too. */
export interface WithheldRecord {
  readonly message: string;
  /** The tenant's path, which may be a link. */
  readonly entry: string;
  /** Path of the database file itself. */
  readonly path: string;
  /** ISO time. */
  readonly since: string;
  /** Set if nothing was written or lost: the files that may be opened again when they are back. */
  readonly back?: { readonly main: FileMark; readonly wal: string } | undefined;
  /** A person has checked it: the files there may be opened. */
  readonly released?: boolean | undefined;
}

/** Keeps the tenant's file closed until {@link releaseWithheld}. @throws Error of the file system */
export function withhold(dataDir: string, tenant: string, record: WithheldRecord): void {
  mkdirSync(withheldDir(dataDir), { recursive: true });
  const file = openSync(recordPath(dataDir, tenant), 'w');
  try {
    writeFileSync(file, JSON.stringify(record));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Checks that a tenant's file may be opened. Costs one look for a file that does not exist.
 * @throws OnewriterError TENANT_UNAVAILABLE with the finding
 */
export function assertNotWithheld(dataDir: string, tenant: string): void {
  const record = readRecord(dataDir, tenant);
  if (record === undefined) return;
  if (!isBack(record)) {
    setOldLogApart(record);
    if (record.released !== true) throw fileChanged(record.message);
  }
  rmSync(recordPath(dataDir, tenant), { force: true });
}

/** Whether the tenant's file has to stay closed. */
export function isWithheld(dataDir: string, tenant: string): boolean {
  return readRecord(dataDir, tenant) !== undefined;
}

/**
 * Allows opening the tenant's file as it is: a person has checked it, or put another there on purpose. Idempotent.
 * @param dbFile name of tenants' files, if the caller knows that this one is gone: then a new one may be made
 * @returns whether it was withheld, or its file is gone and a new one may be made
 */
export function releaseWithheld(dataDir: string, tenant: string, dbFile?: string): boolean {
  const record = readRecord(dataDir, tenant);
  // A log beside another file than before is not found again.
  if (record !== undefined) rmSync(logNotePath(dataDir, tenant), { force: true });
  const isGone = dbFile !== undefined && acceptGone(dataDir, tenant, dbFile);
  // If a log was left behind, the next open of the file has to know it.
  if (record?.back === undefined) rmSync(recordPath(dataDir, tenant), { force: true });
  else withhold(dataDir, tenant, { ...record, released: true });
  return record !== undefined || isGone;
}

/** If the file is gone, a new one may be made, under a name of its own: readers may have the old one open. */
function acceptGone(dataDir: string, tenant: string, dbFile: string): boolean {
  const path = tenantFile(dataDir, tenant, dbFile);
  if (isHibernated(dataDir, tenant)) return false;
  if (!isKnownDatabase(dataDir, tenant) || lstatSync(path, { throwIfNoEntry: false }) !== undefined)
    return false;
  noteFormerDatabase(dataDir, tenant);
  forgetKnownDatabase(dataDir, tenant);
  return true;
}

/** SQLite would apply a log that was left behind to any database that is put beside it. */
function setOldLogApart({ path, back, since }: WithheldRecord): void {
  if (back === undefined || identify(`${path}-wal`) !== back.wal) return;
  if (identify(path) === back.main.identity) return;
  renameSync(`${path}-wal`, `${path}.rescued-${since.replaceAll(':', '')}.old-wal`);
  rmSync(`${path}-shm`, { force: true });
}

/** The refusal of a file that changed under the broker. */
export function fileChanged(message: string): OnewriterError {
  return new OnewriterError('TENANT_UNAVAILABLE', message, { reason: FILE_CHANGED });
}

function readRecord(dataDir: string, tenant: string): WithheldRecord | undefined {
  const path = recordPath(dataDir, tenant);
  // An error costs more than a look, and almost no tenant is withheld.
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  let json: string;
  try {
    json = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return JSON.parse(json) as WithheldRecord;
  } catch {
    // After a power cut before the flush.
    return {
      message: 'The file changed while it was open; the finding is lost.',
      entry: '',
      path: '',
      since: '',
    };
  }
}

function isBack({ entry, path, back }: WithheldRecord): boolean {
  if (back === undefined || identify(entry) !== back.main.identity) return false;
  const { main, wal } = back;
  const now = markOf(path);
  return (
    now.identity === main.identity &&
    now.size === main.size &&
    now.mtimeMs === main.mtimeMs &&
    identify(`${path}-wal`) === wal
  );
}

function recordPath(dataDir: string, tenant: string): string {
  return `${withheldDir(dataDir)}/${assertTenantId(tenant)}.json`;
}
