import { SqlTokens } from './sql-tokens.ts';

/**
 * One line about a statement for job names and logs: comments dropped, white space folded, literals replaced by
 * `?` so that no value shows, cut to `maxLength` characters with `…`. Never throws, whatever the text.
 */
export function describeStatement(sql: string, maxLength = 80): string {
  const tokens = new SqlTokens(sql);
  let line = '';
  let gap = false;
  for (let kind = tokens.next(); kind !== 'end' && line.length <= maxLength; kind = tokens.next()) {
    if (kind === 'space') {
      gap = true;
      continue;
    }
    if (gap && line !== '') line += ' ';
    gap = false;
    line += kind === 'string' || kind === 'number' || kind === 'blob' ? '?' : shown(tokens, maxLength);
  }
  // The cut must not leave half of a surrogate pair, which UTF-8 cannot hold.
  if (line.length > maxLength) line = `${line.slice(0, maxLength - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
  return line.replace(/[;\s]+$/, '').toWellFormed();
}

/** The token without control characters, which a quoted name may hold; no longer than can be shown. */
function shown(tokens: SqlTokens, maxLength: number): string {
  const text = tokens.sql.slice(tokens.start, Math.min(tokens.end, tokens.start + maxLength + 1));
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ');
}
