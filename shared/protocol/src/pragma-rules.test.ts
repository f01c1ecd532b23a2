import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { judgePragma, readPragmaArgument } from './pragma-rules.ts';

/** `name`, or `name = value` with the value as it is written. */
function judge(text: string) {
  const [name, ...value] = text.split(/ ?(=) ?/);
  return judgePragma(name!, readPragmaArgument(value));
}

function reasonOf(text: string): string {
  const judged = judge(text);
  return judged.kind === 'refused' ? judged.reason : judged.kind;
}

describe('a PRAGMA', () => {
  it.each<[string, readonly string[], readonly (string | number)[]]>([
    ['journal_mode = WAL', ['journal_mode'], ['wal']],
    ['busy_timeout = 30000', ['timeout'], [30_000]],
    ['busy_timeout', ['timeout'], [5_000]],
    ['foreign_keys = ON', [], []],
    ['foreign_keys = 1', [], []],
    ["foreign_keys = 'true'", [], []],
    ['defer_foreign_keys = off', [], []],
    ['synchronous = FULL', [], []],
    ['synchronous = NORMAL', [], []],
    ['synchronous', ['synchronous'], [2]],
    ['database_list', ['seq', 'name', 'file'], [0, 'main', '']],
    ['secure_delete = 0', ['secure_delete'], [0]],
    ['encoding = "UTF-8"', [], []],
  ])('%s is answered as it is so', (text, columns, row) => {
    expect(judge(text)).toMatchObject({ kind: 'read', answer: { columns, row } });
  });

  it.each<[string, RegExp]>([
    ['journal_mode = DELETE', /journal_mode cannot be set to this value\. Every file is in WAL mode/],
    ['synchronous = OFF', /flushed to the disk/],
    ['foreign_keys = OFF', /always enforced.*exec\(\).*batch or migrate\(\)/],
    ['cache_size = -64000', /cache_size can only be read/],
    ['wal_checkpoint', /is not allowed\. The writer makes checkpoints itself/],
    ['wal_checkpoint = TRUNCATE', /is not allowed\. The writer makes checkpoints itself/],
    ['page_size = 1', /^read$/],
    ['page_size = x', /A file keeps the page_size that it was made with/],
    ['key = 5', /^PRAGMA key is not allowed\.$/],
    ['constructor = 5', /^PRAGMA constructor is not allowed\.$/],
  ])('%s says why it is refused, and what to do', (text, reason) => {
    expect(reasonOf(text)).toMatch(reason);
  });
});

/** PRAGMAs of apps and drivers, with a value that they send. */
const SENT = [
  ...['foreign_keys = ON', 'defer_foreign_keys = ON', 'journal_mode = WAL', 'busy_timeout = 5000'],
  ...['synchronous = NORMAL', 'cache_size = -2000', 'temp_store = MEMORY', 'mmap_size = 0'],
  ...[
    'wal_autocheckpoint = 1000',
    'recursive_triggers = ON',
    'case_sensitive_like = ON',
    'secure_delete = ON',
  ],
  ...['auto_vacuum = NONE', 'page_size = 4096', "encoding = 'UTF-8'", 'legacy_alter_table = ON'],
  ...['ignore_check_constraints = ON', 'analysis_limit = 400', 'wal_checkpoint', 'incremental_vacuum'],
  ...['optimize', 'user_version = 3', 'database_list', 'table_list', 'index_list = t', 'foreign_key_check'],
];

describe('PRAGMAs of apps and drivers', () => {
  it.each(SENT)('%s has an answer, or a reason with what to do, and is on the page', text => {
    const judged = judge(text);
    // After what is refused stands why.
    if (judged.kind === 'refused') expect(judged.reason).toMatch(/^PRAGMA \w+ [\w ]+\. \S.+/);
    const page = readFileSync(new URL('../../../docs/sql.md', import.meta.url), 'utf8');
    expect(page).toMatch(new RegExp(`\`${/^\w+/.exec(text)![0]}\\b`));
  });
});
