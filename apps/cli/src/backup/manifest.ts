import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { OnewriterError } from '@onewriter/protocol';
import type { UncheckedTable } from '@onewriter/runtime/inspect';

/** What is known of a backup; in a file of its own beside it, `<backup without .db>.json`. */
export interface BackupManifest {
  readonly manifest: 1;
  readonly tenant: string;
  readonly group: string;
  readonly host: string;
  /** ISO time at which the copied moment was held. */
  readonly takenAt: string;
  readonly durationMs: number;
  /** Name of the database file, in the same folder. */
  readonly file: string;
  readonly bytes: number;
  /** Of the file, in hexadecimal. */
  readonly sha256: string;
  /** Of the tenant's own rows, see content-hash.ts. */
  readonly contentHash: string;
  readonly tables: number;
  readonly rows: number;
  /** Null for a file that no broker had opened. */
  readonly commitSeq: number | null;
  readonly epoch: number | null;
  /** ISO time of the newest commit; null where the ledger is empty. */
  readonly lastCommit: string | null;
  readonly ledgerRows: number;
  /** Rows that refer to a row that is not there; they are in the source, too. */
  readonly foreignKeyViolations: number;
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
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const manifest = JSON.parse(text) as BackupManifest;
    if (manifest.manifest === 1 && typeof manifest.sha256 === 'string') return manifest;
  } catch {
    // told below
  }
  throw new OnewriterError(
    'INVALID_ARGUMENT',
    `${path} is no manifest of a backup. Move it away to restore without it: only the file's own integrity is checked then.`,
  );
}

/** SHA-256 of a file. Not for a tenant's file that is in use. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** @throws OnewriterError DATABASE_CORRUPT where the file is not the one that was written */
export async function assertUnchanged(backup: string, manifest: BackupManifest): Promise<void> {
  const { size } = statSync(backup);
  const damage =
    size === manifest.bytes
      ? (await hashFile(backup)) === manifest.sha256
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
