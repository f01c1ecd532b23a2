import { createHash, type Hash } from 'node:crypto';
import { isOwnTable } from '@onewriter/protocol';
import { isStatementError, quoteName } from '@onewriter/runtime/inspect';
import type { Database } from 'better-sqlite3';

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly sql: string | null;
  readonly bytes: Buffer | null;
}

/** A table with rows, as `PRAGMA table_list` lists it. */
interface TableRow {
  readonly name: string;
  readonly wr: number;
}

/** What belongs to the content, and is in no table. */
const SETTINGS = ['encoding', 'user_version', 'application_id', 'auto_vacuum'];
/** A table may have as many columns as a result, and a row id besides. */
const MAX_COLUMNS = 1_000;
const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];
/** What better-sqlite3 returns for each byte that is no UTF-8: texts that have it may differ in their bytes. */
const REPLACEMENT = '\ufffd';

/**
 * A hash of all that a file holds, without the writer's own tables: the schema, each stored value by type and bytes, and row
 * ids. Two files with the same hash are the same to every statement, whatever their pages, journal mode or log.
 *
 * The content of a virtual table is in its shadow tables. A table that SQLite cannot read here counts with its error.
 * @throws SqliteError for a damaged file
 */
export function hashContent(db: Database): string {
  const hash = createHash('sha256');
  const add = (value: unknown) => hash.update(`${JSON.stringify(value)}\n`);
  for (const name of SETTINGS) add([name, db.pragma(name, { simple: true })]);
  const schema = db
    .prepare<[], SchemaRow>(
      'SELECT type, name, tbl_name, sql, CAST(sql AS BLOB) AS bytes FROM main.sqlite_schema ORDER BY type, name',
    )
    .all();
  for (const { type, name, tbl_name, sql, bytes } of schema) {
    if (isOwnTable(tbl_name) || isOwnTable(name)) continue;
    add([type, name, tbl_name, sql]);
    if (sql?.includes(REPLACEMENT)) add(bytes!.toString('hex'));
  }
  for (const table of tablesWithRows(db)) {
    add(table.name);
    try {
      hashRows(db, table, hash);
    } catch (error) {
      if (!isStatementError(error)) throw error;
      add(error.message);
    }
  }
  return hash.digest('hex');
}

function tablesWithRows(db: Database): TableRow[] {
  return db
    .prepare<[], TableRow>(
      `SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')
         AND name <> 'sqlite_schema' ORDER BY name`,
    )
    .all()
    .filter(({ name }) => !isOwnTable(name));
}

function hashRows(db: Database, { name, wr }: TableRow, hash: Hash): void {
  const all = db
    .prepare<[string], { name: string; hidden: number }>('SELECT name, hidden FROM pragma_table_xinfo(?)')
    .all(name);
  // Source: sqlite.org/pragma.html#pragma_table_xinfo, 2: computed when it is read.
  const stored = all.filter(({ hidden }) => hidden !== 2).map(column => quoteName(column.name));
  const names = new Set(all.map(column => column.name.toLowerCase()));
  const isStatistics = name.startsWith('sqlite_stat');
  const rowid = wr === 1 || isStatistics ? undefined : ROWID_NAMES.find(candidate => !names.has(candidate));
  const columns = [...(rowid === undefined ? [] : [rowid]), ...stored];
  for (let from = 0; from < columns.length; from += MAX_COLUMNS) {
    const some = columns.slice(from, from + MAX_COLUMNS);
    // Row by row, as they lie in the table: there may be millions.
    const source = `main.${quoteName(name)} NOT INDEXED${isStatistics ? statisticsOrder(some) : ''}`;
    if (!hashRowsOf(db, some, source, hash)) continue;
    const texts = some.map(column => `iif(typeof(${column}) = 'text', CAST(${column} AS BLOB), NULL)`);
    hashRowsOf(db, texts, source, hash);
  }
}

/** @returns whether there is a text that may differ from another in its bytes alone */
function hashRowsOf(db: Database, columns: readonly string[], source: string, hash: Hash): boolean {
  const rows = db
    .prepare<[], unknown[]>(`SELECT ${columns.join()} FROM ${source}`)
    .raw(true)
    .safeIntegers(true)
    .iterate();
  const values = new ValueHash(hash);
  for (const row of rows) for (const value of row) values.add(value);
  values.end();
  return values.hasReplacements;
}

/** ANALYZE counts the writer's tables, too, and writes in no certain order. */
function statisticsOrder(columns: readonly string[]): string {
  const own = "lower(tbl) GLOB '_onewriter_*' OR lower(tbl) GLOB 'sqlite_onewriter_*'";
  return ` WHERE NOT (${own}) ORDER BY ${columns.map((_, index) => index + 1).join()}`;
}

/** Characters that are hashed at a time: a call for each value takes longer than to hash it. */
const CHUNK_CHARACTERS = 64 * 1024;

/** Hashes each value with its type and length, so that two different rows never give the same bytes. */
class ValueHash {
  readonly #hash: Hash;
  #text = '';
  /** A text had a {@link REPLACEMENT}. */
  hasReplacements = false;

  constructor(hash: Hash) {
    this.#hash = hash;
  }

  add(value: unknown): void {
    if (value === null) this.#text += 'n';
    else if (typeof value === 'bigint') this.#text += `i${value};`;
    else if (typeof value === 'number') this.#text += `r${Object.is(value, -0) ? '-0' : value};`;
    else if (typeof value === 'string') this.#text += `t${value.length};${value}`;
    else {
      this.#text += `b${(value as Buffer).length};`;
      this.end();
      this.#hash.update(value as Buffer);
    }
    if (this.#text.length >= CHUNK_CHARACTERS) this.end();
  }

  /** To be called after the last value. */
  end(): void {
    this.hasReplacements ||= this.#text.includes(REPLACEMENT);
    this.#hash.update(this.#text);
    this.#text = '';
  }
}
