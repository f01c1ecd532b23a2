import { dirname } from 'node:path';
import {
  classifyStatement,
  type ErrorCode,
  findLackOfRoom,
  OnewriterError,
  splitScript,
  sqliteMessage,
  toWireError,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { assertSo } from '../reads/pragma-answers.ts';
import { toReadError } from '../reads/read-errors.ts';
import type { BuildAnswer, BuildTask } from './build-messages.ts';

/*
 * The process that makes a new tenant's database out of a script, and ends. The file lies in a folder of its own until it is
 * whole, so that whatever happens here, to this process or to its parent, leaves nothing in the tenant's place.
 */

/** What a write can fail with, besides what a read can. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  CONSTRAINT: 'CONSTRAINT_VIOLATION',
  FULL: 'DATABASE_FULL',
  READONLY: 'DATABASE_READONLY',
};

/** All of the script in one transaction, under the rules for statements, as the writer runs it. */
function build({ tenant, path, script }: BuildTask): void {
  const db = new Database(path);
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('foreign_keys = ON');
    db.exec('BEGIN IMMEDIATE');
    for (const [index, sql] of splitScript(script).entries()) {
      try {
        runStatement(db, sql);
      } catch (error) {
        const { code, message, details } = toError(error, tenant, dirname(path));
        throw new OnewriterError(code, message, { ...details, statementIndex: index }, error);
      }
    }
    db.exec('COMMIT');
    // Nothing stays in the log: what is put in its place is the one file.
    db.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
}

function runStatement(db: Database.Database, sql: string): void {
  const { answer } = classifyStatement(sql);
  if (answer !== undefined) {
    assertSo(db, answer);
    return;
  }
  const statement = db.prepare(sql);
  if (!statement.reader) statement.run();
  else for (const _ of statement.iterate());
}

/** @param folder of the new database */
function toError(error: unknown, tenant: string, folder: string): OnewriterError {
  const primary =
    error instanceof Database.SqliteError ? /^SQLITE_([A-Z]+)/.exec(error.code)?.[1] : undefined;
  // SQLite reports a file that it cannot make as one that cannot be opened.
  if (primary === 'CANTOPEN' || primary === 'IOERR') {
    const full = findLackOfRoom(folder, error);
    if (full !== undefined) return full;
  }
  const code = primary === undefined ? undefined : CODES[primary];
  if (code === undefined) return toReadError(error, tenant);
  const { code: sqliteCode } = error as InstanceType<typeof Database.SqliteError>;
  return new OnewriterError(code, sqliteMessage(error), { tenant, sqliteCode }, error);
}

process.on('disconnect', () => process.exit(1));
process.once('message', (task: BuildTask) => {
  let answer: BuildAnswer;
  try {
    build(task);
    answer = { done: true };
  } catch (error) {
    answer = { error: toWireError(toError(error, task.tenant, dirname(task.path))) };
  }
  process.send?.(answer, undefined, undefined, () => process.exit(0));
});
