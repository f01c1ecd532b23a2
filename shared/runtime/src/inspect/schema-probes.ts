import { SqlTokens } from '@onewriter/protocol';
import { quoteName } from './inspected-database.ts';

/*
 * Which objects of a schema SQLite cannot use, and why. A schema may name what this SQLite does not have: a function, a
 * module or a collation of another program, a table that was dropped. SQLite says so only where a statement uses it; so
 * statements are compiled that use each object, and not run.
 */

/** A table or view with what belongs to it. */
export interface ProbedTable {
  readonly name: string;
  /** As pragma_table_list has it. */
  readonly type: string;
  /** A column that can be set; undefined where none is known. */
  readonly column?: string | undefined;
  /** Tables that its foreign keys refer to. */
  readonly parents: readonly string[];
  readonly indexes: readonly string[];
  readonly triggers: readonly ProbedTrigger[];
}

/** A trigger on it. */
export interface ProbedTrigger {
  readonly name: string;
  readonly sql: string;
}

type Action = 'INSERT' | 'UPDATE' | 'DELETE';

/** A statement to compile. */
export interface SchemaProbe {
  readonly sql: string;
  readonly about:
    | { readonly kind: 'read' | 'compare' }
    | { readonly kind: 'index'; readonly index: string }
    | { readonly kind: 'action'; readonly action: Action };
}

/** What cannot be used of a table, in SQLite's words. */
export interface TableErrors {
  /** Error of the table or view as a whole. */
  readonly error: string | undefined;
  /** By name. */
  readonly indexes: ReadonlyMap<string, string>;
  readonly triggers: ReadonlyMap<string, string>;
}

/** The statements that use a table, its indexes and its triggers. */
export function probesOf(table: ProbedTable): readonly SchemaProbe[] {
  const name = `main.${quoteName(table.name)}`;
  const probes: SchemaProbe[] = [
    { sql: `SELECT * FROM ${name}`, about: { kind: 'read' } },
    // Compares all columns, which needs their collations.
    { sql: `SELECT * FROM ${name} UNION SELECT * FROM ${name}`, about: { kind: 'compare' } },
  ];
  for (const index of table.indexes) {
    probes.push({ sql: `REINDEX main.${quoteName(index)}`, about: { kind: 'index', index } });
  }
  for (const action of actionsOf(table)) {
    const sql = statementOf(action, name, table.column);
    if (sql !== undefined) probes.push({ sql, about: { kind: 'action', action } });
  }
  return probes;
}

/** What SQLite's refusals mean. @param errors one per probe; undefined where it was compiled */
export function judgeProbes(
  table: ProbedTable,
  probes: readonly SchemaProbe[],
  errors: readonly (string | undefined)[],
): TableErrors {
  let read: string | undefined;
  let refused: string | undefined;
  const indexes = new Map<string, string>();
  const triggers = new Map<string, string>();
  for (const [position, { about }] of probes.entries()) {
    const error = errors[position];
    if (error === undefined) continue;
    switch (about.kind) {
      case 'read':
        read = error;
        break;
      case 'compare':
        // Two such tables may be too large for a statement that one is not too large for: no fault of the table.
        if (/collation/.test(error)) read = error;
        break;
      case 'index':
        indexes.set(about.index, error);
        break;
      case 'action': {
        if (error === read || [...indexes.values()].includes(error)) break;
        const parentIsGone = table.parents.some(parent => error === `no such table: main.${parent}`);
        const fired = parentIsGone ? [] : table.triggers.filter(({ sql }) => eventOf(sql) === about.action);
        for (const trigger of fired) triggers.set(trigger.name, error);
        if (fired.length === 0) refused ??= `${about.action}: ${error}`;
      }
    }
  }
  return { error: read ?? refused, indexes, triggers };
}

function actionsOf({ type, triggers }: ProbedTable): readonly Action[] {
  if (type === 'table') return ['INSERT', 'UPDATE', 'DELETE'];
  if (type !== 'view') return [];
  // Only a trigger lets a view be written.
  return [...new Set(triggers.map(({ sql }) => eventOf(sql)).filter(event => event !== undefined))];
}

function statementOf(action: Action, name: string, column: string | undefined): string | undefined {
  switch (action) {
    case 'INSERT':
      return `INSERT INTO ${name} DEFAULT VALUES`;
    case 'UPDATE': {
      const set = column === undefined ? undefined : quoteName(column);
      return set === undefined ? undefined : `UPDATE ${name} SET ${set} = ${set}`;
    }
    case 'DELETE':
      return `DELETE FROM ${name}`;
  }
}

/** What a trigger fires on. @param sql `CREATE TRIGGER … [BEFORE | AFTER | INSTEAD OF] INSERT | UPDATE | DELETE … ON …` */
export function eventOf(sql: string): Action | undefined {
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind !== 'word') continue;
    const word = sql.slice(tokens.start, tokens.end).toUpperCase();
    if (word === 'INSERT' || word === 'UPDATE' || word === 'DELETE') return word;
    // The body begins: what is there is not the event.
    if (word === 'BEGIN') return undefined;
  }
  return undefined;
}
