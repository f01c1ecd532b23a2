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

/** Why tables behind a full-text index differ in contents, while the index itself holds the same. */
export const FULL_TEXT_LAYOUT =
  'in a transaction, a full-text index is written after each statement, so it is cut otherwise (docs/sql.md)';

export const DOCUMENTED: readonly Documented[] = [
  {
    reason: "the file holds the writer's tables, too (docs/sql.md)",
    pattern:
      /sqlite_(?:schema|master|stat\d)|\b(?:table|index)_list\b|^\s*explain\s+(?!query\b)|\bpragma(?:\s+|_)(?:main\.)?(?:page_count|freelist_count|schema_version|data_version)\b|\b(?:dbstat|bytecode|tables_used)\b/i,
    // It is what plain SQLite says of that very file. In a transaction that is seen by nothing else: a count of pages, or
    // nothing but their rows is different.
    applies: ({ here, plain, sql, file }) =>
      here.type === 'ok' &&
      (compareAnswers(withoutControl(here), readFrom(file, sql)) === undefined ||
        (here.autocommit === false && /_count\b/i.test(sql)) ||
        (plain.type === 'ok' && compareAnswers(withoutWriters(here), withoutWriters(plain)) === undefined)),
  },
  {
    reason: 'a setting of the connection, which is the one of the writer or of a reader (docs/sql.md)',
    pattern:
      /^\s*pragma\s+(?:main\.)?(?:cache_size|synchronous|wal_autocheckpoint|query_only|busy_timeout|journal_size_limit|data_version|locking_mode|temp_store)\s*;?\s*$/i,
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
    reason: "ANALYZE counts the rows of the writer's tables, too",
    pattern: /^\s*(?:update|delete)\b.*\bsqlite_stat\d\b/i,
    applies: ({ here, plain }) =>
      here.type === 'ok' &&
      plain.type === 'ok' &&
      compareAnswers(here, { ...plain, changes: here.changes }) === undefined,
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
    reason: FULL_TEXT_LAYOUT,
    through: 'libsql',
    pattern: /_(?:data|idx|segments|segdir|stat)\b/i,
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
  },
];

/** Without rows of the writer's tables, and without the numbers of root pages, which follow from them. */
function withoutWriters(answer: DoneAnswer): DoneAnswer {
  const page = answer.columns?.findIndex(name => name.toLowerCase() === 'rootpage');
  const rows = answer.rows
    .filter(row => !row.some(value => typeof value === 'string' && value.startsWith(INTERNAL_TABLE_PREFIX)))
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
