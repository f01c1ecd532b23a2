import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { OnewriterError, readFileIfThere } from '@onewriter/protocol';
import type { UncheckedTable } from '@onewriter/runtime/inspect';

/**
 * How a copy is verified:
 *
 * - `full`: all pages, indexes and foreign keys are sound, and each row is the source's
 * - `quick`: all pages are sound, and as many as the source's, and the newest commit is the source's
 */
export type Verification = 'full' | 'quick';

/** What is known of a backup; in a file of its own beside it, `<backup without .db>.json`. */
export interface BackupManifest {
  /** 1 had a hash of the content besides, and was verified in full. */
  readonly manifest: 1 | 2;
  readonly tenant: string;
  readonly group: string;
  readonly host: string;
  /** ISO time at which the copied moment was held. */
  readonly takenAt: string;
  readonly durationMs: number;
  /** Name of the database file, in the same folder. */
  readonly file: string;
  readonly bytes: number;
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string;
  /** How the copy was verified when it was taken; absent in the first version: in full. */
  readonly verified?: Verification | undefined;
  readonly tables: number;
  readonly rows: number;
  /** Null for a file that no broker had opened. */
  readonly commitSeq: number | null;
  readonly epoch: number | null;
  /** ISO time of the newest commit; null where the ledger is empty. */
  readonly lastCommit: string | null;
  readonly ledgerRows: number;
  /** Rows that refer to a row that is not there; they are in the source, too. Null where it was not looked at. */
  readonly foreignKeyViolations: number | null;
  readonly sqliteVersion: string;
  /** Tables that are copied and could not be verified in full, because SQLite lacks what they use; absent: none. */
  readonly unchecked?: readonly UncheckedTable[] | undefined;
}

/** Path of the manifest of a backup. */
export function manifestPath(backup: string): string {
  return `${backup.replace(/\.db$/, '')}.json`;
}

/** Undefined where there is none. @throws OnewriterError INVALID_ARGUMENT for a file that is no manifest */
export function readManifest(backup: string): BackupManifest | undefined {
  const path = manifestPath(backup);
  const text = readFileIfThere(path);
  if (text === undefined) return undefined;
  try {
    const manifest = JSON.parse(text) as BackupManifest;
    if ((manifest.manifest === 1 || manifest.manifest === 2) && typeof manifest.sha256 === 'string')
      return manifest;
  } catch {
    // not JSON: refused below
  }
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${path} is no manifest of a backup. Move it away to restore without it: only the file's own integrity is checked then.`,
  );
}

/** Undefined also for one that cannot be read: another backup has to do. */
export function findManifest(backup: string): BackupManifest | undefined {
  try {
    return readManifest(backup);
  } catch (error) {
    if (error instanceof OnewriterError || isSystemError(error)) return undefined;
    throw error;
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

/** Read at a time: each call costs as much as hashing 10 KB. */
const READ_BYTES = 1024 * 1024;

/** SHA-256 of a file. Not for a tenant's file that is in use. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/**
 * Checks whether a backup, or a copy of it, is what the manifest says, byte for byte.
 * @param file of the same bytes as the backup
 * @throws OnewriterError DATABASE_CORRUPT
 */
export async function assertUnchanged(backup: string, manifest: BackupManifest, file: string): Promise<void> {
  const { size } = statSync(file);
  const damage =
    size === manifest.bytes
      ? (await hashFile(file)) === manifest.sha256
        ? undefined
        : 'its SHA-256 is another'
      : `it has ${size} bytes, not ${manifest.bytes}`;
  if (damage === undefined) return;
  throw new OnewriterError(
    'DATABASE_CORRUPT',
    `The backup ${backup} is damaged: ${damage} than its manifest says. Nothing was restored; use another backup.`,
    { reason: damage },
  );
}
