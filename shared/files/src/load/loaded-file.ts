import { classifyStatement, OnewriterError, shownName } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { countViolations } from '../check/check-file.ts';
import { openReadOnly } from '../open/open-database.ts';
import { findOwnObjects, removeOwnObjects } from '../own/own-objects.ts';
import { type FileNumbers, readNumbers } from '../restore/file-numbers.ts';
import { inspectDraft } from '../restore/stage-backup.ts';
import { MAX_DUMP_STATEMENT_BYTES } from './dump-statement.ts';

/*
 * A file that was not made by Onewriter, before it becomes a tenant's. Its schema can make this as long and as large as it likes: to be
 * called in a process that is bounded.
 */

/** Of a file that no broker had. */
export const NO_NUMBERS: FileNumbers = Object.freeze({ epoch: 0, commitSeq: 0, ledgerId: 0 });

/** What rows and indexes of full text were before, too: no page is damaged. Source: pragma.c and fts3.c of SQLite. */
const AS_LOADED =
  /^(NULL value in |CHECK constraint failed in |(NUMERIC|TEXT|non-\w+) value in |missing value |malformed inverted index|unable to validate the inverted index)/;

/** What a check of such a file found. */
export interface InspectedLoad {
  readonly rows: number;
  readonly tables: number;
  /** Rows that refer to a row that is not there. */
  readonly foreignKeyViolations: number;
  readonly numbers: FileNumbers;
  /** What could not be verified. */
  readonly warnings: readonly string[];
}

/**
 * Removes Onewriter's own tables: a ledger belongs to the tenant, and not to what is loaded into it.
 * @returns whether there were any
 * @throws OnewriterError STATEMENT_NOT_ALLOWED where the schema has what no client may make; SqliteError
 */
export function takeOutOwn(path: string): boolean {
  const db = new Database(path, { fileMustExist: true });
  try {
    db.pragma('foreign_keys = OFF'); // what is removed takes nothing along
    const hasOwn = findOwnObjects(db).length > 0;
    // Not only emptied: the rules below would pass over what has such a name, and the definitions need not be the writer's.
    if (hasOwn) db.transaction(removeOwnObjects)(db);
    assertOwnSchema(db);
    return hasOwn;
  } finally {
    db.close();
  }
}

/** Checks the file in full. @throws OnewriterError DATABASE_CORRUPT */
export function inspectLoaded(path: string): InspectedLoad {
  const db = openReadOnly(path, 0);
  try {
    const { rows, tables, report, notVerified } = inspectDraft(db, 'full', damagedFile, [], AS_LOADED);
    const foreignKeyViolations = report === undefined ? 0 : countViolations(report);
    return { rows, tables, foreignKeyViolations, numbers: readNumbers(db), warnings: notVerified };
  } finally {
    db.close();
  }
}

/** A trigger could write to the ledger. @throws OnewriterError STATEMENT_NOT_ALLOWED */
export function assertOwnSchema(db: Database.Database): void {
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

export function damagedFile(damage: string): OnewriterError {
  return new OnewriterError('DATABASE_CORRUPT', `The file is damaged: ${damage}.`, { reason: damage });
}
