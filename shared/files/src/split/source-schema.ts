import { isOwnTable } from '@onewriter/protocol';
import type Database from 'better-sqlite3';

/** A foreign key, in the order of its columns. */
export interface Reference {
  readonly columns: readonly string[];
  readonly parent: string;
  /** Empty where SQLite does not know them: the parent is not there, or has no key. */
  readonly parentColumns: readonly string[];
}

/** A table of a file that is split. */
export interface SourceTable {
  readonly name: string;
  readonly kind: 'table' | 'virtual' | 'shadow';
  /** Stored ones: what is computed is computed again. */
  readonly columns: readonly { readonly name: string; readonly isStored: boolean }[];
  /** A name that leads to its row ids; undefined where it has none, or columns hide it. */
  readonly rowid: string | undefined;
  readonly references: readonly Reference[];
}

/** What was made with a statement. */
export interface SchemaObject {
  readonly type: 'table' | 'index' | 'trigger' | 'view';
  readonly name: string;
  readonly table: string;
  readonly sql: string;
}

export interface SourceSchema {
  readonly tables: readonly SourceTable[];
  /** In the order in which they can be made again. */
  readonly objects: readonly SchemaObject[];
  /** Folded names of views and triggers. */
  readonly others: ReadonlySet<string>;
}

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];

/** A name as SQLite compares it. */
export function fold(name: string): string {
  return name.replace(/[A-Z]/g, letter => letter.toLowerCase());
}

/** Reads what a file has besides SQLite's own tables and the writer's. @throws SqliteError */
export function readSourceSchema(db: Database.Database): SourceSchema {
  const tables = db
    .prepare<[], { name: string; type: SourceTable['kind'] | 'view'; wr: number }>(
      "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name",
    )
    .all()
    .filter(({ name, type }) => type !== 'view' && isSources(name));
  const objects = db
    .prepare<[], SchemaObject>(
      `SELECT type, name, tbl_name AS "table", sql FROM main.sqlite_schema WHERE sql IS NOT NULL
         ORDER BY type <> 'table', rowid`,
    )
    .all()
    .filter(({ name, table }) => isSources(name) && isSources(table));
  const others = objects.filter(({ type }) => type === 'view' || type === 'trigger');
  return {
    tables: tables.map(({ name, type, wr }) => readTable(db, name, type as SourceTable['kind'], wr === 1)),
    objects,
    others: new Set(others.map(({ name }) => fold(name))),
  };
}

function isSources(name: string): boolean {
  return !fold(name).startsWith('sqlite_') && !isOwnTable(name);
}

function readTable(
  db: Database.Database,
  name: string,
  kind: SourceTable['kind'],
  isWithoutRowid: boolean,
): SourceTable {
  // Source: sqlite.org/pragma.html#pragma_table_xinfo, 2 and 3: computed.
  const columns = db
    .prepare<[string], { name: string; hidden: number }>('SELECT name, hidden FROM pragma_table_xinfo(?)')
    .all(name);
  const names = new Set(columns.map(column => fold(column.name)));
  return {
    name,
    kind,
    columns: columns.map(column => ({ name: column.name, isStored: column.hidden < 2 })),
    rowid: isWithoutRowid ? undefined : ROWID_NAMES.find(candidate => !names.has(candidate)),
    references: kind === 'table' ? readReferences(db, name) : [],
  };
}

function readReferences(db: Database.Database, table: string): Reference[] {
  const rows = db
    .prepare<[string], { id: number; parent: string; child: string; to: string | null }>(
      'SELECT id, "table" AS parent, "from" AS child, "to" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq',
    )
    .all(table);
  const keyOf = db
    .prepare<[string], string>('SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk')
    .pluck();
  const byId = new Map<number, typeof rows>();
  for (const row of rows) byId.set(row.id, [...(byId.get(row.id) ?? []), row]);
  return [...byId.values()].map(parts => {
    const { parent } = parts[0]!;
    // Without a column it is the key of the parent.
    const parentColumns = parts.every(({ to }) => to !== null)
      ? parts.map(({ to }) => to!)
      : keyOf.all(parent);
    const isKnown = parentColumns.length === parts.length;
    return { columns: parts.map(({ child }) => child), parent, parentColumns: isKnown ? parentColumns : [] };
  });
}
