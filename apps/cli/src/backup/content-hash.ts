import { createHash, type Hash } from 'node:crypto';
import { INTERNAL_TABLE_PREFIX } from '@onewriter/protocol';
import { isStatementError, quoteName, type UncheckedTable } from '@onewriter/runtime/inspect';
import type { Database } from 'better-sqlite3';

/** What a database holds, in short: two databases with equal hashes hold the same. */
export interface ContentSummary {
  /** SHA-256 over the schema and all rows of the tenant's own tables, in hexadecimal. */
  readonly hash: string;
  readonly tables: number;
  readonly rows: number;
  /** Tables whose rows are not in the hash, because SQLite cannot read them here. */
  readonly unread: readonly UncheckedTable[];
}

/** Bytes that are gathered before they are hashed. */
const CHUNK_BYTES = 64 * 1024;
const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];

/**
 * Reads all of the tenant's own content, as it is for this connection now: SQL of the schema by name; then each table by
 * name, its rows in the order of their row ids (of a table without row ids: of its key), each with its row id and values,
 * type and length in front. It does not depend on pages, free space or journal mode, nor on the writer's own tables, so
 * it stays the same from the file to its backup and to what is restored from it.
 *
 * Where SQLite cannot compute a generated column, what is stored is read; where it cannot read a table at all (a key of a
 * collation that it lacks), the table is listed as `unread`, and the others are read.
 *
 * @throws SqliteError
 */
export function summarizeContent(db: Database): ContentSummary {
  const digest = createHash('sha256');
  const sink = new Sink(digest);
  const own = `substr(name, 1, ${INTERNAL_TABLE_PREFIX.length}) <> '${INTERNAL_TABLE_PREFIX}'`;
  const schema = db
    .prepare<[], [string, string, string, string]>(
      `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
       WHERE ${own} AND ${own.replace('name', 'tbl_name')} ORDER BY type, name`,
    )
    .raw(true)
    .all();
  for (const row of schema) for (const value of row) sink.value(value);
  // The content of a virtual table is in its shadow tables.
  const tables = db
    .prepare<[], { name: string; wr: number }>(
      `SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')
         AND name <> 'sqlite_schema' AND ${own} ORDER BY name`,
    )
    .all();
  let rows = 0;
  const unread: UncheckedTable[] = [];
  for (const { name, wr } of tables) {
    sink.value(name);
    const read = hashRows(db, name, wr === 1, sink);
    if (typeof read === 'number') rows += read;
    else unread.push({ name, error: read.message });
  }
  sink.flush();
  return { hash: digest.digest('hex'), tables: tables.length, rows, unread };
}

/** Reads all of a table, or what it stores. @returns how many rows, or why SQLite refused both */
function hashRows(db: Database, table: string, withoutRowid: boolean, sink: Sink): number | Error {
  let refusal: Error | undefined;
  for (const columns of ['all', 'stored'] as const) {
    let rows = 0;
    try {
      const statement = db
        .prepare(selectAll(db, table, withoutRowid, columns))
        .raw(true)
        .safeIntegers(true);
      for (const row of statement.iterate() as IterableIterator<unknown[]>) {
        for (const value of row) sink.value(value);
        rows++;
      }
      return rows;
    } catch (error) {
      // An expression can also fail in the middle: at the same row in the file and its copy.
      if (!isStatementError(error)) throw error;
      refusal ??= error;
    }
  }
  return refusal!;
}

/** `NOT INDEXED`: by the table itself, whose order is that of row ids or of its key, and never by a covering index. */
function selectAll(db: Database, table: string, withoutRowid: boolean, what: 'all' | 'stored'): string {
  const name = quoteName(table);
  const columns = db.pragma(`table_xinfo(${name})`) as { name: string; hidden: number }[];
  // Source: sqlite.org/pragma.html#pragma_table_xinfo: 2 is a virtual generated column.
  const stored = columns.filter(({ hidden }) => hidden !== 2).map(column => quoteName(column.name));
  const list = what === 'all' ? '*' : stored.join();
  if (withoutRowid) return `SELECT ${list} FROM ${name} NOT INDEXED`;
  const known = columns.map(column => column.name.toLowerCase());
  const rowid = ROWID_NAMES.find(candidate => !known.includes(candidate));
  return `SELECT ${rowid === undefined ? '' : `${rowid}, `}${list} FROM ${name} NOT INDEXED`;
}

/** Writes values into a hash so that no two lists of values look alike. */
class Sink {
  readonly #hash: Hash;
  #text = '';

  constructor(hash: Hash) {
    this.#hash = hash;
  }

  value(value: unknown): void {
    if (typeof value === 'bigint') this.#text += `i${value};`;
    else if (typeof value === 'string') this.#text += `t${value.length}:${value};`;
    else if (value === null) this.#text += 'n;';
    else if (typeof value === 'number') {
      const bits = Buffer.alloc(8);
      bits.writeDoubleBE(value);
      this.#text += `f${bits.toString('hex')};`;
    } else {
      const bytes = value as Buffer;
      this.#text += `b${bytes.length}:`;
      this.flush();
      this.#hash.update(bytes);
    }
    if (this.#text.length >= CHUNK_BYTES) this.flush();
  }

  flush(): void {
    if (this.#text === '') return;
    this.#hash.update(this.#text, 'utf8');
    this.#text = '';
  }
}
