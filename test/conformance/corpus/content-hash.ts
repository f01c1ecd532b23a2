import { createHash, type Hash } from 'node:crypto';
import { INTERNAL_TABLE_PREFIX, type SqlValue } from '@onewriter/protocol';
import Database from 'better-sqlite3';

/** A hash of each table's rows, and of the schema, by name. */
export type ContentHashes = ReadonlyMap<string, string>;

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly sql: string | null;
}

/** Rows between two calls of `onProgress`. */
const ROWS_PER_CALL = 50_000;

/**
 * What is in a file, without the writer's own tables.
 * @param onProgress called from time to time: a large file takes long
 */
export function hashContents(path: string, onProgress: () => void): ContentHashes {
  const db = new Database(path, { readonly: true });
  try {
    const rows = db
      .prepare<[], SchemaRow>('SELECT type, name, tbl_name, sql FROM sqlite_schema')
      .all()
      .filter(row => !row.tbl_name.startsWith(INTERNAL_TABLE_PREFIX));
    const hashes = new Map<string, string>();
    const schema = rows
      .map(row => JSON.stringify([row.type, row.name, row.tbl_name, withoutRandomNames(row.sql)]))
      .sort();
    const settings = ['user_version', 'application_id', 'encoding'].map(name =>
      db.pragma(name, { simple: true }),
    );
    hashes.set('the schema', digest([...schema, JSON.stringify(settings)]));
    for (const { name } of rows.filter(({ type }) => type === 'table')) {
      hashes.set(`table ${name}`, hashTable(db, name, onProgress));
    }
    return hashes;
  } finally {
    db.close();
  }
}

/** CREATE TABLE … AS SELECT gives random names to the last of many columns with equal names. */
function withoutRandomNames(sql: string | null): string | undefined {
  return sql?.replace(/:\d{5,}/g, ':random');
}

/** A table that cannot be read, such as a virtual one without its module, has its error for a hash. */
function hashTable(db: Database.Database, name: string, onProgress: () => void): string {
  const table = `"${name.replaceAll('"', '""')}"`;
  try {
    // With the rowid, where there is one by that name: an INSERT elsewhere may refer to it.
    let select = `SELECT rowid, * FROM main.${table}`;
    // Statistics are written in no certain order.
    if (name.startsWith('sqlite_stat')) select = `SELECT * FROM main.${table} ORDER BY tbl, idx`;
    // FTS5's record of its structure begins with a number that rises when a setting is changed, as often as this connection
    // has seen it.
    else if (
      name.endsWith('_data') &&
      isValid(db, `SELECT id, block, pgno FROM main.${table}, main.${idxOf(name)}`)
    ) {
      select = `SELECT id, iif(id = 10, substr(block, 5), block) FROM main.${table}`;
    } else if (!isValid(db, select)) select = `SELECT * FROM main.${table}`;
    const hash = createHash('sha256');
    // Row by row, as they lie in the file: a table may have millions.
    const rows = db.prepare(select).raw(true).safeIntegers(true).iterate() as Iterable<SqlValue[]>;
    let count = 0;
    for (const row of rows) {
      hash.update(row.map(encode).join()).update('\n');
      if (++count % ROWS_PER_CALL === 0) onProgress();
    }
    return shortHash(hash);
  } catch (error) {
    return (error as Error).message;
  }
}

/** FTS5's other table of the same index. */
function idxOf(data: string): string {
  return `"${data.replace(/_data$/, '_idx').replaceAll('"', '""')}"`;
}

function isValid(db: Database.Database, sql: string): boolean {
  try {
    db.prepare(sql);
    return true;
  } catch {
    return false;
  }
}

function encode(value: SqlValue): string {
  if (value instanceof Uint8Array) return `x${Buffer.from(value).toString('hex')}`;
  if (typeof value === 'bigint') return `i${value}`;
  if (typeof value === 'number') return `r${Object.is(value, -0) ? '-0' : value}`;
  return JSON.stringify(value);
}

function digest(lines: readonly string[]): string {
  const hash = createHash('sha256');
  for (const line of lines) hash.update(line).update('\n');
  return shortHash(hash);
}

function shortHash(hash: Hash): string {
  return hash.digest('hex').slice(0, 16);
}
