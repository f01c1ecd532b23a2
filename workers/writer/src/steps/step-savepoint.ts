import Database from 'better-sqlite3';
import type { TenantDatabase } from '../file/tenant-database.ts';

/**
 * Runs one statement of a step. After an error of SQLite its effects are SQLite's: nothing, or with OR FAIL the rows before the
 * one that failed. Any other error in the middle of it leaves nothing.
 */
export function runAtomically({ db, schema, stepControl }: TenantDatabase, execute: () => void): void {
  stepControl.statement.run();
  try {
    execute();
    stepControl.releaseStatement.run();
  } catch (thrown) {
    schema.undone();
    if (!db.inTransaction) throw thrown;
    if (!(thrown instanceof Database.SqliteError)) stepControl.rollbackToStatement.run();
    stepControl.releaseStatement.run();
    throw thrown;
  }
}
