import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import { assertRoom, SPARE_BYTES } from '../assert-room.ts';
import { copyDatabase, flush, removeDatabase } from '../copy/copy-database.ts';
import type { DataPlace } from '../data-place.ts';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly } from '../open/open-database.ts';
import type { FileNumbers } from '../restore/file-numbers.ts';
import { assertDatabase } from '../restore/stage-backup.ts';
import { type LoadedDump, loadDump } from './load-dump.ts';
import { findLoadKey, type LoadFigures, type LoadKey } from './load-key.ts';
import { damagedFile, inspectLoaded, NO_NUMBERS, takeOutOwn } from './loaded-file.ts';

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
    if (before !== undefined) return { ...before, leftOut: [], warnings: [], numbers: NO_NUMBERS };
    if (present !== undefined && format === 'sqlite' && !replace) throw isThere();
    const baseBytes = base === undefined ? 0 : statSync(base).size;
    assertRoom(dirname(draft), statSync(source).size + baseBytes + SPARE_BYTES);
    if (base !== undefined) await copyDatabase(base, draft, place.busyTimeoutMs, noLook, noLook);
    const loaded = format === 'sql' ? loadDump(source, draft, onProgress) : await loadFile(place, job);
    flush(draft);
    flush(dirname(draft));
    onProgress(statSync(source).size);
    const { numbers, warnings, ...counts } = inspectLoaded(draft);
    const { statements, leftOut } = loaded;
    const figures = { statements, ...counts };
    return {
      ...figures,
      leftOut,
      warnings,
      numbers: base === undefined ? NO_NUMBERS : numbers,
      loadKey: hash === undefined ? undefined : { key: idempotencyKey!, hash, figures },
    };
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
  if (trouble !== undefined) throw damagedFile(trouble);
  await copyDatabase(source, draft, busyTimeoutMs, noLook, noLook);
  const leftOut = [
    ...(takeOutOwn(draft) ? ["Onewriter's own tables"] : []),
    ...(isWalMode ? ['commits in its -wal, if it had one: the file is in WAL mode'] : []),
  ];
  return { statements: 0, leftOut };
}
