import { MAX_EPOCH, OnewriterError, ownNames, uuidv7 } from '@onewriter/protocol';
import { addLedgerNote, takeEpoch } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { flush } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { carryLedger } from '../load/carry-ledger.ts';
import { type LoadKey, noteLoadKey } from '../load/load-key.ts';
import { toFileError } from '../open/file-error.ts';
import { hasTable, readState } from '../open/open-database.ts';

/*
 * Numbering (ADR "A restore is a commit"): readers and clients hold commit numbers, positions in the ledger and epochs of
 * the old file; none of them may seem to run backwards. So the copy takes the higher epoch, and one commit more than the
 * higher commit number, which is a row of the ledger of its own.
 */

/** Numbers that must not run backwards. */
export interface FileNumbers {
  readonly epoch: number;
  readonly commitSeq: number;
  readonly ledgerId: number;
}

/** Which copy is to be numbered on, and from what. */
export interface NumberJob {
  readonly kind: 'number';
  readonly draft: string;
  /** Its own. */
  readonly numbers: FileNumbers;
  /** The file that it replaces, whose numbers it continues; null where there is none. */
  readonly old: string | null;
  /** Whether it takes over the ledger of that file. */
  readonly keepsLedger: boolean;
  /** The newest epoch that is known. */
  readonly epoch: number;
  /** The load that it is, where it has a key. */
  readonly loadKey?: LoadKey | undefined;
}

/** A copy that was numbered on. */
export interface Numbered {
  /** Those of the file that it replaces; null where there is none, or it cannot be read. */
  readonly old: FileNumbers | null;
  /** That of the restore. */
  readonly commitSeq: number;
}

/** Where the old file cannot be read, numbers continue from here: more than it can have made since any backup. */
const LEAP = 1_000_000_000_000;

/**
 * Numbers a copy on. The schemas of both files can make it as long and as large as they like, so it runs in a process that is bounded;
 * the old file stays as it is. @throws OnewriterError TENANT_BUSY, DATABASE_…
 */
export function numberCopy(
  { busyTimeoutMs }: DataPlace,
  tenant: string,
  { draft, numbers, old, keepsLedger, epoch, loadKey }: NumberJob,
): Numbered {
  try {
    if (old === null) {
      const from = { epoch, commitSeq: 0, ledgerId: 0 };
      return { old: null, commitSeq: numberOn(draft, numbers, from, loadKey) };
    }
    const found = readOldFile(old, tenant, busyTimeoutMs);
    if (keepsLedger && found !== undefined) carryLedger(draft, old);
    const from = found ?? leapFrom(numbers, epoch);
    const newest = { ...from, epoch: Math.max(from.epoch, epoch) };
    const commitSeq = numberOn(draft, numbers, newest, loadKey);
    return { old: found ?? null, commitSeq };
  } catch (error) {
    throw toFileError(error, `Cannot restore tenant ${tenant}`);
  }
}

/** The numbers of a file that is open. @throws SqliteError */
export function readNumbers(db: Database.Database): FileNumbers {
  const state = readState(db);
  const ledger = ownNames(db)('sqlite_onewriter_ledger');
  const ledgerId = hasTable(db, ledger)
    ? db.prepare<[], number | null>(`SELECT max(id) FROM ${ledger}`).pluck().get()
    : 0;
  // One that no broker had would go on to each file that takes the place of this one.
  const epoch = state === undefined || state.epoch > MAX_EPOCH ? 0 : state.epoch;
  return { epoch, commitSeq: state?.commitSeq ?? 0, ledgerId: ledgerId ?? 0 };
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

/** Numbers to continue from, where the old file has none that can be read. */
function leapFrom({ commitSeq, ledgerId }: FileNumbers, epoch: number): FileNumbers {
  return { epoch, commitSeq: commitSeq + LEAP, ledgerId: ledgerId + LEAP };
}

/**
 * Numbers the copy on from another file: a restore is a commit of its own, with a row in the ledger that no job has.
 *
 * @param path of the copy
 * @param numbers the copy's own
 * @returns its number
 */
function numberOn(
  path: string,
  numbers: FileNumbers,
  from: FileNumbers,
  loadKey: LoadKey | undefined,
): number {
  const db = new Database(path, { fileMustExist: true });
  try {
    db.pragma('synchronous = FULL');
    // Makes the writer's tables where the backup has none, or older ones.
    takeEpoch(db, Math.max(from.epoch, numbers.epoch));
    const commitSeq = Math.max(from.commitSeq, numbers.commitSeq) + 1;
    const id = Math.max(from.ledgerId, numbers.ledgerId) + 1;
    const jobId = `restore-${uuidv7()}`;
    db.transaction(() => {
      addLedgerNote(db, { id, jobId, commitSeq, committedAtMs: Date.now() });
      if (loadKey !== undefined) noteLoadKey(db, loadKey, jobId, commitSeq);
    })();
    // As the broker would: a process that reads it before the broker must notice when it is replaced later.
    db.pragma('journal_mode = WAL');
    return commitSeq;
  } finally {
    db.close();
    flush(path);
  }
}
