import { isNotOwnTableSql, OnewriterError, SqlTokens, shownName, sqliteMessage } from '@onewriter/protocol';
import type { Database } from 'better-sqlite3';
import { quoteName } from './sql-text.ts';

/**
 * How what a table holds is exported.
 *
 * - `rows`: its rows, by SELECT and INSERT.
 * - `shadow`: what it holds shows in no SELECT (contentless full text), or in the rows of another table (external
 *   content, which may differ from the index): its shadow tables are copied.
 * - `none`: it holds nothing (fts5vocab, dbstat).
 */
export type ContentKind = 'rows' | 'shadow' | 'none';

/** A table that is exported, or a view. */
export interface ExportTable {
  readonly name: string;
  readonly type: 'table' | 'virtual' | 'view';
  readonly sql: string;
  readonly content: ContentKind;
  /** Columns whose values are stored: not those that are generated or hidden. */
  readonly columns: readonly string[];
  /** A name of the row id, where it is not one of the columns already and can be given at INSERT. */
  readonly rowid: string | undefined;
  /** The tables that hold what a virtual table holds. */
  readonly shadows: readonly string[];
  /** Module of a virtual table, in lower case. */
  readonly module: string | undefined;
}

interface SchemaRow {
  readonly name: string;
  readonly type: 'table' | 'virtual' | 'view';
  readonly wr: number;
  readonly sql: string;
}

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly pk: number;
  readonly hidden: number;
}

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];
const FULL_TEXT = new Set(['fts3', 'fts4', 'fts5']);
/** Modules whose first column is the row id. */
const SPATIAL = new Set(['rtree', 'rtree_i32']);
/** Options of full text because of which a SELECT does not show what was indexed. */
const NOT_READ_BACK = new Set(['content', 'contentless_unindexed', 'locale']);

/** SQL: `column` is neither a name of SQLite's own nor of the writer's. */
export function isTenantName(column: string): string {
  return `(${column} NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND ${isNotOwnTableSql(column)})`;
}

/** Tables of the tenant and their columns, in the order in which they were made. Shadow tables belong to their own. */
export function readTables(db: Database): ExportTable[] {
  const rows = db
    .prepare<[], SchemaRow>(
      `SELECT m.name, l.type, l.wr, m.sql FROM sqlite_schema m
         JOIN pragma_table_list l ON l.schema = 'main' AND l.name = m.name
       WHERE m.type = 'table' AND l.type IN ('table', 'virtual') AND ${isTenantName('m.name')} ORDER BY m.rowid`,
    )
    .all();
  const shadows = readShadows(db);
  return rows.map(row => describe(db, row, shadows));
}

/** A table or view by name. @throws OnewriterError NOT_FOUND */
export function findTable(db: Database, tables: readonly ExportTable[], name: string): ExportTable {
  const table = tables.find(candidate => candidate.name === name);
  if (table !== undefined) return table;
  const view = db
    .prepare<[string], { sql: string }>(
      `SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ? AND ${isTenantName('name')}`,
    )
    .get(name);
  if (view === undefined) throw new OnewriterError('NOT_FOUND', 'There is no such table or view.');
  const columns = columnsOf(db, name).map(column => column.name);
  return {
    name,
    type: 'view',
    sql: view.sql,
    content: 'rows',
    columns,
    rowid: undefined,
    shadows: [],
    module: undefined,
  };
}

/**
 * Compiles a read of each table, so that one that cannot be read is an error before the export begins.
 * @throws OnewriterError SQL_ERROR with the table's name and the reason
 */
export function assertReadable(db: Database, tables: readonly ExportTable[]): void {
  const modules = new Set(db.prepare<[], string>('SELECT lower(name) FROM pragma_module_list').pluck().all());
  for (const { name, type, module, content } of tables) {
    if (module !== undefined && !modules.has(module))
      throw unreadable(shownName(name), `no such module: ${shownName(module)}`);
    if (content === 'none') continue;
    try {
      db.prepare(`SELECT * FROM ${quoteName(name)}`);
    } catch (error) {
      throw unreadable(`${type === 'view' ? 'view ' : ''}${shownName(name)}`, sqliteMessage(error), error);
    }
  }
}

function unreadable(table: string, reason: string, cause?: unknown): OnewriterError {
  return new OnewriterError(
    'SQL_ERROR',
    `${table} cannot be read (${reason}). Export the other tables one by one, or all of the file with format=sqlite.`,
    { table },
    cause,
  );
}

/** Shadow tables by the virtual table that they belong to: what stands before the last `_`, as SQLite has it. */
function readShadows(db: Database): Map<string, string[]> {
  const owned = new Map<string, string[]>();
  const names = db
    .prepare<[], string>(
      "SELECT l.name FROM pragma_table_list l JOIN sqlite_schema m ON m.type = 'table' AND m.name = l.name WHERE l.schema = 'main' AND l.type = 'shadow' ORDER BY m.rowid",
    )
    .pluck();
  for (const name of names.all()) {
    const owner = name.slice(0, name.lastIndexOf('_')).toLowerCase();
    owned.set(owner, [...(owned.get(owner) ?? []), name]);
  }
  return owned;
}

function describe(db: Database, row: SchemaRow, owned: Map<string, string[]>): ExportTable {
  const { name, type, sql, wr } = row;
  if (type === 'virtual') return describeVirtual(db, row, owned.get(name.toLowerCase()) ?? []);
  const columns = columnsOf(db, name);
  const stored = columns.filter(({ hidden }) => hidden === 0).map(column => column.name);
  const hasRowid = wr === 0 && !isRowidAlias(db, name, columns);
  const rowid = hasRowid ? freeRowidName(columns.map(column => column.name)) : undefined;
  return { name, type, sql, content: 'rows', columns: stored, rowid, shadows: [], module: undefined };
}

function describeVirtual(db: Database, row: SchemaRow, shadows: readonly string[]): ExportTable {
  const { name, type, sql } = row;
  const { module, options } = readArguments(sql);
  const ownContent = FULL_TEXT.has(module)
    ? !options.some(option => NOT_READ_BACK.has(option))
    : SPATIAL.has(module) || module === 'geopoly';
  const content = shadows.length === 0 ? 'none' : ownContent ? 'rows' : 'shadow';
  // A module that is not there has no columns; whether that matters is for the caller to say.
  const columns = content === 'rows' ? columnsOf(db, name) : [];
  const rowid = SPATIAL.has(module) ? undefined : module === 'fts3' || module === 'fts4' ? 'docid' : 'rowid';
  const stored = columns.filter(column => column.hidden === 0 || isLanguage(row, options, column));
  return { name, type, sql, content, columns: stored.map(column => column.name), rowid, shadows, module };
}

/** The hidden column that FTS4 has with `languageid`, beside one of the table's own name and docid. */
function isLanguage(table: SchemaRow, options: readonly string[], column: ColumnRow): boolean {
  const name = column.name.toLowerCase();
  return options.includes('languageid') && name !== 'docid' && name !== table.name.toLowerCase();
}

function columnsOf(db: Database, table: string): ColumnRow[] {
  try {
    return db
      .prepare<[string], ColumnRow>('SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid')
      .all(table);
  } catch {
    return []; // its module or view does not work: assertReadable() says which
  }
}

/** Whether one of the columns is the row id. `INTEGER PRIMARY KEY DESC` is none: it has an index of its own. */
function isRowidAlias(db: Database, table: string, columns: readonly ColumnRow[]): boolean {
  const key = columns.filter(({ pk }) => pk > 0);
  if (key.length !== 1 || key[0]!.type.toUpperCase() !== 'INTEGER') return false;
  return db.prepare("SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'").get(table) === undefined;
}

/** Where all three are columns, no SQL can name the row id, and nothing can refer to it. */
function freeRowidName(columns: readonly string[]): string | undefined {
  const taken = new Set(columns.map(column => column.toLowerCase()));
  return ROWID_NAMES.find(name => !taken.has(name));
}

/** The module of a CREATE VIRTUAL TABLE, and the names of its options (`name=value`), in lower case. */
function readArguments(sql: string): { readonly module: string; readonly options: readonly string[] } {
  const tokens = new SqlTokens(sql);
  const options: string[] = [];
  let module = '';
  let previous = '';
  let first = '';
  let count = 0;
  let depth = 0;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    const { text } = tokens;
    if (module === '') {
      if (previous === 'USING') module = bareName(text).toLowerCase();
      previous = kind === 'word' ? text.toUpperCase() : '';
      continue;
    }
    if (text === '(') depth++;
    else if (text === ')') depth--;
    if (depth === 1 && (text === '(' || text === ',')) count = 0;
    else if (count === 0) {
      first = bareName(text).toLowerCase();
      count = 1;
    } else {
      if (count === 1 && text === '=') options.push(first);
      count = 2;
    }
  }
  return { module, options };
}

function bareName(text: string): string {
  return /^["'`[]/.test(text) ? text.slice(1, -1) : text;
}
