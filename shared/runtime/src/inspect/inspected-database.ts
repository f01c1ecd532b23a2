/** A database to look at, of whatever library: all that is asked of it. */
export interface InspectedDatabase {
  /** Rows of a statement, values in column order. @throws SQLite's own errors */
  rows(sql: string): Iterable<readonly unknown[]>;
  /** Compiles a statement, and runs nothing. @throws SQLite's own errors */
  compile(sql: string): void;
}

/** A connection of better-sqlite3, as far as it is used here. */
interface Connection {
  prepare(sql: string): {
    raw(on: boolean): { safeIntegers(on: boolean): { iterate(): IterableIterator<unknown> } };
  };
}

/** What better-sqlite3 has open. */
export function inspected(db: Connection): InspectedDatabase {
  return {
    rows: sql => db.prepare(sql).raw(true).safeIntegers(false).iterate() as Iterable<readonly unknown[]>,
    compile: sql => void db.prepare(sql),
  };
}

/** The code of an error of SQLite (`SQLITE_CORRUPT` …); undefined for any other. */
export function sqliteCodeOf(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return error instanceof Error && typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined;
}

/**
 * Whether SQLite refused a statement for what it or the schema says: an unknown function, module or collation, a table that
 * is gone. The file is in order then. All other codes are about the file.
 */
export function isStatementError(error: unknown): error is Error {
  const code = sqliteCodeOf(error);
  return code === 'SQLITE_ERROR' || code === 'SQLITE_ERROR_MISSING_COLLSEQ';
}

/** A name, for SQL. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
