import { OnewriterError, shownName } from '@onewriter/protocol';
import { quoteName } from '@onewriter/runtime/inspect';
import Database from 'better-sqlite3';
import { toFileError } from '../open/file-error.ts';
import { openReadOnly } from '../open/open-database.ts';
import type { SchemaObject } from './source-schema.ts';
import { sourceChanged, stampOf } from './source-stamp.ts';
import type { SplitOptions, SplitPlan, TenantValue } from './split-messages.ts';
import { findSplitRules, type RuledTable, type SplitRules } from './split-rules.ts';
import { objectsOfTenant } from './split-schema.ts';
import { conditionOf, type FindTable, tableFinder } from './tenant-path.ts';

/** The source, as it was looked at. */
export interface LookedAt extends Pick<SplitPlan, 'stamp'> {
  readonly source: string;
  readonly options: SplitOptions;
}

/** What is to be in the file. */
export interface ExpectedPart {
  readonly value: TenantValue;
  /** Of each table, by its place in the plan. */
  readonly rows: ReadonlyMap<number, number>;
}

/** Memory for pages of a draft. */
const CACHE_KIB = 64 * 1024;
/** How the source is called on the draft's connection. */
const SOURCE = 'source';

/**
 * Makes a file with the rows of one tenant, and their schema. Its caller puts it in place as a whole, or removes it: so it has no journal,
 * and nothing of it is flushed here. SQLite copies the rows itself, byte by byte.
 * @param draft must not exist
 * @throws OnewriterError DATABASE_BUSY (the source changed), DATABASE_CORRUPT (not as many rows as counted), DATABASE_…
 */
export function makePart({ source, options, stamp }: LookedAt, part: ExpectedPart, draft: string): void {
  const db = new Database(draft);
  try {
    const rules = prepare(db, source, options);
    const objects = objectsOfTenant(rules);
    db.prepare('ATTACH ? AS source').run(source);
    db.transaction(() => {
      for (const { type, sql } of objects) if (type === 'table') db.exec(sql);
      const find = tableFinder(rules.tables);
      for (const [index, table] of rules.tables.entries()) {
        if (table.rule.kind !== 'leftOut') copyRows(db, find, table, part.value, part.rows.get(index) ?? 0);
      }
      copySequences(db);
    })();
    if (stampOf(source) !== stamp) throw sourceChanged(source);
    db.exec(`DETACH ${SOURCE}`);
    // Only now: a trigger would fire, and an index is made faster of rows that are there.
    makeOthers(db, objects);
  } catch (error) {
    throw toFileError(error, `Cannot take ${shownName(part.value.text)} out of ${source}`);
  } finally {
    db.close();
  }
}

/** Settings that a file has from its beginning, and those of this connection. @returns the rules of the source */
function prepare(db: Database.Database, path: string, options: SplitOptions): SplitRules {
  const source = openReadOnly(path, 0);
  try {
    for (const name of ['page_size', 'encoding', 'auto_vacuum', 'user_version', 'application_id']) {
      const value = source.pragma(name, { simple: true });
      db.pragma(`${name} = ${typeof value === 'string' ? `'${value}'` : Number(value)}`);
    }
    db.unsafeMode(true); // a file without a journal needs it
    db.pragma('main.journal_mode = OFF');
    db.unsafeMode(false);
    db.pragma('main.synchronous = OFF');
    db.pragma('main.locking_mode = EXCLUSIVE');
    db.pragma(`main.cache_size = -${CACHE_KIB}`);
    db.pragma('foreign_keys = OFF');
    // Rows come as they are, also those that are older than a check.
    db.pragma('ignore_check_constraints = ON');
    return findSplitRules(source, options);
  } finally {
    source.close();
  }
}

function copyRows(
  db: Database.Database,
  find: FindTable,
  table: RuledTable,
  { type, text }: TenantValue,
  expected: number,
): void {
  const columns = table.columns.filter(({ isStored }) => isStored).map(({ name }) => quoteName(name));
  const list = [...(table.rowid === undefined ? [] : [table.rowid]), ...columns].join();
  const name = quoteName(table.name);
  const all = `INSERT INTO main.${name}(${list}) SELECT ${list} FROM ${SOURCE}.${name}`;
  const { changes } =
    table.rule.kind === 'shared'
      ? db.prepare(all).run()
      : db
          .prepare(`${all} WHERE ${conditionOf(find, table, SOURCE)}`)
          .run(type === 'integer' ? BigInt(text) : text);
  if (changes === expected) return;
  throw new OnewriterError(
    'DATABASE_CORRUPT',
    `${changes} rows of table ${shownName(table.name)} were copied, and ${expected} counted before.`,
  );
}

/** Ids that were given once are not given again. */
function copySequences(db: Database.Database): void {
  const has = (schema: string) =>
    db.prepare(`SELECT 1 FROM ${schema}.sqlite_schema WHERE name = 'sqlite_sequence'`).get() !== undefined;
  if (!has('main') || !has(SOURCE)) return;
  db.exec(`DELETE FROM main.sqlite_sequence;
    INSERT INTO main.sqlite_sequence SELECT s.name, s.seq FROM ${SOURCE}.sqlite_sequence AS s
      WHERE s.name IN (SELECT name FROM main.sqlite_schema WHERE type = 'table')`);
}

function makeOthers(db: Database.Database, objects: readonly SchemaObject[]): void {
  db.transaction(() => {
    for (const { type, sql } of objects) if (type !== 'table') db.exec(sql);
  })();
}
