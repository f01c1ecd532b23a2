import Database from 'better-sqlite3';
import { RowidInDoubt } from './statement-runner.ts';
import type { TenantDatabase } from './tenant-database.ts';

/**
 * Runs one statement of a step in a savepoint, which {@link RowidInDoubt} needs, and an error of ours in the middle of it.
 *
 * @param containsErrors also an error of SQLite's is undone. Inside a transaction of the caller's it is not: SQLite undoes
 * what it undoes by itself, and keeps what OR FAIL keeps.
 */
export function runAtomically(database: TenantDatabase, containsErrors: boolean, execute: () => void): void {
  const { db, runner, stepControl } = database;
  for (runner.clearsRowid = false; ; runner.clearsRowid = true) {
    stepControl.statement.run();
    try {
      execute();
      stepControl.releaseStatement.run();
      return;
    } catch (thrown) {
      runner.forgetLastRowid();
      if (!db.inTransaction) throw thrown;
      const undoes = containsErrors || !(thrown instanceof Database.SqliteError);
      if (undoes) stepControl.rollbackToStatement.run();
      stepControl.releaseStatement.run();
      if (!(thrown instanceof RowidInDoubt) || runner.clearsRowid) throw thrown;
    }
  }
}
