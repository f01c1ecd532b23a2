import {
  checksIndexes,
  FULL_TEXT_QUERIES_SQL,
  isAnsweredFromMemory,
  SCHEMA_CHECK_SQL,
} from '@onewriter/protocol';
import Database from 'better-sqlite3';

/**
 * Compiles a read under the schema that the file has now, which another process may have changed: see the protocol's
 * schema-check.ts.
 * @throws better-sqlite3's errors
 */
export function prepareRead<Row>(db: Database.Database, sql: string): Database.Statement<unknown[], Row> {
  if (isAnsweredFromMemory(sql)) checkSchema(db);
  if (checksIndexes(sql)) openFullText(db);
  try {
    return db.prepare<unknown[], Row>(sql);
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || error.code !== 'SQLITE_ERROR') throw error;
    checkSchema(db);
    return db.prepare<unknown[], Row>(sql);
  }
}

/**
 * Loads the schema again if it has changed.
 * @returns false where it is empty: the file was never written, or was replaced
 * @throws better-sqlite3's errors
 */
export function checkSchema(db: Database.Database): boolean {
  return db.prepare(SCHEMA_CHECK_SQL).get() !== undefined;
}

/** Makes FTS5 read its indexes again where they have changed: see the protocol's schema-check.ts. */
function openFullText(db: Database.Database): void {
  for (const query of db.prepare<[], string>(FULL_TEXT_QUERIES_SQL).pluck().all()) {
    try {
      db.prepare(query).get();
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error;
    }
  }
}
