/** A connection of better-sqlite3, as far as it is used here. */
export interface ReservingConnection {
  unsafeMode(on: boolean): unknown;
  pragma(source: string): unknown;
}

/**
 * Runs a change of the schema that may use names SQLite reserves for itself (`sqlite_…`). Afterwards nothing can drop, alter or
 * index what was made under one, nor give it a trigger; rows can be written as in any table.
 * Source: sqlite.org/pragma.html#pragma_writable_schema; sqlite3CheckObjectName() in SQLite's build.c; better-sqlite3's
 * unsafeMode turns SQLITE_DBCONFIG_DEFENSIVE off, under which writable_schema has no effect.
 */
export function withReservedNames<T>(db: ReservingConnection, change: () => T): T {
  db.unsafeMode(true);
  try {
    db.pragma('writable_schema = ON');
    try {
      return change();
    } finally {
      // Also reads the schema again before the next statement, so what is wrong with it shows there.
      db.pragma('writable_schema = RESET');
    }
  } finally {
    db.unsafeMode(false);
  }
}
