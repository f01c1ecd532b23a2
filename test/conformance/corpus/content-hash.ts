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

/** What is in a file, without the writer's own tables. */
export function hashContents(path: string): ContentHashes {
  const db = new Database(path, { readonly: true });
  try {
    const rows = db
      .prepare<[], SchemaRow>('SELECT type, name, tbl_name, sql FROM sqlite_schema')
      .all()
      .filter(row => !row.tbl_name.startsWith(INTERNAL_TABLE_PREFIX));
    const hashes = new Map<string, string>();
    const schema = rows.map(row => JSON.stringify([row.type, row.name, row.tbl_name, row.sql])).sort();
    const settings = ['user_version', 'application_id', 'encoding'].map(name =>
      db.pragma(name, { simple: true }),
    );
    hashes.set('the schema', digest([...schema, JSON.stringify(settings)]));
    for (const { name } of rows.filter(({ type }) => type === 'table')) {
      hashes.set(`table ${name}`, hashTable(db, name));
    }
    return hashes;
  } finally {
    db.close();
  }
}

/** A table that cannot be read, such as a virtual one without its module, has its error for a hash. */
function hashTable(db: Database.Database, name: string): string {
  const table = `"${name.replaceAll('"', '""')}"`;
  try {
    // With the rowid, where there is one by that name: an INSERT elsewhere may refer to it.
    // The statistics' rows are not numbered alike, because the writer's tables have rows there.
    let select = `SELECT rowid, * FROM main.${table}`;
    if (name.startsWith('sqlite_stat') || !isValid(db, select)) select = `SELECT * FROM main.${table}`;
    const hash = createHash('sha256');
    // Row by row, as they lie in the file: a table may have millions.
    const rows = db.prepare(select).raw(true).safeIntegers(true).iterate() as Iterable<SqlValue[]>;
    for (const row of rows) {
      if (!isOfWriter(name, row)) hash.update(row.map(encode).join()).update('\n');
    }
    return shortHash(hash);
  } catch (error) {
    return (error as Error).message;
  }
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

/** ANALYZE counts the rows of the writer's tables, too. */
function isOfWriter(table: string, row: readonly SqlValue[]): boolean {
  return (
    table.startsWith('sqlite_stat') &&
    row.some(value => typeof value === 'string' && value.startsWith(INTERNAL_TABLE_PREFIX))
  );
}
