import { INTERNAL_TABLE_PREFIX, isOwnTable } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import type { Database } from 'better-sqlite3';

/** SQLite drops no table with a name of its own. */
const RESERVED_PREFIX = 'sqlite_';
/** No statement of a tenant may make such a name. */
const DROPPED_PREFIX = '_onewriter_dropped_';

/** An object of the schema. */
export interface SchemaObject {
  readonly type: 'table' | 'index' | 'trigger' | 'view';
  readonly name: string;
  readonly table: string;
}

/** What the schema has with a name of the writer, or on such a table. @throws SqliteError */
export function findOwnObjects(db: Database): SchemaObject[] {
  return db
    .prepare<[], SchemaObject>('SELECT type, name, tbl_name AS "table" FROM main.sqlite_schema')
    .all()
    .filter(({ name, table }) => isOwnTable(name) || isOwnTable(table));
}

/**
 * Removes the writer's tables, with all that is on them. To be called in a transaction of the caller, on a connection without
 * foreign keys.
 * @throws SqliteError; the caller rolls back then
 */
export function removeOwnObjects(db: Database): void {
  for (const { type, name } of findOwnObjects(db)) {
    if (type === 'trigger' || type === 'view') db.exec(`DROP ${type.toUpperCase()} main.${quoteName(name)}`);
  }
  giveDroppableNames(db);
  for (const { type, name } of findOwnObjects(db)) {
    // Indexes go with their tables; one on a tenant's table does not.
    if (type === 'table') db.exec(`DROP TABLE main.${quoteName(name)}`);
  }
  for (const { type, name } of findOwnObjects(db)) {
    if (type === 'index') db.exec(`DROP INDEX main.${quoteName(name)}`);
  }
}

/** Renames tables whose names SQLite reserves, in the text of the schema: ALTER TABLE refuses them. */
function giveDroppableNames(db: Database): void {
  const own = findOwnObjects(db).filter(({ table }) => table.toLowerCase().startsWith(INTERNAL_TABLE_PREFIX));
  if (own.length === 0) return;
  db.unsafeMode(true);
  try {
    db.pragma('writable_schema = ON');
    const rename = db.prepare<{ table: string; renamed: string }>(
      `UPDATE main.sqlite_schema SET
         name = replace(name, @table, @renamed), tbl_name = @renamed, sql = replace(sql, @table, @renamed)
       WHERE tbl_name = @table`,
    );
    for (const table of new Set(own.map(object => object.table)))
      rename.run({ table, renamed: DROPPED_PREFIX + table.slice(RESERVED_PREFIX.length) });
    // Reads the schema again, as it is in the transaction.
    db.pragma('writable_schema = RESET');
  } finally {
    db.unsafeMode(false);
  }
}
