import { isDeepStrictEqual } from 'node:util';
import { INTERNAL_TABLE_PREFIX } from '@onewriter/protocol';
import { type Answer, compareAnswers, type DoneAnswer } from './answer.ts';
import type { InterfaceName } from './interfaces.ts';
import { readFrom } from './plain-sqlite.ts';

/*
 * Differences that are meant to be, each with its reason. They are counted by reason, never left out. What is not in this
 * table is a fault.
 */

/** Statements that are not run on either side: two runs of plain SQLite would answer them differently, too. */
export interface NotCompared {
  readonly reason: string;
  readonly pattern: RegExp;
}

export const NOT_COMPARED: readonly NotCompared[] = [
  {
    reason: 'random, or the time of day',
    pattern:
      /\brandom(?:blob)?\s*\(|\bcurrent_(?:date|time|timestamp)\b|'now'|\b(?:date|time|datetime|julianday|unixepoch)\s*\(\s*\)|\bstrftime\s*\(\s*'[^']*'\s*\)/i,
  },
  {
    // What it copies holds our tables, and everything that reads the copy would differ.
    reason: "writes what sqlite_schema or dbstat lists, which has the writer's tables in it",
    pattern:
      /^\s*(?:create|insert|replace|update|delete)\b[\s\S]*\b(?:from|join|in)\s*\(?\s*(?:main\.)?(?:sqlite_(?:schema|master)\b|dbstat\b)|^\s*create\s+virtual\s+table\b.*\busing\s+dbstat\b/i,
  },
];

/** A difference that is meant to be. */
export interface Documented {
  readonly reason: string;
  readonly through?: InterfaceName | undefined;
  readonly pattern: RegExp;
  /** The databases hold different rows from then on: nothing more is run on them. */
  readonly contents?: true | undefined;
  /** What must be true besides. */
  readonly applies?: ((context: DifferenceContext) => boolean) | undefined;
}

export interface DifferenceContext {
  readonly sql: string;
  readonly here: Answer;
  readonly plain: Answer;
  /** The tenant's file. */
  readonly file: string;
}

/** Tables of FTS3, FTS4 and FTS5 that hold an index, by how their names end. */
const FULL_TEXT_PART = /_(?:data|idx|segments|segdir|stat)\b/i;

/** Whether a table holds the index of a full-text table in a file. */
export function isFullTextPart(file: string, name: string): boolean {
  if (!FULL_TEXT_PART.test(name)) return false;
  const answer = readFrom(
    file,
    `SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow' AND lower(name) = '${name.toLowerCase()}'`,
  );
  return answer.type === 'ok' && answer.rows.length > 0;
}

/** Why tables behind a full-text index differ in contents, while the index itself holds the same. */
export const FULL_TEXT_LAYOUT =
  'in a transaction, a full-text index is written after each statement, so it is cut otherwise (docs/sql.md)';

export const DOCUMENTED: readonly Documented[] = [
  {
    reason: 'PRAGMA database_list does not name the file (docs/sql.md)',
    pattern: /\bdatabase_list\b/i,
    applies: ({ here, plain }) =>
      here.type === 'ok' &&
      plain.type === 'ok' &&
      compareAnswers(here, { ...plain, rows: [[0n, 'main', '']] }) === undefined,
  },
  {
    reason: "the file holds the writer's tables, too (docs/sql.md)",
    pattern:
      /sqlite_(?:schema|master|stat\d)|\b(?:table|index)_list\b|^\s*explain\s+(?!query\b)|\bpragma(?:\s+|_)(?:main\.)?(?:page_count|freelist_count|schema_version|data_version)\b|\b(?:dbstat|bytecode|tables_used)\b/i,
    // It is what plain SQLite says of that very file. In a transaction that is seen by nothing else: a count of pages, or
    // nothing but their rows is different.
    applies: ({ here, plain, sql, file }) =>
      here.type === 'ok' &&
      (compareAnswers(withoutControl(here), readFrom(file, sql)) === undefined ||
        (here.autocommit === false && (/_count\b/i.test(sql) || hasOnlyRootPages(here))) ||
        (plain.type === 'ok' && compareAnswers(withoutWriters(here), withoutWriters(plain)) === undefined)),
  },
  {
    reason: 'a setting of the connection, which is the one of the writer or of a reader (docs/sql.md)',
    pattern:
      /^\s*pragma\s+(?:main\.)?(?:cache_size|synchronous|wal_autocheckpoint|query_only|busy_timeout|journal_size_limit|data_version|locking_mode|temp_store)\s*;?\s*$/i,
    applies: isOneValue,
  },
  {
    reason:
      'a statement that changes the schema changes no row of the caller; SQLite counts what it does inside',
    pattern: /^\s*(?:create|drop|alter|analyze|reindex)\b/i,
    applies: ({ here, plain }) =>
      here.type === 'ok' &&
      plain.type === 'ok' &&
      compareAnswers(here, { ...plain, changes: 0 }) === undefined,
  },
  {
    // Where another connection has run ANALYZE; a change of the schema makes it read them again.
    reason: 'an open connection keeps the statistics that it found when it read the schema, as in SQLite',
    pattern: /^\s*explain\s+query\s+plan\b/i,
    applies: ({ plain, sql, file }) =>
      plain.type === 'ok' &&
      readFrom(file, 'SELECT 1 FROM sqlite_stat1').type === 'ok' &&
      compareAnswers({ ...readFrom(file, sql), lastInsertRowid: 0n } as DoneAnswer, plain) === undefined,
  },
  {
    reason: "SQLite's own: of many columns with equal names the last ones get random names",
    pattern: /./,
    applies: ({ here, plain }) =>
      here.type === 'ok' &&
      plain.type === 'ok' &&
      compareAnswers(withoutSuffixes(here), withoutSuffixes(plain)) === undefined,
  },
  {
    reason: 'a SELECT that writes, on a connection that only reads (docs/sql.md)',
    pattern: /\boptimize\s*\(/i,
    applies: ({ here }) => here.type === 'error' && here.code === 'SQLITE_READONLY',
    contents: true,
  },
  {
    // Plain SQLite has a connection for each statement here; on one that stays open it fails in the same way.
    reason:
      'an open connection keeps the columns that a full-text index found in the table it is over, as in SQLite',
    pattern: /^\s*insert\s+into\s+(\w+)\s*\(\s*\1\s*\)\s*values\s*\(\s*'rebuild'\s*\)/i,
    applies: ({ here, plain, sql, file }) =>
      here.type === 'error' && here.code === 'SQLITE_ERROR' && plain.type === 'ok' && isOverTable(file, sql),
    contents: true,
  },
  {
    reason: FULL_TEXT_LAYOUT,
    through: 'libsql',
    pattern: FULL_TEXT_PART,
    applies: ({ here, plain, sql, file }) =>
      here.type === plain.type && (sql.match(/\w+/g) ?? []).some(name => isFullTextPart(file, name)),
  },
  {
    reason: "SQLite's own: behind the greatest rowid it takes them at random",
    pattern: /^\s*(?:insert|replace)\b/i,
    applies: ({ here, plain }) => hasRandomRowid(here) && hasRandomRowid(plain),
    contents: true,
  },
  {
    reason: 'EXPLAIN of a write, compiled by a reader, which may not write',
    pattern: /^\s*explain\s+(?!query\b)/i,
    applies: ({ here, plain }) =>
      plain.type === 'ok' &&
      (here.type === 'ok'
        ? isDeepStrictEqual(here.columns, plain.columns)
        : here.type === 'error' && here.code.startsWith('SQLITE_READONLY')),
  },
];

/** Both say one value, by the same name. */
function isOneValue({ here, plain }: DifferenceContext): boolean {
  return (
    here.type === 'ok' &&
    plain.type === 'ok' &&
    isDeepStrictEqual(here.columns, plain.columns) &&
    here.rows.length === 1 &&
    plain.rows.length === 1
  );
}

/** Whether the FTS3 or FTS4 table that a statement names first has its rows in another table. */
function isOverTable(file: string, sql: string): boolean {
  const name = /\binto\s+(\w+)/i.exec(sql)?.[1]?.toLowerCase();
  const answer = readFrom(
    file,
    `SELECT 1 FROM sqlite_schema WHERE lower(name) = '${name}' AND sql LIKE '%using fts_(%content=%'`,
  );
  return answer.type === 'ok' && answer.rows.length > 0;
}

/** Names of the writer's tables, and of the indexes that SQLite makes for their keys. */
const OF_WRITER = new RegExp(`^(?:sqlite_autoindex_)?${INTERNAL_TABLE_PREFIX}`);

function hasOnlyRootPages({ columns = [] }: DoneAnswer): boolean {
  return columns.length > 0 && columns.every(name => name.toLowerCase() === 'rootpage');
}

/** Without rows of the writer's tables, and without the numbers of root pages, which follow from them. */
function withoutWriters(answer: DoneAnswer): DoneAnswer {
  const page = answer.columns?.findIndex(name => name.toLowerCase() === 'rootpage');
  const rows = answer.rows
    .filter(row => !row.some(value => typeof value === 'string' && OF_WRITER.test(value)))
    .map(row => row.filter((_, column) => column !== page));
  return { ...answer, rows };
}

/** No counting up gets there. */
function hasRandomRowid(answer: Answer): boolean {
  if (answer.type !== 'ok') return false;
  const [rowid] = [answer.lastInsertRowid].flat();
  return rowid != null && rowid > 2n ** 53n && rowid < 2n ** 63n - 1n;
}

function withoutControl(answer: DoneAnswer): DoneAnswer {
  return { ...answer, autocommit: true };
}

function withoutSuffixes(answer: DoneAnswer): DoneAnswer {
  return { ...answer, columns: answer.columns?.map(name => name.replace(/:\d{5,}$/, '')) };
}

/** Why a statement is not run; undefined where it is. */
export function findNotCompared(sql: string): string | undefined {
  return NOT_COMPARED.find(({ pattern }) => pattern.test(sql))?.reason;
}

/** Why a difference is meant to be; undefined where it is a fault. */
export function findDocumented(through: InterfaceName, context: DifferenceContext): Documented | undefined {
  return DOCUMENTED.find(
    ({ through: only, pattern, applies }) =>
      (only === undefined || only === through) && pattern.test(context.sql) && (applies?.(context) ?? true),
  );
}
