import { FORMER_TABLE_PREFIX, INTERNAL_TABLE_PREFIX } from './names.ts';

/*
 * The writer's tables lie under a prefix that SQLite reserves (ADR 0057). Up to format 2 the same names had no `sqlite` before
 * them, and a file keeps those until a broker opens it. SQL is written for the current names; a reader whose file may be older
 * runs it through one of these functions.
 */

/** Turns SQL for the current names into SQL for the names that a file has. */
export type OwnNames = (sql: string) => string;

const current: OwnNames = sql => sql;
const former: OwnNames = sql => sql.replaceAll(INTERNAL_TABLE_PREFIX, FORMER_TABLE_PREFIX);

/** NULL where there is none of them. */
const IS_FORMER_SQL = `SELECT max(name = '${INTERNAL_TABLE_PREFIX}state') = 0 FROM sqlite_schema
  WHERE type = 'table' AND name IN ('${INTERNAL_TABLE_PREFIX}state', '${FORMER_TABLE_PREFIX}state', '${FORMER_TABLE_PREFIX}ledger')`;

const NO_OWN_TABLE = /no such table: (?:main\.)?(?:sqlite)?_onewriter_/;

/** A connection of better-sqlite3, as far as it is used here. */
interface Connection {
  prepare(sql: string): { pluck(): { get(): unknown } };
}

/** The names in an open file. They hold until a broker opens the file: for a copy, or inside a transaction. */
export function ownNames(db: Connection): OwnNames {
  return db.prepare(IS_FORMER_SQL).pluck().get() === 1 ? former : current;
}

/**
 * Reads with the current names, and with the former ones if there is no such table.
 * @throws what `read` throws; {@link isWithoutOwnTable} is true of it for a file that no broker has opened
 */
export function readOwnTables<T>(read: (names: OwnNames) => T): T {
  for (const names of [current, former]) {
    try {
      return read(names);
    } catch (error) {
      if (!isWithoutOwnTable(error)) throw error;
    }
  }
  // A broker may have changed the names between the two.
  return read(current);
}

/** {@link readOwnTables} of a read that takes its time. */
export async function readOwnTablesLater<T>(read: (names: OwnNames) => Promise<T>): Promise<T> {
  for (const names of [current, former]) {
    try {
      return await read(names);
    } catch (error) {
      if (!isWithoutOwnTable(error)) throw error;
    }
  }
  return await read(current);
}

/** Whether an error, also of a gateway, says that a file has no such table of the writer. */
export function isWithoutOwnTable(error: unknown): boolean {
  return error instanceof Error && NO_OWN_TABLE.test(error.message);
}

/** Whether a table of this name is the writer's. */
export function isOwnTable(name: string): boolean {
  const lower = name.toLowerCase();
  return lower.startsWith(INTERNAL_TABLE_PREFIX) || lower.startsWith(FORMER_TABLE_PREFIX);
}

/** {@link isOwnTable}, not: an expression in SQL. */
export function isNotOwnTableSql(column: string): string {
  const differs = (prefix: string) => `substr(${column}, 1, ${prefix.length}) <> '${prefix}'`;
  return `(${differs(INTERNAL_TABLE_PREFIX)} AND ${differs(FORMER_TABLE_PREFIX)})`;
}
