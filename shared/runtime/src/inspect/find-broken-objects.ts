import { isNotOwnTableSql, sqliteMessage } from '@onewriter/protocol';
import { type InspectedDatabase, isStatementError } from './inspected-database.ts';
import { judgeProbes, type ProbedTable, type ProbedTrigger, probesOf } from './schema-probes.ts';

/** Something in a schema that SQLite cannot use here. */
export interface BrokenObject {
  readonly type: 'table' | 'view' | 'index' | 'trigger';
  readonly name: string;
  /** Whose index or trigger it is; of a table or view its own name. */
  readonly table: string;
  /** SQLite's words. */
  readonly error: string;
}

/** Neither SQLite's own tables nor the writer's. `l` is a table of pragma_table_list. */
export const OWN_TABLES = `l.schema = 'main' AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND ${isNotOwnTableSql('l.name')}`;

/** None of these needs what a schema may lack: columns only of tables, which have them in their SQL. */
const TABLES = `SELECT l.name, l.type FROM pragma_table_list l WHERE ${OWN_TABLES} ORDER BY l.name`;
const COLUMNS = `SELECT l.name, c.name, min(c.cid) FROM pragma_table_list l, pragma_table_xinfo(l.name) c
  WHERE ${OWN_TABLES} AND l.type = 'table' AND c.hidden = 0 GROUP BY l.name`;
const PARENTS = `SELECT l.name, f."table" FROM pragma_table_list l, pragma_foreign_key_list(l.name) f WHERE ${OWN_TABLES}`;
const INDEXES = `SELECT l.name, i.name FROM pragma_table_list l, pragma_index_list(l.name) i WHERE ${OWN_TABLES}
  AND EXISTS (SELECT 1 FROM sqlite_schema m WHERE m.type = 'index' AND m.name = i.name)`;
const TRIGGERS = "SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'trigger'";

/**
 * Finds what SQLite cannot use of a schema, and why.
 * @throws SQLite's errors of a file that cannot be read
 */
export function findBrokenObjects(db: InspectedDatabase): readonly BrokenObject[] {
  return [...listTables(db)].flatMap(table => {
    const probes = probesOf(table);
    const errors = probes.map(({ sql }) => refusalOf(db, sql));
    const { error, indexes, triggers } = judgeProbes(table, probes, errors);
    const own: BrokenObject[] =
      error === undefined
        ? []
        : [{ type: table.type === 'view' ? 'view' : 'table', name: table.name, table: table.name, error }];
    const others = (type: 'index' | 'trigger', found: ReadonlyMap<string, string>): BrokenObject[] =>
      [...found].map(([name, reason]) => ({ type, name, table: table.name, error: reason }));
    return [...own, ...others('index', indexes), ...others('trigger', triggers)];
  });
}

function* listTables(db: InspectedDatabase): Generator<ProbedTable> {
  const columns = new Map<string, string>();
  for (const [table, column] of db.rows(COLUMNS)) columns.set(String(table), String(column));
  const parents = group(db.rows(PARENTS), ([, parent]) => String(parent));
  const indexes = group(db.rows(INDEXES), ([, index]) => String(index));
  const triggers = group(
    db.rows(TRIGGERS),
    ([, name, sql]): ProbedTrigger => ({ name: String(name), sql: String(sql) }),
  );
  for (const [name, type] of [...db.rows(TABLES)]) {
    const table = String(name);
    yield {
      name: table,
      type: String(type),
      column: columns.get(table),
      parents: parents.get(table.toLowerCase()) ?? [],
      indexes: indexes.get(table.toLowerCase()) ?? [],
      triggers: triggers.get(table.toLowerCase()) ?? [],
    };
  }
}

/** By the first value, which is a table's name: SQLite does not mind its case. */
function group<Value>(
  rows: Iterable<readonly unknown[]>,
  read: (row: readonly unknown[]) => Value,
): Map<string, Value[]> {
  const groups = new Map<string, Value[]>();
  for (const row of rows) {
    const key = String(row[0]).toLowerCase();
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [read(row)]);
    else known.push(read(row));
  }
  return groups;
}

function refusalOf(db: InspectedDatabase, sql: string): string | undefined {
  try {
    db.compile(sql);
    return undefined;
  } catch (error) {
    if (isStatementError(error)) return sqliteMessage(error);
    throw error;
  }
}
