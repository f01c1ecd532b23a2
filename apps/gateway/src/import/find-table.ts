import { isOwnTable, OnewriterError, shownName } from '@onewriter/protocol';
import type { TenantReads } from '../reads/tenant-reads.ts';
import type { OnConflict } from './import-options.ts';
import { type TableColumn, TableShape } from './table-shape.ts';

/** The first, because it makes a connection look at the schema again, which what comes after it does not. */
const LOOK_SQL = "SELECT max(sql LIKE '%deferr%') FROM sqlite_schema";
/** Name, type, whether it has no row ids. Not by PRAGMA table_list, which compiles all views: they may take any time. */
const TABLE_SQL = `SELECT name, type,
  CASE WHEN type = 'table' AND rootpage > 0 THEN EXISTS (SELECT 1 FROM pragma_index_info(name)) ELSE 0 END
  FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE`;
const COLUMNS_SQL = 'SELECT name, hidden, upper(type), pk FROM pragma_table_xinfo(?) ORDER BY cid';
/** An INTEGER PRIMARY KEY DESC is not the rowid: it has an index. */
const KEY_INDEX_SQL = "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'";

/**
 * Looks at a table that rows are to be written into.
 * @throws OnewriterError NOT_FOUND, TENANT_NOT_FOUND, STATEMENT_NOT_ALLOWED
 */
export async function findTable(
  reads: TenantReads,
  tenant: string,
  name: string,
  onConflict: OnConflict,
): Promise<TableShape> {
  if (isOwnTable(name)) {
    throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'That table belongs to the writer.', { tenant });
  }
  const { results } = await reads.read({
    tenant,
    statements: [
      { sql: LOOK_SQL },
      ...[TABLE_SQL, COLUMNS_SQL, KEY_INDEX_SQL].map(sql => ({ sql, params: [name] })),
    ],
  });
  const [, tables, columns, keyIndex] = results;
  const table = tables!.rows[0];
  if (table === undefined) {
    throw new OnewriterError('NOT_FOUND', `There is no table "${shownName(name)}"; create it first.`, {
      tenant,
    });
  }
  const [, type, withoutRowid] = table;
  const hasRowid = type === 'table' && Number(withoutRowid) === 0;
  const found: TableColumn[] = columns!.rows.map(([column, hidden]) => ({
    name: String(column),
    hidden: Number(hidden),
  }));
  const keys = columns!.rows.filter(([, , , pk]) => Number(pk) > 0);
  const isRowid = hasRowid && keys.length === 1 && keys[0]![2] === 'INTEGER' && keyIndex!.rows.length === 0;
  return new TableShape(name, found, hasRowid, onConflict, isRowid ? String(keys[0]![0]) : undefined);
}

/** Whether a file has foreign keys that are judged at the end of a transaction only. */
export async function hasDeferredKeys(reads: TenantReads, tenant: string): Promise<boolean> {
  const { results } = await reads.read({ tenant, statements: [{ sql: LOOK_SQL }] });
  return Number(results[0]!.rows[0]?.[0] ?? 0) === 1;
}
