import { isNotOwnTableSql, realDatabasePath, withReservedNames } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import Database from 'better-sqlite3';

interface OwnTable {
  readonly name: string;
  readonly sql: string;
  readonly wr: number;
}

/**
 * Copies Onewriter's own tables from a tenant's file into the one that takes its place. What replaces the content is not another
 * life of the tenant: receipts stay true, and a job that is delivered again is not applied again.
 *
 * @param draft without own tables; it gets them with the names that the file has
 * @param file the tenant's, which no process writes now
 * @throws SqliteError
 */
export function carryLedger(draft: string, file: string): void {
  const db = new Database(draft, { fileMustExist: true });
  try {
    // The guard refers to a table that is not there: with them on, SQLite refuses to insert even no rows.
    db.pragma('foreign_keys = OFF');
    db.prepare('ATTACH ? AS old').run(realDatabasePath(file));
    const tables = db
      .prepare<[], OwnTable>(
        `SELECT schema.name, schema.sql, list.wr FROM old.sqlite_schema AS schema
           JOIN pragma_table_list AS list ON list.schema = 'old' AND list.name = schema.name
         WHERE schema.type = 'table' AND NOT ${isNotOwnTableSql('schema.name')}`,
      )
      .all();
    withReservedNames(db, () => {
      db.exec('BEGIN');
      for (const { name, sql, wr } of tables) {
        db.exec(sql);
        // The row ids are their ages.
        const columns = db
          .prepare<[string], string>("SELECT name FROM pragma_table_info(?, 'old')")
          .pluck()
          .all(name);
        const named = [...(wr === 1 ? [] : ['rowid']), ...columns].map(quoteName).join(', ');
        const table = quoteName(name);
        db.exec(`INSERT INTO main.${table}(${named}) SELECT ${named} FROM old.${table}`);
      }
      db.exec('COMMIT');
    });
  } finally {
    db.close();
  }
}
