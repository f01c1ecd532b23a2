import { SqlTokens } from '@onewriter/protocol';

/*
 * What `PRAGMA table_list` says of a table, from its SQL as sqlite_schema has it: that pragma compiles every view of the
 * schema first, which views of views make endless.
 */

/** Type of a table, as `PRAGMA table_list` has it. */
export type TableType = 'table' | 'view' | 'virtual' | 'shadow';

/** A row of sqlite_schema. */
export interface SchemaTable {
  readonly name: string;
  readonly type: 'table' | 'view';
  readonly sql: string;
  /** Only a virtual table has no page of its own. */
  readonly hasPages: boolean;
}

/** What tables of a module keep their content in: `<table>_<one of these>`. Source: xShadowName of each module. */
const FULL_TEXT = ['content', 'docsize', 'segdir', 'segments', 'stat'];
const SPATIAL = ['node', 'parent', 'rowid'];
const SHADOWS: Readonly<Record<string, readonly string[]>> = Object.freeze({
  fts3: FULL_TEXT,
  fts4: FULL_TEXT,
  fts5: ['config', 'content', 'data', 'docsize', 'idx'],
  rtree: SPATIAL,
  rtree_i32: SPATIAL,
  geopoly: SPATIAL,
});

/** The types of all tables of a schema. @returns one per table, same order */
export function typesOf(tables: readonly SchemaTable[]): TableType[] {
  const shadows = new Set<string>();
  const types = tables.map(({ name, type, sql, hasPages }): TableType => {
    if (type === 'view' || hasPages) return type;
    for (const suffix of SHADOWS[moduleOf(sql)] ?? []) shadows.add(`${name.toLowerCase()}_${suffix}`);
    return 'virtual';
  });
  return types.map((type, position) =>
    type === 'table' && shadows.has(tables[position]!.name.toLowerCase()) ? 'shadow' : type,
  );
}

/** Whether the options behind the columns of a CREATE TABLE have STRICT. */
export function isStrict(sql: string): boolean {
  // A quick look first: SQL may be long.
  if (!/strict/i.test(sql.slice(sql.lastIndexOf(')')))) return false;
  const tokens = new SqlTokens(sql);
  let depth = 0;
  let columnsEnded = false;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'other') {
      if (tokens.text === '(') depth++;
      else if (tokens.text === ')') columnsEnded = --depth === 0;
    } else if (kind === 'word' && columnsEnded && depth === 0 && tokens.text.toUpperCase() === 'STRICT') {
      return true;
    }
  }
  return false;
}

/** The module of a CREATE VIRTUAL TABLE, in lower case. */
function moduleOf(sql: string): string {
  const tokens = new SqlTokens(sql);
  let afterUsing = false;
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'space') continue;
    if (afterUsing) return tokens.text.replace(/^["'`[]|["'`\]]$/g, '').toLowerCase();
    afterUsing = kind === 'word' && tokens.text.toUpperCase() === 'USING';
  }
  return '';
}
