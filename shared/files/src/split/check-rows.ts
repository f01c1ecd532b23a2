import { shownName } from '@onewriter/protocol';
import { isStatementError, quoteName } from '@onewriter/runtime/inspect';
import type Database from 'better-sqlite3';
import type { FileNote } from '../adopt/inspect-file.ts';
import { fold } from './source-schema.ts';
import type { SplitRule } from './split-messages.ts';
import type { RuledTable, SplitRules } from './split-rules.ts';
import { type FindTable, pathToTenant } from './tenant-path.ts';

/* What the rows of a source say against its split, besides what belongs to whom. */

/** A row of one tenant that refers to a row of another would refer to nothing. */
export function findCrossings(db: Database.Database, { tables }: SplitRules, find: FindTable): FileNote[] {
  const notes: FileNote[] = [];
  const isSplit = ({ rule }: RuledTable) => rule.kind === 'column' || rule.kind === 'parent';
  const known = new Map(tables.map(table => [fold(table.name), table]));
  for (const table of tables.filter(isSplit)) {
    for (const { columns, parent: parentName, parentColumns } of table.references) {
      const parent = known.get(fold(parentName));
      if (parent === undefined || !isSplit(parent) || parentColumns.length === 0) continue;
      const pairs = columns.map((column, index) => [column, parentColumns[index]!] as const);
      if (pairs.some(([column, to]) => leadsAlong(table.rule, parent, column, to))) continue;
      const [own, theirs] = [pathToTenant(find, table, 't'), pathToTenant(find, parent, 'p')];
      const on = pairs.map(([column, to]) => `t.${quoteName(column)} = p.${quoteName(to)}`).join(' AND ');
      const rows = db
        .prepare<[], number>(
          `SELECT count(*) FROM main.${quoteName(table.name)} AS t JOIN main.${quoteName(parent.name)} AS p ON ${on}${own.joins}${theirs.joins}
             WHERE ${own.value} IS NOT NULL AND ${own.value} IS NOT ${theirs.value} COLLATE BINARY`,
        )
        .pluck()
        .get()!;
      if (rows === 0) continue;
      notes.push({
        level: 'error',
        check: 'crossing',
        found: `${rows} rows of ${shownName(table.name)} refer by ${columns.map(shownName).join(', ')} to rows of ${shownName(parent.name)} that another tenant has, or none.`,
        next: 'Mend these rows, or share that table.',
      });
    }
  }
  return notes;
}

/** Whether a row and what it refers to so have the same tenant in any case. */
function leadsAlong(rule: SplitRule, parent: RuledTable, column: string, to: string): boolean {
  if (rule.kind === 'parent')
    return (
      fold(rule.column) === fold(column) &&
      fold(rule.parent) === fold(parent.name) &&
      fold(rule.parentColumn) === fold(to)
    );
  return (
    rule.kind === 'column' &&
    parent.rule.kind === 'column' &&
    fold(rule.column) === fold(column) &&
    fold(parent.rule.column) === fold(to)
  );
}

/** Such rows come along as they are. */
export function findDangling(
  db: Database.Database,
  { tables }: SplitRules,
): { dangles: boolean; note: FileNote | undefined } {
  const kept = new Set(tables.filter(({ rule }) => rule.kind !== 'leftOut').map(({ name }) => fold(name)));
  const warn = (found: string): FileNote => ({
    ...{ level: 'warning', check: 'foreign-keys', found },
    next: 'Nothing, for reads. Onewriter enforces foreign keys for what is written from now on.',
  });
  try {
    const rows = db.prepare<[], { name: string; rows: number }>(
      'SELECT "table" AS name, count(*) AS rows FROM pragma_foreign_key_check GROUP BY 1',
    );
    const found = rows.all().filter(({ name }) => kept.has(fold(name)));
    if (found.length === 0) return { dangles: false, note: undefined };
    const where = found.map(({ name, rows }) => `${rows} of ${shownName(name)}`).join(', ');
    return { dangles: true, note: warn(`Rows refer to rows that are not there: ${where}.`) };
  } catch (error) {
    if (!isStatementError(error)) throw error;
    return { dangles: true, note: warn(`Foreign keys cannot be checked: ${error.message}.`) };
  }
}

/** Larger ones are slow to read for each tenant. */
const SLOW_ROWS = 10_000;

/** Without an index each tenant reads a whole table. */
export function findSlowTables(db: Database.Database, { tables }: SplitRules, tenants: number): FileNote[] {
  const firstColumns = db
    .prepare<[string], string>(
      'SELECT c.name FROM pragma_index_list(?) AS i, pragma_index_info(i.name) AS c WHERE c.seqno = 0 AND c.name IS NOT NULL',
    )
    .pluck();
  return tables.flatMap(({ name, rule, columns }) => {
    if ((rule.kind !== 'column' && rule.kind !== 'parent') || columns.length === 0 || tenants < 2) return [];
    const indexed = firstColumns.all(name).some(column => fold(column) === fold(rule.column));
    const isKey = db
      .prepare<[string, string], number>(
        'SELECT 1 FROM pragma_table_xinfo(?) WHERE pk = 1 AND lower(name) = lower(?)',
      )
      .get(name, rule.column);
    if (indexed || isKey !== undefined) return [];
    const rows = db
      .prepare<[], number>(`SELECT count(*) FROM (SELECT 1 FROM main.${quoteName(name)} LIMIT ${SLOW_ROWS})`)
      .pluck()
      .get()!;
    if (rows < SLOW_ROWS) return [];
    const column = shownName(rule.column);
    return {
      level: 'note',
      check: 'speed',
      found: `Table ${shownName(name)} has no index on ${column}: each tenant reads all of it.`,
      next: `For many tenants: CREATE INDEX … ON ${shownName(name)}(${column}).`,
    };
  });
}
