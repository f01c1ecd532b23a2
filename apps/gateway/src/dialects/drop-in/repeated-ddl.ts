import { SqlTokens } from '@onewriter/protocol';

/*
 * Schema changes that were made before, and fail because what they make is there.
 *
 * One that is passed over must change nothing for the statements beside it. Behind an ADD COLUMN, an UPDATE would fill the column once
 * more; behind a CREATE … AS SELECT, a DROP would remove what it was to copy. The proxies that these clients come from undid such a
 * transaction, so it fails here, too.
 */

/** SQLite names the kind of what is there. */
const EXISTS = /^(table|view|index|trigger) .+ already exists$/s;
const HAS_COLUMN = /^duplicate column name: /;
const KINDS: ReadonlySet<string> = new Set(['TABLE', 'VIEW', 'INDEX', 'TRIGGER']);
const CHANGES: ReadonlySet<string> = new Set(['INSERT', 'REPLACE', 'UPDATE', 'DELETE', 'WITH', 'DROP']);
/** `ALTER TABLE main.name ADD` */
const MAX_WORDS = 6;

/** Whether a statement only failed because what it makes is there. */
export function isRepeated(sql: string, message: string): boolean {
  const [first, ...next] = firstWords(sql);
  if (first === 'ALTER') return HAS_COLUMN.test(message);
  const found = EXISTS.exec(message)?.[1]?.toUpperCase();
  return first === 'CREATE' && found !== undefined && next.find(word => KINDS.has(word)) === found;
}

/** Whether a statement does more than to add to the schema, or to read. */
export function changesMore(sql: string): boolean {
  const words = firstWords(sql);
  if (words[0] === 'ALTER') return words[words[3] === '.' ? 5 : 3] !== 'ADD';
  return CHANGES.has(words[0] ?? '');
}

/** In upper case. */
function firstWords(sql: string): readonly string[] {
  const words: string[] = [];
  const tokens = new SqlTokens(sql);
  for (let kind = tokens.next(); kind !== 'end' && words.length < MAX_WORDS; kind = tokens.next()) {
    if (kind === 'space' || (kind === 'semicolon' && words.length === 0)) continue;
    words.push(tokens.text.toUpperCase());
  }
  return words;
}
