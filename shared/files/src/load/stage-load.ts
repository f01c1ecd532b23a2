import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { classifyStatement, OnewriterError, shownName } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { assertRoom, SPARE_BYTES } from '../assert-room.ts';
import { countViolations } from '../check/check-file.ts';
import { copyDatabase, flush, removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly } from '../open/open-database.ts';
import { findOwnObjects, removeOwnObjects } from '../own/own-objects.ts';
import { type FileNumbers, readNumbers } from '../restore/file-numbers.ts';
import { assertDatabase, inspectDraft } from '../restore/stage-backup.ts';
import { MAX_DUMP_STATEMENT_BYTES } from './dump-statement.ts';
import { type LoadedDump, loadDump } from './load-dump.ts';
import { findLoadKey, type LoadFigures, type LoadKey } from './load-key.ts';

/** What a file that is loaded holds. */
export type LoadFormat = 'sql' | 'sqlite';

/** What is loaded, and where. */
export interface LoadJob {
  readonly kind: 'load';
  /** Absolute. */
  readonly source: string;
  readonly format: LoadFormat;
  /** The tenant's file, where a dump is added to what is in it. */
  readonly base: string | undefined;
  /** The file that the tenant has; its keys say whether the load was committed before. */
  readonly present: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** Whether it takes the place of a file that is there. */
  readonly replace: boolean;
  /** Must not exist; it does not after an error, either. */
  readonly draft: string;
}

/** A file beside the tenant's, with what was loaded. */
export interface StagedLoad extends LoadedDump, LoadFigures {
  readonly numbers: FileNumbers;
  readonly warnings: readonly string[];
  readonly loadKey?: LoadKey | undefined;
  /** The commit of an earlier load with its key: no file is made then. */
  readonly before?: number | undefined;
}

/** What rows and indexes of full text were before, too: no page is damaged. Source: pragma.c and fts3.c of SQLite. */
const AS_LOADED =
  /^(NULL value in |CHECK constraint failed in |(NUMERIC|TEXT|non-\w+) value in |missing value |malformed inverted index|unable to validate the inverted index)/;
const NOTHING: FileNumbers = Object.freeze({ epoch: 0, commitSeq: 0, ledgerId: 0 });

/**
 * Makes the file that an import will put in place, and checks it. It changes nothing else, and may be killed at any moment.
 * @param onProgress bytes of the source that are loaded
 * @throws OnewriterError as {@link loadDump}; DATABASE_CORRUPT, INVALID_ARGUMENT (it is no database)
 */
export async function stageLoad(
  place: DataPlace,
  job: LoadJob,
  onProgress: (bytes: number) => void,
): Promise<StagedLoad> {
  const { source, format, base, draft, present, idempotencyKey, replace } = job;
  try {
    const hash = idempotencyKey === undefined ? undefined : await hashFile(source);
    const before =
      present === undefined || hash === undefined ? undefined : findLoad(present, idempotencyKey!, hash);
    if (before !== undefined) return { ...before, leftOut: [], warnings: [], numbers: NOTHING };
    if (present !== undefined && format === 'sqlite' && !replace) throw isThere();
    const baseBytes = base === undefined ? 0 : statSync(base).size;
    assertRoom(dirname(draft), statSync(source).size + baseBytes + SPARE_BYTES);
    if (base !== undefined) await copyDatabase(base, draft, place.busyTimeoutMs, noLook, noLook);
    const loaded = format === 'sql' ? loadDump(source, draft, onProgress) : await loadFile(place, job);
    flush(draft);
    flush(dirname(draft));
    onProgress(statSync(source).size);
    const db = openReadOnly(draft, 0);
    try {
      const { rows, tables, report, notVerified } = inspectDraft(
        db,
        'full',
        damage => damaged(damage),
        [],
        AS_LOADED,
      );
      const foreignKeyViolations = report === undefined ? 0 : countViolations(report);
      const { statements, leftOut } = loaded;
      const figures = { statements, rows, tables, foreignKeyViolations };
      return {
        ...figures,
        leftOut,
        warnings: notVerified,
        numbers: base === undefined ? NOTHING : readNumbers(db),
        loadKey: hash === undefined ? undefined : { key: idempotencyKey!, hash, figures },
      };
    } finally {
      db.close();
    }
  } catch (error) {
    removeDatabase(draft);
    throw toFileError(error, 'Cannot load the file');
  }
}

function noLook(): void {}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** @throws OnewriterError IDEMPOTENCY_KEY_REUSED */
function findLoad(file: string, key: string, hash: string) {
  const db = openReadOnly(file, 0);
  try {
    return findLoadKey(db, key, hash);
  } finally {
    db.close();
  }
}

function isThere(): OnewriterError {
  return new OnewriterError(
    'TENANT_BUSY',
    'The tenant has a file already. A database takes its place with --replace; to add its rows, load its dump: sqlite3 file.db .dump > dump.sql',
  );
}

/** A database as it is, but for Onewriter's own tables: a ledger belongs to the tenant, and not to what is loaded into it. */
async function loadFile({ busyTimeoutMs }: DataPlace, { source, draft }: LoadJob): Promise<LoadedDump> {
  const { trouble, isWalMode } = assertDatabase(source);
  if (trouble !== undefined) throw damaged(trouble);
  await copyDatabase(source, draft, busyTimeoutMs, noLook, noLook);
  const db = new Database(draft, { fileMustExist: true });
  try {
    db.pragma('foreign_keys = OFF'); // what is removed takes nothing along
    const hasOwn = findOwnObjects(db).length > 0;
    // Not only emptied: the rules below would pass over what has such a name, and the definitions need not be the writer's.
    if (hasOwn) db.transaction(removeOwnObjects)(db);
    assertOwnSchema(db);
    const leftOut = [
      ...(hasOwn ? ["Onewriter's own tables"] : []),
      ...(isWalMode ? ['commits in its -wal, if it had one: the file is in WAL mode'] : []),
    ];
    return { statements: 0, leftOut };
  } finally {
    db.close();
  }
}

/** A trigger could write to the ledger. @throws OnewriterError STATEMENT_NOT_ALLOWED */
function assertOwnSchema(db: Database.Database): void {
  const schema = db
    .prepare<[], { name: string; sql: string }>('SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL')
    .all();
  for (const { name, sql } of schema) {
    try {
      classifyStatement(sql, MAX_DUMP_STATEMENT_BYTES);
    } catch (error) {
      if (!(error instanceof OnewriterError)) throw error;
      throw new OnewriterError(error.code, `${shownName(name)}: ${error.message}`, error.details, error);
    }
  }
}

function damaged(damage: string): OnewriterError {
  return new OnewriterError('DATABASE_CORRUPT', `The file is damaged: ${damage}.`, { reason: damage });
}
