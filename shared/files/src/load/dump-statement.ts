import { classifyStep, isOwnTable, OnewriterError, SqlTokens } from '@onewriter/protocol';

/*
 * What a statement of a dump becomes. A dump was written for an empty file and a connection of its own: it turns foreign keys
 * off, frames itself in BEGIN and COMMIT, and sets what a shell would need. The load is such a connection, and puts its file in
 * place as a whole, so all of that is understood:
 *
 *   run            as it stands, under the rules for statements
 *   begin, commit  only noted: one that is not committed was cut off
 *   foreignKeys    applied where it stands
 *   virtualTable   made by its own statement, also where the sqlite3 shell writes it into the schema
 *   sequences      as it stands in an empty file; else the AUTOINCREMENT of other tables stays, and none goes back
 *   skip           is so already, or concerns what is not loaded: settings of a connection, Onewriter's own tables
 */

/** What is done with a statement. */
export type DumpStep =
  /** @property adds whether it only makes what is new: a row, a table, an index */
  | { readonly type: 'run'; readonly adds: boolean }
  | { readonly type: 'begin' | 'commit' | 'skip' }
  /** Left out, which people are to know. */
  | { readonly type: 'leaveOut'; readonly what: string }
  | { readonly type: 'foreignKeys'; readonly on: boolean }
  /** @property merging statements that do it beside other content */
  | { readonly type: 'sequences'; readonly merging: readonly string[] }
  /** @property filled whether its shadow tables are written by statements that follow */
  | { readonly type: 'virtualTable'; readonly name: string; readonly sql: string; readonly filled: boolean };

/** Bytes of one statement of a dump: a row with a large blob. It is in memory a few times. */
export const MAX_DUMP_STATEMENT_BYTES = 48 * 1024 * 1024;

/** PRAGMAs that hold for the connection of the load alone, and are run. */
const OF_THE_LOAD: ReadonlySet<string> = new Set([
  'case_sensitive_like',
  'legacy_alter_table',
  'recursive_triggers',
]);
/** PRAGMAs about how a connection works, or how a file is kept: the tenant's file has Onewriter's. */
const SETTINGS: ReadonlySet<string> = new Set([
  ...['analysis_limit', 'automatic_index', 'auto_vacuum', 'busy_timeout', 'cache_size', 'cache_spill'],
  ...['checkpoint_fullfsync', 'count_changes', 'full_column_names', 'fullfsync', 'journal_mode'],
  ...['journal_size_limit', 'locking_mode', 'mmap_size', 'page_size', 'secure_delete', 'short_column_names'],
  ...['synchronous', 'temp_store', 'threads', 'trusted_schema', 'wal_autocheckpoint', 'wal_checkpoint'],
]);
const OFF: ReadonlySet<string> = new Set(['0', 'off', 'no', 'false']);
/** As many as `CREATE UNIQUE INDEX IF NOT EXISTS main.name ON` has, and the columns of a schema row. */
const HEAD_TOKENS = 24;

/**
 * Judges one statement of a dump.
 * @throws OnewriterError STATEMENT_NOT_ALLOWED (ATTACH, VACUUM, TEMP, ROLLBACK …), INVALID_ARGUMENT, STATEMENT_TOO_LARGE
 */
export function judgeDumpStatement(sql: string): DumpStep {
  const head = readHead(sql);
  const [keyword = ''] = head;
  const target = targetOf(head);
  if (target !== undefined) {
    const name = target.toLowerCase();
    if (isOwnTable(name)) {
      return { type: 'leaveOut', what: "rows and definitions of Onewriter's own tables" };
    }
    if (keyword === 'INSERT' && (name === 'sqlite_schema' || name === 'sqlite_master'))
      return readSchemaRow(sql);
    // Some tools list it; SQLite makes it with the first AUTOINCREMENT.
    if (keyword === 'CREATE' && name === 'sqlite_sequence') return { type: 'skip' };
    const merging = name === 'sqlite_sequence' ? mergeSequences(sql) : undefined;
    if (merging !== undefined) return { type: 'sequences', merging };
  }
  if (keyword === 'PRAGMA') {
    const judged = judgePragma(head);
    if (judged !== undefined) return judged;
  }
  return judgeStep(sql, head);
}

function judgeStep(sql: string, head: readonly string[]): DumpStep {
  const step = classifyStep(sql, MAX_DUMP_STATEMENT_BYTES);
  switch (step.kind) {
    case 'begin':
    case 'commit':
      return { type: step.kind };
    case 'rollback':
    case 'rollback-to':
      throw new OnewriterError(
        'STATEMENT_NOT_ALLOWED',
        'A ROLLBACK would undo the rows before it. The sqlite3 shell writes one at the end of a dump of a damaged file: ' +
          'what it could not read is missing.',
      );
    case 'savepoint':
    case 'release':
      return { type: 'skip' };
    case 'session':
      // Keys are checked at the end in any case.
      if (step.pragma === 'defer_foreign_keys') return { type: 'skip' };
      return { type: 'foreignKeys', on: step.usual };
    case 'malformed':
      return run(head);
    case 'statement':
      return step.statement.answer === undefined ? judgeCreate(sql, head) : { type: 'skip' };
    default:
      return step satisfies never;
  }
}

function judgeCreate(sql: string, head: readonly string[]): DumpStep {
  if (head[0] !== 'CREATE' || head[1] !== 'VIRTUAL') return run(head);
  return { type: 'virtualTable', name: targetOf(head) ?? '', sql, filled: false };
}

function run([keyword, second]: readonly string[]): DumpStep {
  return { type: 'run', adds: keyword === 'CREATE' || (keyword === 'INSERT' && second === 'INTO') };
}

/** @returns undefined where the rules for statements decide */
function judgePragma([, ...head]: readonly string[]): DumpStep | undefined {
  const [name = '', equals, value = ''] = head[1] === '.' ? head.slice(2) : head;
  const pragma = name.toLowerCase();
  if (pragma === 'writable_schema') return { type: 'skip' };
  if (OF_THE_LOAD.has(pragma)) return { type: 'run', adds: false };
  if (SETTINGS.has(pragma)) return { type: 'skip' };
  if (pragma === 'ignore_check_constraints' && equals !== undefined && OFF.has(value.toLowerCase())) {
    return { type: 'skip' };
  }
  if (pragma === 'encoding' && equals !== undefined && !/^utf-?8$/i.test(value)) {
    return { type: 'leaveOut', what: 'another encoding than UTF-8' };
  }
  return undefined;
}

/**
 * `INSERT INTO sqlite_schema(…) VALUES('table', name, name, 0, 'CREATE VIRTUAL TABLE …')`: how the sqlite3 shell dumps a virtual
 * table, whose shadow tables follow with their rows.
 */
function readSchemaRow(sql: string): DumpStep {
  const strings: string[] = [];
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end'; kind = tokens.next()) {
    if (kind === 'string') strings.push(unquote(tokens.text));
  }
  const definition = strings.at(-1) ?? '';
  const judged = /^\s*CREATE\s+VIRTUAL\s/i.test(definition) ? judgeDumpStatement(definition) : undefined;
  if (judged?.type === 'virtualTable') return { ...judged, filled: true };
  throw new OnewriterError('STATEMENT_NOT_ALLOWED', 'A dump may write only virtual tables into the schema.');
}

const BLANK = /(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*/.source;
const SEQUENCES = /(?:main\s*\.\s*)?["'`[]?sqlite_sequence["'`\]]?\s*/.source;
const CLEARED = new RegExp(`^${BLANK}DELETE\\s+FROM\\s+${SEQUENCES}$`, 'i');
const COLUMNS = /(?:\(\s*["'`[]?name["'`\]]?\s*,\s*["'`[]?seq["'`\]]?\s*\)\s*)?/.source;
const ROWS = new RegExp(`^${BLANK}INSERT\\s+INTO\\s+${SEQUENCES}${COLUMNS}(VALUES\\b[^]*)$`, 'i');

/**
 * `DELETE FROM sqlite_sequence; INSERT INTO sqlite_sequence VALUES('t',7);`: how dumps set AUTOINCREMENT. In a file with other tables
 * the first would let ids be given twice, and the second make a second row of a table, which SQLite does not expect.
 */
function mergeSequences(sql: string): readonly string[] | undefined {
  if (CLEARED.test(sql)) return [];
  const rows = ROWS.exec(sql)?.[1];
  if (rows === undefined) return undefined;
  return [
    `UPDATE sqlite_sequence SET seq = max(seq, given.column2) FROM (${rows}\n) AS given WHERE name = given.column1`,
    `INSERT INTO sqlite_sequence(name, seq) SELECT column1, column2 FROM (${rows}\n) AS given
      WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = given.column1)`,
  ];
}

/** The first tokens: words in upper case, names without their quotes. */
function readHead(sql: string): readonly string[] {
  const head: string[] = [];
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end' && head.length < HEAD_TOKENS; kind = tokens.next()) {
    if (kind === 'space' || (kind === 'semicolon' && head.length === 0)) continue;
    if (kind === 'word') head.push(head.length === 0 ? tokens.text.toUpperCase() : tokens.text);
    else if (kind === 'name' || kind === 'string') head.push(unquote(tokens.text));
    else head.push(tokens.text);
    // Of a row with a large blob only the beginning is looked at here.
    if (tokens.start > 2_000) break;
  }
  // Keywords before the name.
  return head.map((text, index) =>
    index < 6 && KEYWORDS.has(text.toUpperCase()) ? text.toUpperCase() : text,
  );
}

const KEYWORDS: ReadonlySet<string> = new Set([
  ...['CREATE', 'VIRTUAL', 'TABLE', 'UNIQUE', 'INDEX', 'VIEW', 'TRIGGER', 'IF', 'NOT', 'EXISTS'],
  ...['INSERT', 'OR', 'REPLACE', 'IGNORE', 'INTO', 'DELETE', 'FROM', 'DROP'],
]);

/** Name of what a CREATE, DROP, INSERT or DELETE is about; undefined for other statements. */
function targetOf(head: readonly string[]): string | undefined {
  const at = ['CREATE', 'DROP', 'INSERT', 'DELETE', 'REPLACE'].includes(head[0] ?? '')
    ? head.findIndex((text, index) => index > 0 && index < 7 && !KEYWORDS.has(text))
    : -1;
  if (at < 0) return undefined;
  return head[at + 1] === '.' ? head[at + 2] : head[at];
}

function unquote(text: string): string {
  const [quote = ''] = text;
  if (!`"\`['`.includes(quote)) return text;
  const end = quote === '[' ? ']' : quote;
  return text.slice(1, -1).replaceAll(end + end, end);
}
