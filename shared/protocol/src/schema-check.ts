import { SqlTokens } from './sql-tokens.ts';

/*
 * SQLite keeps the schema of a file in memory and compares it with the file when a statement that reads a table begins
 * to run: it then loads the schema again and compiles the statement again. It does not look when it compiles, nor for
 * PRAGMA and EXPLAIN, which it may answer from memory. So on a connection that reads what others write
 *
 * - a statement can be refused that the file's schema allows (`SELECT * FROM a ORDER BY 2` after ADD COLUMN);
 * - `PRAGMA index_list(a)` can be empty after CREATE TABLE, also when it is run again: it was compiled to nothing.
 */

/** Running this makes SQLite look, and load the schema again if it has changed. */
export const SCHEMA_CHECK_SQL = 'SELECT 1 FROM sqlite_schema LIMIT 1';

/**
 * FTS5, too, keeps what it has read of an index, until a query opens the table. A check of the file does not open it, so on
 * a connection that reads what others write it would report damage where there is none. Each row is a query that opens one
 * table. Run them before a statement that {@link checksIndexes}; one that fails says nothing: the check finds out why.
 */
export const FULL_TEXT_QUERIES_SQL = `SELECT printf('SELECT 1 FROM "%w" LIMIT 1', name) FROM sqlite_schema
  WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%fts5%'`;

/** Whether a statement may be `PRAGMA integrity_check` or `quick_check`, also as `pragma_integrity_check` in a SELECT. */
export function checksIndexes(sql: string): boolean {
  return /(?:integrity|quick)_check/i.test(sql);
}

/** Whether SQLite may answer a statement from what is in memory: look first, and compile it each time. */
export function isAnsweredFromMemory(sql: string): boolean {
  if (checksIndexes(sql)) return true;
  const tokens = new SqlTokens(sql);
  for (;;) {
    const kind = tokens.next();
    if (kind === 'space' || kind === 'semicolon') continue;
    return kind === 'word' && /^(?:PRAGMA|EXPLAIN)$/i.test(tokens.text);
  }
}

/** SQLite's own tables and table-valued functions, which need none of the schema; a name can be quoted. */
const OF_EACH_FILE = /^["'`[]?(?:sqlite_|pragma_|json_|dbstat|bytecode|tables_used)/i;

/**
 * Whether a statement could be answered by a file whose schema is gone, as that of a replaced file is: it names no table,
 * or one that each file has. All others fail there ("no such table"). In doubt it is true: then it is looked before each
 * run whether the schema is there.
 */
export function mayOutliveSchema(sql: string): boolean {
  const tokens = new SqlTokens(sql);
  let first = true;
  let afterFrom = false;
  let namesTable = false;
  for (;;) {
    const kind = tokens.next();
    if (kind === 'end') return !namesTable;
    if (kind === 'space') continue;
    const { text } = tokens;
    // A name after FROM may be that of a common table expression.
    if (OF_EACH_FILE.test(text) || (first && /^WITH$/i.test(text))) return true;
    first = false;
    if (afterFrom && (kind === 'word' || kind === 'name' || kind === 'string')) namesTable = true;
    afterFrom = kind === 'word' && /^FROM$/i.test(text);
  }
}
