import { LIMITS } from './limits.ts';

/*
 * What each PRAGMA may be used for. A PRAGMA is never answered without its effect being true:
 *
 *   read       it reads; any connection to the file can run it
 *   write      the value lives in the file, inside the transaction, or the file is worked on
 *   an answer  it is so already: answered as SQLite would, and never run (many take effect when they are compiled)
 *   refused    everything else, with the reason and what to do instead
 *
 * Refused is what would change the connection that all callers share, how commits are made durable, or what the writer
 * itself steers. Source: https://www.sqlite.org/pragma.html
 */

/** What is answered in place of running a PRAGMA. */
export interface PragmaAnswer {
  /** None: it returns nothing. */
  readonly columns: readonly string[];
  /** The only row, where there are columns. */
  readonly row: readonly (string | number)[];
  /** SQL that has the same result, and no effect. */
  readonly sql: string;
  /** A query that returns a row where this is so; it depends on the file. */
  readonly verify?: string | undefined;
  /** Why it is refused where {@link verify} returns none. */
  readonly refusal?: string | undefined;
}

/** What is said of one PRAGMA: `read`, `write` or an answer, or why it is refused. */
export type PragmaJudgement =
  | { readonly kind: 'read' | 'write'; readonly answer?: PragmaAnswer | undefined }
  | { readonly kind: 'refused'; readonly reason: string };

interface PragmaRule {
  /** Without an argument; refused where it is left out. */
  readonly bare?: 'read' | 'write' | PragmaAnswer | undefined;
  /** With one; a function says which values are so already. Refused where it is left out. */
  readonly argument?: 'read' | 'write' | ((value: string) => PragmaAnswer | undefined) | undefined;
  /** Why other uses are refused, and what to do instead. */
  readonly remedy?: string | undefined;
}

/** A PRAGMA that SQLite does not know does nothing and returns nothing. */
export const NOTHING: PragmaAnswer = Object.freeze({
  columns: [],
  row: [],
  sql: 'PRAGMA onewriter_is_so_already',
});

function answerRow(columns: readonly string[], row: readonly (string | number)[]): PragmaAnswer {
  const literal = (value: string | number) => (typeof value === 'number' ? value : `'${value}'`);
  const sql = `SELECT ${columns.map((column, index) => `${literal(row[index]!)} AS ${column}`).join(', ')}`;
  return Object.freeze({ columns, row, sql });
}

const isOn = (value: string) => value === '1' || value === 'on' || value === 'yes' || value === 'true';
const isOff = (value: string) => value === '0' || value === 'off' || value === 'no' || value === 'false';

const OWN_SETTING = 'The writer and the readers set it; leave the statement out.';
const SHARED = 'The connection is shared by all callers of the tenant; leave the statement out.';
const TOGETHER =
  'with the statements that it is for, in front of BEGIN, as one request: exec() or transaction() of the SDK, a script, ' +
  'a batch or migrate() of a libSQL client.';

const READ: PragmaRule = { bare: 'read', argument: 'read' };
/** Reads a value; setting it is refused. */
const VALUE: PragmaRule = { bare: 'read', remedy: OWN_SETTING };
/** A value kept in the file. */
const SETTING: PragmaRule = { bare: 'read', argument: 'write' };

/** A flag that has one value for all. */
function flag(value: 'on' | 'off', remedy = SHARED): PragmaRule {
  const isSo = value === 'on' ? isOn : isOff;
  return { bare: 'read', argument: given => (isSo(given) ? NOTHING : undefined), remedy };
}

/** A number that has one value for all; setting it answers with it. */
function fixedNumber(name: string, value: number, remedy = OWN_SETTING): PragmaRule {
  const answer = answerRow([name], [value]);
  return { bare: answer, argument: given => (given === String(value) ? answer : undefined), remedy };
}

/** A value fixed when the file is created; SQLite accepts another value without an error and ignores it. */
function ofFile(name: string, toLiteral: (value: string) => string | undefined): PragmaRule {
  const remedy = `A file keeps the ${name} that it was made with; PRAGMA ${name} reads it.`;
  return {
    bare: 'read',
    argument: value => {
      const literal = toLiteral(value);
      if (literal === undefined) return undefined;
      const verify = `SELECT 1 FROM pragma_${name} WHERE ${name} = ${literal}`;
      return { ...NOTHING, verify, refusal: `PRAGMA ${name} cannot be set to this value. ${remedy}` };
    },
    remedy,
  };
}

const WAL = answerRow(['journal_mode'], ['wal']);
const AUTO_VACUUM: Readonly<Record<string, string>> = {
  ...{ 0: '0', none: '0', 1: '1', full: '1', 2: '2', incremental: '2' },
};
/** Every commit is flushed, which is what FULL promises; NORMAL promises less, and EXTRA is FULL in WAL mode. */
const FLUSHED = new Set(['1', 'normal', '2', 'full', '3', 'extra']);

const PRAGMAS: Readonly<Record<string, PragmaRule>> = {
  // the schema
  table_info: READ,
  table_xinfo: READ,
  table_list: READ,
  index_list: READ,
  index_info: READ,
  index_xinfo: READ,
  foreign_key_list: READ,
  schema_version: { bare: 'read', remedy: 'SQLite counts it.' },
  // Answered as for a database in memory, so that server paths are not disclosed.
  database_list: { bare: answerRow(['seq', 'name', 'file'], [0, 'main', '']) },
  // checks
  foreign_key_check: READ,
  integrity_check: READ,
  quick_check: READ,
  // the file
  user_version: SETTING,
  application_id: SETTING,
  data_version: VALUE,
  encoding: ofFile('encoding', value =>
    /^utf-?(8|16|16le|16be)$/.test(value)
      ? `'UTF-${value.replace(/^utf-?/, '').replace(/^16$/, '16le')}'`
      : undefined,
  ),
  page_count: VALUE,
  page_size: ofFile('page_size', value => (/^\d{1,5}$/.test(value) ? value : undefined)),
  max_page_count: VALUE,
  freelist_count: VALUE,
  auto_vacuum: ofFile('auto_vacuum', value =>
    Object.hasOwn(AUTO_VACUUM, value) ? AUTO_VACUUM[value] : undefined,
  ),
  optimize: { bare: 'write', argument: 'write' },
  journal_mode: {
    bare: 'read',
    argument: value => (value === 'wal' ? WAL : undefined),
    remedy: 'Every file is in WAL mode: readers and the writer need it.',
  },
  synchronous: {
    bare: answerRow(['synchronous'], [2]),
    argument: value => (FLUSHED.has(value) ? NOTHING : undefined),
    remedy: 'Every commit is flushed to the disk before it is answered.',
  },
  wal_autocheckpoint: fixedNumber('wal_autocheckpoint', 0, 'The writer makes checkpoints itself.'),
  wal_checkpoint: { remedy: 'The writer makes checkpoints itself.' },
  incremental_vacuum: { remedy: 'Free pages are used again.' },
  // the connection
  busy_timeout: {
    bare: answerRow(['timeout'], [LIMITS.busyTimeoutMs]),
    // No statement fails because of another caller's: it waits, up to the deadline of its own call.
    argument: value => (/^[1-9]\d{0,8}$/.test(value) ? answerRow(['timeout'], [Number(value)]) : undefined),
    remedy: 'Statements wait for others until their own deadline; give the call a timeout.',
  },
  foreign_keys: flag(
    'on',
    `Foreign keys are always enforced. To rebuild a table without them, send it ${TOGETHER}`,
  ),
  defer_foreign_keys: flag('off', `It holds until the end of a transaction. Send it ${TOGETHER}`),
  query_only: {
    bare: answerRow(['query_only'], [0]),
    argument: value => (isOff(value) ? NOTHING : undefined),
    remedy: 'Who only reads gets a token with access read.',
  },
  recursive_triggers: flag('off'),
  case_sensitive_like: {
    argument: value => (isOff(value) ? NOTHING : undefined),
    remedy: 'It would be for all callers of the tenant; GLOB is case-sensitive.',
  },
  secure_delete: {
    bare: 'read',
    argument: value => (isOff(value) ? answerRow(['secure_delete'], [0]) : undefined),
    remedy: SHARED,
  },
  trusted_schema: flag('on'),
  legacy_alter_table: flag(
    'off',
    `${SHARED} ALTER TABLE RENAME also renames in triggers, views and foreign keys.`,
  ),
  ignore_check_constraints: flag('off', 'CHECK constraints are always enforced.'),
  reverse_unordered_selects: flag('off'),
  read_uncommitted: flag('off', 'A read sees what is committed.'),
  automatic_index: flag('on'),
  cell_size_check: flag('off'),
  fullfsync: flag('off', OWN_SETTING),
  checkpoint_fullfsync: flag('off', OWN_SETTING),
  analysis_limit: fixedNumber('analysis_limit', 0, `${SHARED} PRAGMA optimize bounds its work itself.`),
  threads: fixedNumber('threads', 0, SHARED),
  mmap_size: fixedNumber('mmap_size', 0),
  cache_size: VALUE,
  cache_spill: VALUE,
  journal_size_limit: VALUE,
  locking_mode: VALUE,
  temp_store: VALUE,
  shrink_memory: { remedy: OWN_SETTING },
  writable_schema: { remedy: 'It lets a statement damage the file.' },
  // SQLite itself
  collation_list: VALUE,
  compile_options: VALUE,
  function_list: VALUE,
  module_list: VALUE,
  pragma_list: VALUE,
};

/**
 * Says what becomes of a PRAGMA.
 * @param name in lower case
 * @param argument undefined: none. In lower case, without quotes; '' where it is not one value, and SQLite will say so.
 */
export function judgePragma(name: string, argument: string | undefined): PragmaJudgement {
  const rule = Object.hasOwn(PRAGMAS, name) ? PRAGMAS[name] : undefined;
  if (rule === undefined) {
    const shown = /^\w{1,40}$/.test(name) ? `PRAGMA ${name}` : 'This PRAGMA';
    return { kind: 'refused', reason: `${shown} is not allowed.` };
  }
  const use = argument === undefined ? rule.bare : rule.argument;
  const judged = typeof use === 'function' ? use(argument!) : use;
  if (judged === 'read' || judged === 'write') return { kind: judged };
  if (judged !== undefined) return { kind: 'read', answer: judged };
  const what =
    argument === undefined
      ? 'is not allowed.'
      : use === undefined && rule.bare !== undefined
        ? 'can only be read.'
        : use === undefined
          ? 'is not allowed.'
          : 'cannot be set to this value.';
  return { kind: 'refused', reason: `PRAGMA ${name} ${what}${rule.remedy ? ` ${rule.remedy}` : ''}` };
}

/** Whether a value of `foreign_keys` or `defer_foreign_keys` is the one that always holds. */
export function isUsualValue(pragma: 'foreign_keys' | 'defer_foreign_keys', argument: string): boolean {
  return pragma === 'foreign_keys' ? isOn(argument) : isOff(argument);
}

/** The value of `= value` or `(value)` behind a PRAGMA's name, as {@link judgePragma} takes it. @param tokens their texts */
export function readPragmaArgument(tokens: readonly string[]): string | undefined {
  if (tokens.length === 0) return undefined;
  const inner =
    tokens[0] === '='
      ? tokens.slice(1)
      : tokens[0] === '(' && tokens.at(-1) === ')'
        ? tokens.slice(1, -1)
        : [];
  const sign = inner[0] === '+' || inner[0] === '-' ? inner[0] : '';
  const [value, ...more] = sign === '' ? inner : inner.slice(1);
  if (value === undefined || more.length > 0) return '';
  const quoted = /^(['"`])(.*)\1$/s.exec(value) ?? /^(\[)(.*)\]$/s.exec(value);
  return sign.replace('+', '') + (quoted?.[2] ?? value).toLowerCase();
}
