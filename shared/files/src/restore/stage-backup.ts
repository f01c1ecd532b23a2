import { constants, copyFileSync, existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { OnewriterError, shownName } from '@onewriter/protocol';
import type { UncheckedTable } from '@onewriter/runtime/inspect';
import { FILE_FORMAT, FORMER_FORMAT } from '@onewriter/writer';
import type Database from 'better-sqlite3';
import { assertRoom } from '../assert-room.ts';
import { assertUnchanged, type BackupManifest, readManifest, type Verification } from '../backup/manifest.ts';
import { type CheckedFile, checkAs, countViolations, mergeUnchecked } from '../check/check-file.ts';
import { countRows, MAPPED_BYTES } from '../copy/compare-copy.ts';
import { copyDatabase, flush, removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { explainFile, type FileTraits } from '../open/explain-file.ts';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly, readFormat, readState } from '../open/open-database.ts';
import { type FileNumbers, readNumbers } from './file-numbers.ts';

/** The copy of a backup beside the tenant's file. */
export interface StagedBackup {
  /** Newest commit of the backup; null where no broker had written it. */
  readonly commitSeq: number | null;
  readonly numbers: FileNumbers;
  readonly rows: number;
  readonly tables: number;
  /** Null where the manifest does not say and it was not looked at. */
  readonly foreignKeyViolations: number | null;
  /** Whether the bytes were compared with a manifest. */
  readonly comparedWithManifest: boolean;
  /** What could not be done as it should be. */
  readonly warnings: readonly string[];
}

/**
 * Copies a backup, and checks the copy alone. It changes nothing else, and may be killed at any moment. The schema of a backup can
 * make it as long and as large as it likes, so it runs in a process that is bounded.
 *
 * @param draft must not exist; it does not after an error, either
 * @throws OnewriterError DATABASE_CORRUPT (the backup is damaged), INVALID_ARGUMENT (it is none), UNSUPPORTED_VERSION, DATABASE_…
 */
export async function stageBackup(place: DataPlace, backup: string, draft: string): Promise<StagedBackup> {
  const manifest = readManifest(backup);
  const warnings = manifest === undefined ? lookAtPlainFile(backup) : [];
  try {
    assertRoom(dirname(draft), statSync(backup).size);
    if (manifest === undefined) await copyDatabase(backup, draft, place.busyTimeoutMs, noLook, noLook);
    else await copyBytes(backup, manifest, draft);
    const db = openReadOnly(draft, 0);
    try {
      // The same bytes were checked in full when the backup was taken, unless it was asked for less.
      const wasVerified = manifest !== undefined && (manifest.verified ?? 'full') === 'full';
      const seen = inspectDraft(
        db,
        wasVerified ? 'quick' : 'full',
        damage => damaged(backup, damage),
        manifest?.unchecked,
      );
      assertKnownFormat(db, backup);
      const { rows, tables, report, notVerified } = seen;
      return {
        commitSeq: readState(db)?.commitSeq ?? null,
        numbers: readNumbers(db),
        rows,
        tables,
        foreignKeyViolations:
          report === undefined ? (manifest?.foreignKeyViolations ?? null) : countViolations(report),
        comparedWithManifest: manifest !== undefined,
        warnings: [...warnings, ...notVerified],
      };
    } finally {
      db.close();
    }
  } catch (error) {
    removeDatabase(draft);
    throw toFileError(error, `Cannot restore ${backup}`);
  }
}

function noLook(): void {}

/** What a look at a draft found. */
export interface InspectedDraft extends Pick<CheckedFile, 'report'> {
  readonly rows: number;
  readonly tables: number;
  /** For people. */
  readonly notVerified: readonly string[];
}

/**
 * Checks a draft that is open, and counts its rows.
 * @param unchecked tables that were not checked before, where `report` has none
 * @param asLoaded what is no damage, and only noted
 * @throws OnewriterError of `damaged`
 */
export function inspectDraft(
  db: Database.Database,
  verification: Verification,
  damaged: (damage: string) => OnewriterError,
  unchecked: readonly UncheckedTable[] = [],
  asLoaded?: RegExp | undefined,
): InspectedDraft {
  db.pragma(`mmap_size = ${MAPPED_BYTES}`);
  const { problems, report } = checkAs(verification, db);
  const damage = problems.find(problem => !asLoaded?.test(problem));
  if (damage !== undefined) throw damaged(damage);
  const notVerifiedTables = mergeUnchecked(report?.unchecked ?? unchecked);
  return { ...countRows(db), report, notVerified: [...problems, ...notVerifiedTables.map(notVerified)] };
}

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

/**
 * A file that no manifest vouches for. @returns what may be missing in it
 * @throws OnewriterError INVALID_ARGUMENT where it is no database
 */
function lookAtPlainFile(backup: string): string[] {
  const { isWalMode } = assertDatabase(backup);
  if (!isWalMode || existsSync(`${backup}-wal`)) return [];
  return [
    `${backup} is in WAL mode, and no -wal is beside it: if it was copied while it was in use, its newest commits are missing.`,
  ];
}

/** @throws OnewriterError INVALID_ARGUMENT where the file is no database */
export function assertDatabase(path: string): FileTraits {
  const traits = explainFile(path);
  if (traits.isDatabase) return traits;
  const { trouble } = traits;
  const message = `${path} cannot be loaded: ${trouble}. Nothing has changed.`;
  throw new OnewriterError('INVALID_ARGUMENT', message, { reason: trouble });
}

/** @throws OnewriterError UNSUPPORTED_VERSION */
function assertKnownFormat(db: Database.Database, backup: string): void {
  const format = readFormat(db);
  if (format === undefined || format === FILE_FORMAT || format === FORMER_FORMAT) return;
  throw new OnewriterError(
    'UNSUPPORTED_VERSION',
    `${backup} was written by another version of Onewriter: its tables have format ${format}, and this program knows format ${FILE_FORMAT}. Use that version. Nothing was restored.`,
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
