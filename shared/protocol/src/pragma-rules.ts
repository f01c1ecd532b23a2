/**
 * What a PRAGMA may be used for.
 *
 * - `value`: read its value, without an argument.
 * - `query`: read; the argument says about what.
 * - `setting`: read its value, or (as a write) set it; the value lives in the file, inside the transaction.
 * - `action`: a write, with or without an argument.
 */
type PragmaUse = 'value' | 'query' | 'setting' | 'action';

/**
 * The PRAGMAs that are allowed; every other is refused. Left out on purpose: what changes the connection other
 * callers share (`foreign_keys=`, `defer_foreign_keys`, `writable_schema` …), what the writer itself steers
 * (`journal_mode=`, `synchronous=`, `wal_checkpoint` …), and `database_list`, which tells paths.
 * Source: https://www.sqlite.org/pragma.html
 */
const PRAGMAS: Readonly<Record<string, PragmaUse>> = {
  // the schema
  table_info: 'query',
  table_xinfo: 'query',
  table_list: 'query',
  index_list: 'query',
  index_info: 'query',
  index_xinfo: 'query',
  foreign_key_list: 'query',
  schema_version: 'value',
  // checks
  foreign_key_check: 'query',
  integrity_check: 'query',
  quick_check: 'query',
  // the file
  user_version: 'setting',
  application_id: 'setting',
  data_version: 'value',
  encoding: 'value',
  page_count: 'value',
  page_size: 'value',
  max_page_count: 'value',
  freelist_count: 'value',
  auto_vacuum: 'value',
  journal_mode: 'value',
  optimize: 'action',
  // the connection
  busy_timeout: 'value',
  cache_size: 'value',
  foreign_keys: 'value',
  journal_size_limit: 'value',
  locking_mode: 'value',
  query_only: 'value',
  recursive_triggers: 'value',
  synchronous: 'value',
  temp_store: 'value',
  wal_autocheckpoint: 'value',
  // SQLite itself
  collation_list: 'value',
  compile_options: 'value',
  function_list: 'value',
  module_list: 'value',
  pragma_list: 'value',
};

/**
 * Tells whether `PRAGMA name`, with an argument or without, reads or writes; `undefined` where it is refused.
 * @param name in lower case
 */
export function pragmaKind(name: string, hasArgument: boolean): 'read' | 'write' | undefined {
  switch (Object.hasOwn(PRAGMAS, name) ? PRAGMAS[name] : undefined) {
    case 'value':
      return hasArgument ? undefined : 'read';
    case 'query':
      return 'read';
    case 'setting':
      return hasArgument ? 'write' : 'read';
    case 'action':
      return 'write';
    default:
      return undefined;
  }
}
