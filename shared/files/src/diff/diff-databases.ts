import { encodeTaggedValue, isOwnTable, type SqlValue, type WireValue } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import type { Database } from 'better-sqlite3';
import { openReadOnly } from '../open/open-database.ts';

/*
 * What rows differ between a tenant's file now and as it was then, by their keys: so that what one mistake took away comes back
 * without what was written since being lost. SQLite compares: it has both files open, and an index on the keys of each.
 */

/** A row that differs; its values by column, as they can be sent back as parameters. */
export interface RowDifference {
  /** Seen from now: `removed` was there then, `added` was not, `changed` has other values. */
  readonly kind: 'removed' | 'added' | 'changed';
  /** Only those of `changed` whose value differs, beside the key. */
  readonly former: RowValues | null;
  readonly present: RowValues | null;
}

export type RowValues = Readonly<Record<string, WireValue>>;

/** The differences of one table. */
export interface TableDifference {
  readonly table: string;
  /** Columns that name a row: the primary key, else the row id. */
  readonly key: readonly string[];
  readonly removed: number;
  readonly added: number;
  readonly changed: number;
  /** The first of them, up to the limits. */
  readonly rows: readonly RowDifference[];
  /** Columns that only one of the two has: they are not compared. */
  readonly columnsFormer: readonly string[];
  readonly columnsPresent: readonly string[];
}

export interface DatabaseDifference {
  /** Tables with differences; those that others refer to come before these. */
  readonly tables: readonly TableDifference[];
  readonly tablesFormer: readonly string[];
  readonly tablesPresent: readonly string[];
  /** Tables that cannot be compared (virtual ones, those whose keys differ or are NULL), and why. */
  readonly skipped: readonly { readonly table: string; readonly why: string }[];
}

export interface DiffOptions {
  /** Default: all. */
  readonly tables?: readonly string[] | undefined;
  /** Rows of each table that are listed, up to 4 MiB of all tables together; all are counted. */
  readonly maxRows: number;
  /** What is listed. Default: all. */
  readonly kinds?: readonly RowDifference['kind'][] | undefined;
  readonly busyTimeoutMs: number;
}

interface Column {
  readonly name: string;
  readonly pk: number;
}

interface Table {
  readonly name: string;
  readonly isVirtual: boolean;
  readonly columns: readonly Column[];
  readonly key: readonly string[];
}

const ROW_ID = 'rowid';
/** So much can be written in one transaction, with its statements. */
const MAX_LISTED_BYTES = 4 * 1024 * 1024;

/** Room for the rows that are listed, of all tables. The first one always has it. */
class ListRoom {
  #usedBytes = 0;
  isFull = false;

  /** @returns whether there is room for it; if not, there is none any more */
  take(row: RowDifference): boolean {
    const bytes = JSON.stringify(row).length;
    this.isFull ||= this.#usedBytes > 0 && this.#usedBytes + bytes > MAX_LISTED_BYTES;
    if (!this.isFull) this.#usedBytes += bytes;
    return !this.isFull;
  }
}

/**
 * Compares two files. To be called in a process of its own: the schema of either can make it as long as it likes.
 * @throws OnewriterError DATABASE_…, TENANT_UNAVAILABLE
 */
export function diffDatabases(present: string, former: string, options: DiffOptions): DatabaseDifference {
  const db = openReadOnly(present, options.busyTimeoutMs);
  try {
    db.prepare('ATTACH ? AS old').run(former);
    db.exec('BEGIN');
    const presentTables = readTables(db, 'main');
    const formerTables = readTables(db, 'old');
    const isWanted = (table: string) => options.tables?.includes(table) ?? true;
    const skipped: { table: string; why: string }[] = [];
    const tables: TableDifference[] = [];
    const room = new ListRoom();
    // Where there is not room for all rows, those that others refer to are listed.
    for (const table of [...presentTables.values()].sort(byForeignKeys(db))) {
      const { name } = table;
      const former = formerTables.get(name);
      if (former === undefined || !isWanted(name)) continue;
      const why = whyNot(db, table, former);
      if (why !== undefined) {
        skipped.push({ table: name, why });
        continue;
      }
      const difference = diffTable(db, table, former, options, room);
      if (difference !== undefined) tables.push(difference);
    }
    const only = (some: ReadonlyMap<string, Table>, others: ReadonlyMap<string, Table>) =>
      [...some.keys()].filter(name => !others.has(name) && isWanted(name));
    return {
      tables,
      tablesFormer: only(formerTables, presentTables),
      tablesPresent: only(presentTables, formerTables),
      skipped,
    };
  } finally {
    db.close();
  }
}

/** Parents before the rows that refer to them, so that rows can be inserted in this order; those of a circle by name. */
function byForeignKeys(db: Database): (one: Table, other: Table) => number {
  const parents = new Map<string, string[]>();
  const rows = db
    .prepare<[], { child: string; parent: string }>(
      `SELECT t.name AS child, f."table" AS parent FROM main.pragma_table_list t, main.pragma_foreign_key_list(t.name) f
         WHERE t.schema = 'main' AND t.type = 'table' AND lower(t.name) <> lower(f."table")`,
    )
    .all();
  for (const { child, parent } of rows)
    parents.set(child.toLowerCase(), [...(parents.get(child.toLowerCase()) ?? []), parent.toLowerCase()]);
  const depths = new Map<string, number>();
  const depthOf = (table: string): number => {
    const known = depths.get(table);
    if (known !== undefined) return known;
    // A circle ends here.
    depths.set(table, 0);
    const depth = Math.max(-1, ...(parents.get(table) ?? []).map(depthOf)) + 1;
    depths.set(table, depth);
    return depth;
  };
  const rank = ({ name }: Table) => depthOf(name.toLowerCase());
  return (one, other) => rank(one) - rank(other) || (one.name < other.name ? -1 : 1);
}

function readTables(db: Database, schema: 'main' | 'old'): Map<string, Table> {
  const rows = db
    .prepare<[], { name: string; type: string; wr: number }>(
      `SELECT name, type, wr FROM ${schema}.pragma_table_list WHERE schema = '${schema}' AND type IN ('table', 'virtual')
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name`,
    )
    .all();
  const tables = new Map<string, Table>();
  for (const { name, type, wr } of rows) {
    if (isOwnTable(name)) continue;
    // 0: neither hidden nor generated. Source: sqlite.org/pragma.html#pragma_table_xinfo
    const columns = db
      .prepare<[string], Column>(
        `SELECT name, pk FROM ${schema}.pragma_table_xinfo(?, '${schema}') WHERE hidden = 0`,
      )
      .all(name);
    const key = columns
      .filter(({ pk }) => pk > 0)
      .sort((one, other) => one.pk - other.pk)
      .map(column => column.name);
    const hasRowId = wr === 0 && !columns.some(column => column.name.toLowerCase() === ROW_ID);
    tables.set(name, {
      name,
      isVirtual: type === 'virtual',
      columns,
      key: key.length > 0 || !hasRowId ? key : [ROW_ID],
    });
  }
  return tables;
}

function whyNot(db: Database, now: Table, then: Table): string | undefined {
  if (now.isVirtual || then.isVirtual) return 'it is a virtual table';
  if (now.key.length === 0) return 'it has no key';
  if (now.key.join('\0') !== then.key.join('\0')) return 'it has another key now';
  // SQLite allows many rows without one, none of which is another's.
  if (['main', 'old'].some(schema => hasNullKey(db, schema, now))) return 'it has rows whose key is NULL';
  return undefined;
}

function hasNullKey(db: Database, schema: string, { name, key }: Table): boolean {
  const isNull = key.map(column => `${quoteName(column)} IS NULL`).join(' OR ');
  return db.prepare(`SELECT 1 FROM ${schema}.${quoteName(name)} WHERE ${isNull} LIMIT 1`).get() !== undefined;
}

function diffTable(
  db: Database,
  now: Table,
  then: Table,
  { maxRows, kinds }: DiffOptions,
  room: ListRoom,
): TableDifference | undefined {
  const { key } = now;
  const [columnsPresent, columnsFormer] = [now, then].map(({ columns }) =>
    columns.map(({ name }) => name),
  ) as [string[], string[]];
  const common = columnsPresent.filter(column => columnsFormer.includes(column));
  const values = common.filter(column => !key.includes(column));
  const table = quoteName(now.name);
  const joined = key.map(column => `n.${quoteName(column)} = t.${quoteName(column)}`).join(' AND ');
  const rows: RowDifference[] = [];
  const counts = { removed: 0, added: 0, changed: 0 };
  const note = (kind: RowDifference['kind'], difference: () => Omit<RowDifference, 'kind'>) => {
    counts[kind]++;
    if (rows.length >= maxRows || room.isFull || kinds?.includes(kind) === false) return;
    const row = { kind, ...difference() };
    if (room.take(row)) rows.push(row);
  };
  const missing = (from: 'old' | 'main', alias: 't' | 'n', others: 'main' | 'old', other: 'n' | 't') =>
    select(
      db,
      `SELECT ${list(alias, [...(key[0] === ROW_ID ? key : []), ...common])} FROM ${from}.${table} ${alias}
         WHERE NOT EXISTS (SELECT 1 FROM ${others}.${table} ${other} WHERE ${joined})`,
    );
  const names = [...(key[0] === ROW_ID ? key : []), ...common];
  for (const row of missing('old', 't', 'main', 'n'))
    note('removed', () => ({ former: valuesOf(names, row), present: null }));
  for (const row of missing('main', 'n', 'old', 't'))
    note('added', () => ({ former: null, present: valuesOf(names, row) }));
  if (values.length > 0) {
    const isOther = values
      .map(column => {
        const [one, other] = [`n.${quoteName(column)}`, `t.${quoteName(column)}`];
        return `${one} IS NOT ${other} COLLATE BINARY OR typeof(${one}) <> typeof(${other})`;
      })
      .join(' OR ');
    const changed = select(
      db,
      `SELECT ${list('t', key)}, ${list('t', values)}, ${list('n', values)} FROM old.${table} t CROSS JOIN main.${table} n
         ON ${joined} WHERE ${isOther}`,
    );
    for (const row of changed)
      note('changed', () => {
        const keys = valuesOf(key, row);
        const before = valuesOf(values, row.slice(key.length));
        const after = valuesOf(values, row.slice(key.length + values.length));
        const differs = values.filter(
          column => JSON.stringify(before[column]) !== JSON.stringify(after[column]),
        );
        const pick = (from: RowValues) => ({
          ...keys,
          ...Object.fromEntries(differs.map(column => [column, from[column]!])),
        });
        return { former: pick(before), present: pick(after) };
      });
  }
  if (counts.removed + counts.added + counts.changed === 0) return undefined;
  return {
    table: now.name,
    key,
    ...counts,
    rows,
    columnsFormer: columnsFormer.filter(column => !common.includes(column)),
    columnsPresent: columnsPresent.filter(column => !common.includes(column)),
  };
}

function select(db: Database, sql: string): IterableIterator<SqlValue[]> {
  return db.prepare<[], SqlValue[]>(sql).raw(true).safeIntegers(true).iterate();
}

function list(alias: string, columns: readonly string[]): string {
  return columns.map(column => `${alias}.${quoteName(column)}`).join(', ');
}

function valuesOf(columns: readonly string[], row: readonly SqlValue[]): RowValues {
  return Object.fromEntries(columns.map((column, index) => [column, encodeTaggedValue(row[index]!)]));
}
