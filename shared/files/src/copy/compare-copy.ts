import { isNotOwnTableSql, shownName } from '@onewriter/protocol';
import { isStatementError, quoteName, type UncheckedTable } from '@onewriter/runtime/inspect';
import type { Database } from 'better-sqlite3';

/** How a copy compares with the database that it was made of. */
export interface Comparison {
  /** Undefined: they hold the same. */
  readonly difference: string | undefined;
  /** Tables whose rows SQLite cannot read here. */
  readonly unread: readonly UncheckedTable[];
}

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];
/** SQLite bounds the depth of an expression at 1,000, a table at 2,000 columns. */
const COLUMNS_PER_TERM = 100;

/** A column of a table, as `PRAGMA table_xinfo` lists it. */
interface Column {
  readonly name: string;
  readonly type: string;
  /** Place in the key, from 1; 0: not in it. */
  readonly pk: number;
  /** 2: computed when it is read. Source: sqlite.org/pragma.html#pragma_table_xinfo */
  readonly hidden: number;
}

/**
 * Compares a copy row by row with the database that `db` reads, within the transaction in which it was copied: the schema,
 * and of each table the row ids, and each stored value by type and bytes. SQLite does the comparison, in one scan of each file.
 * To hash both in JavaScript took seven times as long.
 *
 * @param copy path of a file that no other process has open
 * @throws SqliteError
 */
export function compareCopy(db: Database, copy: string): Comparison {
  db.prepare('ATTACH ? AS copy').run(copy);
  db.pragma(`copy.mmap_size = ${MAPPED_BYTES}`);
  const unread: UncheckedTable[] = [];
  const schema = (name: string) => `SELECT type, name, tbl_name, rootpage, sql FROM ${name}.sqlite_schema`;
  const others = db
    .prepare<[], number>(
      `SELECT count(*) FROM (SELECT * FROM (${schema('main')} EXCEPT ${schema('copy')})
         UNION ALL SELECT * FROM (${schema('copy')} EXCEPT ${schema('main')}))`,
    )
    .pluck()
    .get();
  if (others !== 0) return { difference: 'it has another schema', unread };
  for (const { name, wr } of ownTables(db)) {
    try {
      if (!isSameTable(db, name, wr === 1))
        return { difference: `table ${shownName(name)} has other rows`, unread };
    } catch (error) {
      if (!isStatementError(error)) throw error;
      unread.push({ name, error: error.message });
    }
  }
  return { difference: undefined, unread };
}

/**
 * Maps the pages of a copy, which only this process has open: a read call for each page costs more than its check. Never
 * for a tenant's file: if another process truncates it, access to a mapped page ends this process. Source:
 * sqlite.org/mmap.html; the most that better-sqlite3 is built for.
 */
export const MAPPED_BYTES = 0x7fff0000;

/** The tenant's own tables with rows: the content of a virtual table is in its shadow tables. */
export function ownTables(db: Database): { readonly name: string; readonly wr: number }[] {
  return db
    .prepare<[], { name: string; wr: number }>(
      `SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')
         AND name <> 'sqlite_schema' AND ${isNotOwnTableSql('name')} ORDER BY name`,
    )
    .all();
}

/** Rows of the tenant's own tables; one that SQLite cannot read has none. @throws SqliteError */
export function countRows(db: Database): { readonly tables: number; readonly rows: number } {
  const tables = ownTables(db);
  let rows = 0;
  for (const { name } of tables) {
    try {
      rows += db
        .prepare<[], number>(`SELECT count(*) FROM ${quoteName(name)}`)
        .pluck()
        .get()!;
    } catch (error) {
      if (!isStatementError(error)) throw error;
    }
  }
  return { tables: tables.length, rows };
}

function isSameTable(db: Database, table: string, withoutRowid: boolean): boolean {
  const columns = db.pragma(`table_xinfo(${quoteName(table)})`) as Column[];
  const stored = columns.filter(({ hidden }) => hidden !== 2);
  const join = joinOn(columns, withoutRowid);
  if (join === undefined) return isSameInOrder(db, table, stored);
  const { on, key } = join;
  // NOT INDEXED: by the table itself; whether its indexes agree with it is what integrity_check looks at.
  // LIMIT keeps SQLite from merging both queries: an aggregate of so many columns as a table may have is refused.
  const [rows, different] = db
    .prepare<[], [number, number]>(
      `SELECT count(*), count(differs) FROM (
         SELECT CASE WHEN c.${key} IS NULL OR ${anyDiffers(stored)} THEN 1 END AS differs
         FROM main.${quoteName(table)} AS m NOT INDEXED LEFT JOIN copy.${quoteName(table)} AS c NOT INDEXED ON ${on}
         LIMIT -1)`,
    )
    .raw(true)
    .get()!;
  const copied = db
    .prepare<[], number>(`SELECT count(*) FROM copy.${quoteName(table)} NOT INDEXED`)
    .pluck()
    .get();
  return different === 0 && rows === copied;
}

/** How a row finds its copy; undefined where the row ids have no name. */
function joinOn(
  columns: readonly Column[],
  withoutRowid: boolean,
): { readonly on: string; readonly key: string } | undefined {
  if (withoutRowid) {
    const key = columns.filter(({ pk }) => pk > 0).map(({ name }) => quoteName(name));
    return { on: key.map(name => `c.${name} = m.${name}`).join(' AND '), key: key[0]! };
  }
  const known = new Set(columns.map(({ name }) => name.toLowerCase()));
  const rowid = ROWID_NAMES.find(candidate => !known.has(candidate));
  return rowid === undefined ? undefined : { on: `c.${rowid} = m.${rowid}`, key: rowid };
}

function anyDiffers(columns: readonly Column[]): string {
  const terms: string[] = [];
  for (let from = 0; from < columns.length; from += COLUMNS_PER_TERM) {
    const some = columns.slice(from, from + COLUMNS_PER_TERM).map(({ name }) => differs(quoteName(name)));
    terms.push(`(${some.join(' OR ')})`);
  }
  return terms.join(' OR ');
}

/** 1 and 1.0 are equal to SQLite, and so are texts that a collation takes for the same. */
function differs(column: string): string {
  return `m.${column} IS NOT c.${column} COLLATE BINARY OR typeof(m.${column}) <> typeof(c.${column})`;
}

/** For a table whose columns have all three names of the row id: by scans of both, side by side. */
function isSameInOrder(db: Database, table: string, columns: readonly Column[]): boolean {
  const list = columns.map(({ name }) => quoteName(name));
  const select = (schema: string) =>
    db
      .prepare<[], unknown[]>(
        `SELECT ${list.map(name => `typeof(${name}), ${name}`).join()} FROM ${schema}.${quoteName(table)} NOT INDEXED`,
      )
      .raw(true)
      .safeIntegers(true)
      .iterate();
  const copies = select('copy');
  try {
    for (const row of select('main')) {
      const copied = copies.next();
      if (copied.done || !row.every((value, index) => isSameValue(value, copied.value[index]))) return false;
    }
    return copies.next().done === true;
  } finally {
    copies.return?.();
  }
}

function isSameValue(value: unknown, other: unknown): boolean {
  return Buffer.isBuffer(value) ? value.equals(other as Buffer) : Object.is(value, other);
}
