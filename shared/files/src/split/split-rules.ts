import { shownName } from '@onewriter/protocol';
import type Database from 'better-sqlite3';
import type { FileNote } from '../adopt/inspect-file.ts';
import { fold, readSourceSchema, type SourceSchema, type SourceTable } from './source-schema.ts';
import type { SplitOptions, SplitRule } from './split-messages.ts';

/** A table of the source, with its rule. */
export interface RuledTable extends SourceTable {
  readonly rule: SplitRule;
}

/** The rules of a source. They hold only where no note is an error. */
export interface SplitRules {
  readonly tables: readonly RuledTable[];
  readonly schema: SourceSchema;
  /** Folded names of all that no tenant gets. */
  readonly leftOut: ReadonlySet<string>;
  readonly notes: readonly FileNote[];
}

const HELP =
  'Say it: --shared (each tenant gets all of it), --via <table.column=parent.column>, or --leave-out.';

/**
 * Finds out by the schema alone which rows of each table a tenant gets:
 *
 *   what a person says ▸ it has the column ▸ such a column refers to it (`tenant_id REFERENCES tenants(id)`) ▸
 *   its one foreign key leads to a table that is split
 *
 * Nothing is guessed: where two keys lead there, or none, the table is named in an error.
 */
export function findSplitRules(db: Database.Database, options: SplitOptions): SplitRules {
  const schema = readSourceSchema(db);
  const notes: FileNote[] = [];
  const refuse = (found: string, next: string) =>
    void notes.push({ level: 'error', check: 'rule', found, next });
  const byName = new Map(schema.tables.map(table => [fold(table.name), table]));
  const rules = new Map<string, SplitRule>();
  const leftOut = new Set<string>();
  const give = (name: string, rule: SplitRule) => {
    const key = fold(name);
    if (!byName.has(key)) return refuse(`There is no table ${shownName(name)}.`, 'Correct its name.');
    if (rules.has(key))
      return refuse(`Table ${shownName(name)} is named more than once.`, 'Name it in one option.');
    rules.set(key, rule);
  };
  const hasColumn = (table: string, column: string) =>
    byName.get(fold(table))?.columns.some(({ name }) => fold(name) === fold(column)) === true;
  const giveColumn = (table: string, column: string, rule: SplitRule) =>
    byName.has(fold(table)) && !hasColumn(table, column)
      ? refuse(`Table ${shownName(table)} has no column ${shownName(column)}.`, 'Correct its name.')
      : give(table, rule);

  for (const name of options.leaveOut) {
    leftOut.add(fold(name));
    if (!schema.others.has(fold(name))) give(name, { kind: 'leftOut' });
  }
  for (const name of options.shared) give(name, { kind: 'shared' });
  for (const text of options.via) {
    const [, table, column, parent, parentColumn] =
      /^([^.=]+)\.([^.=]+)=([^.=]+)\.([^.=]+)$/.exec(text) ?? [];
    if (table === undefined || !hasColumn(parent!, parentColumn!)) {
      refuse(`--via ${shownName(text)} names no column.`, 'Write it as items.order_id=orders.id.');
    } else
      giveColumn(table, column!, {
        kind: 'parent',
        column: column!,
        parent: parent!,
        parentColumn: parentColumn!,
      });
  }
  const bare: string[] = [];
  for (const text of options.columns) {
    const [, table, column] = /^([^.]+)\.([^.]+)$/.exec(text) ?? [];
    if (table !== undefined) giveColumn(table, column!, { kind: 'column', column: column! });
    else bare.push(text);
  }
  giveByColumns(schema.tables, bare, rules, refuse);
  giveByReferences(schema.tables, byName, rules, refuse);
  giveByParents(schema.tables, byName, rules, refuse);

  const tables = schema.tables.map((table): RuledTable => {
    const rule = rules.get(fold(table.name)) ?? { kind: 'leftOut' };
    if (rule.kind === 'leftOut') leftOut.add(fold(table.name));
    return { ...table, rule };
  });
  assertLeadsToColumn(tables, refuse);
  if (notes.length === 0) assertReferences(tables, refuse);
  return { tables, schema, leftOut, notes };
}

type Refuse = (found: string, next: string) => void;

function giveByColumns(
  tables: readonly SourceTable[],
  columns: readonly string[],
  rules: Map<string, SplitRule>,
  refuse: Refuse,
): void {
  for (const column of columns) {
    let found = false;
    for (const { name, columns: own, kind } of tables) {
      const match = own.find(candidate => fold(candidate.name) === fold(column));
      if (kind !== 'table' || match === undefined) continue;
      found = true;
      if (!rules.has(fold(name))) rules.set(fold(name), { kind: 'column', column: match.name });
      else if (columns.length > 1 && rules.get(fold(name))!.kind === 'column')
        refuse(`Table ${shownName(name)} has several of the columns.`, 'Name one: --split-by table.column.');
    }
    if (!found) refuse(`No table has a column ${shownName(column)}.`, 'Correct its name.');
  }
}

/** The table of the tenants themselves, which has their name in its own key. */
function giveByReferences(
  tables: readonly SourceTable[],
  byName: ReadonlyMap<string, SourceTable>,
  rules: Map<string, SplitRule>,
  refuse: Refuse,
): void {
  const wanted = new Map<string, string>();
  const ruled = [...rules];
  for (const [key, rule] of ruled) {
    if (rule.kind !== 'column') continue;
    for (const { columns, parent, parentColumns } of byName.get(key)!.references) {
      const to = parentColumns[0];
      if (columns.length !== 1 || fold(columns[0]!) !== fold(rule.column) || to === undefined) continue;
      if (!byName.has(fold(parent)) || rules.has(fold(parent))) continue;
      const other = wanted.get(fold(parent));
      if (other !== undefined && fold(other) !== fold(to))
        refuse(
          `Columns ${shownName(other)} and ${shownName(to)} of ${shownName(parent)} could both be the tenant.`,
          HELP,
        );
      wanted.set(fold(parent), to);
    }
  }
  for (const { name } of tables) {
    const column = wanted.get(fold(name));
    if (column !== undefined) rules.set(fold(name), { kind: 'column', column });
  }
}

/** Tables whose rows belong to the tenant of a row that they refer to. */
function giveByParents(
  tables: readonly SourceTable[],
  byName: ReadonlyMap<string, SourceTable>,
  rules: Map<string, SplitRule>,
  refuse: Refuse,
): void {
  const isSplit = (rule: SplitRule | undefined) => rule?.kind === 'column' || rule?.kind === 'parent';
  // All that could be split, whichever key it is by: so the order of tables decides nothing.
  const reachable = new Set([...rules].filter(([, rule]) => isSplit(rule)).map(([key]) => key));
  const open = tables.filter(({ name, kind }) => kind === 'table' && !rules.has(fold(name)));
  const keysOf = ({ name, references }: SourceTable) =>
    references.filter(
      ({ columns, parent }) =>
        columns.length === 1 && fold(parent) !== fold(name) && reachable.has(fold(parent)),
    );
  for (let before = -1; before !== reachable.size; ) {
    before = reachable.size;
    for (const table of open) if (keysOf(table).length > 0) reachable.add(fold(table.name));
  }
  for (const table of open) {
    const keys = keysOf(table);
    const [only] = keys;
    const parentColumn = only?.parentColumns[0];
    if (keys.length === 1 && only !== undefined && parentColumn !== undefined) {
      const [column, parent] = [only.columns[0]!, byName.get(fold(only.parent))!.name];
      rules.set(fold(table.name), { kind: 'parent', column, parent, parentColumn });
    } else if (keys.length > 1) {
      const choices = keys.map(
        ({ columns, parent, parentColumns }) =>
          `--via ${shownName(table.name)}.${shownName(columns[0]!)}=${shownName(parent)}.${shownName(parentColumns[0] ?? '?')}`,
      );
      refuse(
        `Several keys of table ${shownName(table.name)} lead to a tenant.`,
        `Say which: ${choices.join(', or ')}.`,
      );
    } else
      refuse(`Table ${shownName(table.name)} has no column and no foreign key that leads to a tenant.`, HELP);
  }
  for (const { name, kind } of tables) {
    if (kind === 'virtual' && rules.get(fold(name))?.kind !== 'leftOut') {
      refuse(
        `Table ${shownName(name)} is virtual: its content cannot be divided.`,
        `Leave it out (--leave-out ${shownName(name)}), and make it in each tenant afterwards.`,
      );
    }
  }
}

function assertLeadsToColumn(tables: readonly RuledTable[], refuse: Refuse): void {
  const rules = new Map(tables.map(({ name, rule }) => [fold(name), rule]));
  for (const { name } of tables) {
    const seen = new Set<string>();
    for (let at = fold(name); ; ) {
      const rule = rules.get(at)!;
      if (rule.kind !== 'parent') {
        if (seen.size > 0 && rule.kind !== 'column')
          refuse(`--via of table ${shownName(name)} leads to ${shownName(at)}, which is not split.`, HELP);
        break;
      }
      if (seen.has(at)) {
        refuse(`--via of table ${shownName(name)} leads in a circle.`, HELP);
        break;
      }
      seen.add(at);
      at = fold(rule.parent);
    }
  }
}

/** What a tenant's rows refer to has to come along. */
function assertReferences(tables: readonly RuledTable[], refuse: Refuse): void {
  const rules = new Map(tables.map(({ name, rule }) => [fold(name), rule.kind]));
  for (const { name, rule, references } of tables) {
    if (rule.kind === 'leftOut') continue;
    for (const { parent } of references) {
      const kind = rules.get(fold(parent));
      const [one, other] = [shownName(name), shownName(parent)];
      if (kind === 'leftOut' && rule.kind !== 'shared')
        refuse(`Table ${one} refers to ${other}, which is left out.`, 'Leave out both, or share that one.');
      else if (rule.kind === 'shared' && kind !== undefined && kind !== 'shared')
        refuse(`Table ${one} is shared, and refers to ${other}, which is not.`, 'Share both, or split both.');
    }
  }
}
