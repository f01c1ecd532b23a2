import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { OnewriterError, ownNames, realDatabasePath, tenantFile } from '@onewriter/protocol';
import type { UncheckedTable } from '@onewriter/runtime/inspect';
import type { Database } from 'better-sqlite3';
import { assertRoom } from '../assert-room.ts';
import { checkAs, countViolations, mergeUnchecked } from '../check/check-file.ts';
import { compareCopy, countRows, MAPPED_BYTES } from '../copy/compare-copy.ts';
import { copyDatabase, flush, removeDatabase } from '../copy/copy-database.ts';
import type { SnapshotPages } from '../copy/snapshot-pages.ts';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { hasTable, openReadOnly, openTenant, readState } from '../open/open-database.ts';
import { type BackupManifest, hashFile, manifestPath, type Verification } from './manifest.ts';

/** A backup that was taken and verified. */
export interface TakenBackup {
  /** Absolute. */
  readonly path: string;
  readonly manifest: BackupManifest;
}

/** State of the source at the moment that is copied. */
interface Moment {
  readonly takenAt: string;
  readonly pages: number;
  readonly commitSeq: number | null;
  readonly epoch: number | null;
  readonly ledgerRows: number;
  readonly lastCommit: string | null;
  readonly sqliteVersion: string;
}

/** Longer than a copy takes. */
const DRAFT_LIFE_MS = 24 * 60 * 60_000;

/** `<out>/<tenant>`: backups of a tenant. */
export function backupFolder(out: string, tenant: string): string {
  return join(out, tenant);
}

/**
 * Copies a tenant's database as it is at one moment, while it is written, and verifies the copy: its integrity, and that
 * it holds what the database held then. Only then does it get its name, and its manifest.
 *
 * @param out folder of all backups
 * @param verification how much of that is done
 * @throws OnewriterError TENANT_NOT_FOUND, DATABASE_CORRUPT (nothing is kept), DATABASE_FULL, DATABASE_…
 */
export async function backupTenant(
  place: DataPlace,
  tenant: string,
  out: string,
  verification: Verification,
): Promise<TakenBackup> {
  const source = realDatabasePath(tenantFile(place.dataDir, tenant, place.dbFile));
  const started = performance.now();
  openTenant(place, tenant).close(); // says what is wrong before a folder is made
  const folder = backupFolder(out, tenant);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw toFileError(error, `Cannot make ${folder}`);
  }
  removeOldDrafts(folder);
  assertRoom(
    folder,
    statSync(source).size + (statSync(`${source}-wal`, { throwIfNoEntry: false })?.size ?? 0),
  );
  const draft = join(folder, `.${Date.now()}.${process.pid}.part`);
  const { moment, compared } = await copyDatabase(
    source,
    draft,
    place.busyTimeoutMs,
    readMoment,
    (db, held, pages) => ({ moment: held, compared: compare(db, pages, draft, tenant, verification) }),
  );
  try {
    chmodSync(draft, 0o600);
    const { foreignKeyViolations, unchecked, tables, rows } = verify(
      draft,
      moment,
      tenant,
      verification,
      compared.unread,
    );
    const facts: Omit<BackupManifest, 'file'> = {
      manifest: 2,
      tenant,
      group: place.group,
      host: hostname(),
      takenAt: moment.takenAt,
      durationMs: Math.round(performance.now() - started),
      bytes: statSync(draft).size,
      sha256: compared.sha256 ?? (await hashFile(draft)),
      verified: verification,
      tables,
      rows,
      commitSeq: moment.commitSeq,
      epoch: moment.epoch,
      lastCommit: moment.lastCommit,
      ledgerRows: moment.ledgerRows,
      foreignKeyViolations,
      sqliteVersion: moment.sqliteVersion,
      ...(unchecked.length > 0 && { unchecked }),
    };
    // The manifest first: a database without one would be restored without knowing what it should be.
    const manifest = writeManifest(folder, facts);
    const path = join(folder, manifest.file);
    try {
      renameSync(draft, path);
    } catch (error) {
      rmSync(manifestPath(path), { force: true });
      throw error;
    }
    flush(folder);
    return { path, manifest };
  } catch (error) {
    removeDatabase(draft);
    throw toFileError(error, `Cannot back up tenant ${tenant}`);
  }
}

/** Removes the drafts of a process that has ended. */
export function removeDraftsOf(folder: string, pid: number): void {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) if (draftOf(name)?.pid === pid) removeDatabase(join(folder, name));
}

/** Removes drafts that no process is left to remove; the draft of a running one is younger. */
function removeOldDrafts(folder: string): void {
  for (const name of readdirSync(folder)) {
    const draft = draftOf(name);
    if (draft !== undefined && Date.now() - draft.begunAt > DRAFT_LIFE_MS) removeDatabase(join(folder, name));
  }
}

/** When a draft was begun, and by which process; undefined for another file. */
function draftOf(name: string): { readonly begunAt: number; readonly pid: number } | undefined {
  const [, begunAt, pid] = /^\.(\d+)\.(\d+)\.part$/.exec(name) ?? [];
  return begunAt === undefined ? undefined : { begunAt: Number(begunAt), pid: Number(pid) };
}

function readMoment(db: Database): Moment {
  const state = readState(db);
  const table = ownNames(db)('sqlite_onewriter_ledger');
  const ledger = hasTable(db, table)
    ? db
        .prepare<[], { rows: number; last: number | null }>(
          `SELECT count(*) AS rows, max(committed_at) AS last FROM ${table}`,
        )
        .get()!
    : { rows: 0, last: null };
  return {
    takenAt: new Date().toISOString(),
    pages: db.pragma('page_count', { simple: true }) as number,
    commitSeq: state?.commitSeq ?? null,
    epoch: state?.epoch ?? null,
    ledgerRows: ledger.rows,
    lastCommit: ledger.last === null ? null : new Date(ledger.last).toISOString(),
    sqliteVersion: db.prepare<[], string>('SELECT sqlite_version()').pluck().get()!,
  };
}

/** What was verified of a copy that is kept. */
interface Verified {
  readonly tables: number;
  readonly rows: number;
  /** Null where it was not looked at. */
  readonly foreignKeyViolations: number | null;
  readonly unchecked: readonly UncheckedTable[];
}

/** Result of comparing a copy. */
interface Compared {
  /** Undefined where the copy was not read for it. */
  readonly sha256: string | undefined;
  readonly unread: readonly UncheckedTable[];
}

/**
 * Compares a copy with its source, which is as it was when it was copied: page by page, or row by row where its pages cannot be read.
 * @throws OnewriterError DATABASE_CORRUPT
 */
function compare(
  db: Database,
  pages: SnapshotPages,
  copy: string,
  tenant: string,
  verification: Verification,
): Compared {
  if (verification === 'quick') return { sha256: undefined, unread: [] };
  const whole = pages.compare(copy);
  const { difference, unread } = whole === undefined ? compareCopy(db, copy) : { ...whole, unread: [] };
  if (difference !== undefined) throw notSound(tenant, [difference]);
  return { sha256: whole?.sha256, unread };
}

/** @throws OnewriterError DATABASE_CORRUPT */
function verify(
  copy: string,
  moment: Moment,
  tenant: string,
  verification: Verification,
  unread: readonly UncheckedTable[],
): Verified {
  const db = openReadOnly(copy, 0);
  try {
    db.pragma(`mmap_size = ${MAPPED_BYTES}`);
    const { problems, report } = checkAs(verification, db);
    if (problems.length > 0) throw notSound(tenant, problems);
    const isSameMoment =
      db.pragma('page_count', { simple: true }) === moment.pages &&
      (readState(db)?.commitSeq ?? null) === moment.commitSeq;
    if (!isSameMoment) throw notSound(tenant, ['the copy does not hold what the database held']);
    return {
      ...countRows(db),
      foreignKeyViolations: report === undefined ? null : countViolations(report),
      unchecked: mergeUnchecked(report?.unchecked ?? [], unread),
    };
  } finally {
    db.close();
  }
}

function notSound(tenant: string, problems: readonly string[]): OnewriterError {
  return new OnewriterError(
    'DATABASE_CORRUPT',
    `The copy of tenant ${tenant} is not sound (${problems[0]}), so it was not kept; older backups are untouched.`,
    { tenant, problems },
  );
}

/**
 * Writes the manifest of a backup that gets the name `20261121T093000Z-c42.db`, with a number behind it where that is taken. The
 * manifest is made only if there is none, so that two backups of one second do not share a name. One that a crash leaves half
 * written has no database beside it.
 */
function writeManifest(folder: string, facts: Omit<BackupManifest, 'file'>): BackupManifest {
  const { takenAt, commitSeq } = facts;
  const base = `${takenAt.slice(0, 19).replace(/[-:]/g, '')}Z${commitSeq === null ? '' : `-c${commitSeq}`}`;
  for (let number = 1; ; number++) {
    const file = `${base}${number === 1 ? '' : `-${number}`}.db`;
    const path = join(folder, file);
    const manifest: BackupManifest = { ...facts, file };
    if (!existsSync(path) && writeNew(manifestPath(path), `${JSON.stringify(manifest, null, 2)}\n`))
      return manifest;
  }
}

/** Writes a new file that its owner alone can read, flushed. @returns false where there is one */
function writeNew(path: string, text: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  flush(dirname(path));
  return true;
}
