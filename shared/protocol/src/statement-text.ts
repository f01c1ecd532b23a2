import { LIMITS } from './limits.ts';
import { OnewriterError } from './onewriter-error.ts';

/**
 * Refuses SQL text that SQLite would not read as it was written.
 *
 * @throws OnewriterError INVALID_ARGUMENT (not a string, or with a NUL, where SQLite stops reading),
 * INVALID_VALUE (a lone surrogate, which UTF-8 cannot hold), STATEMENT_TOO_LARGE (`maxBytes`).
 */
export function assertStatementText(
  sql: unknown,
  maxBytes: number = LIMITS.maxStatementBytes,
): asserts sql is string {
  if (typeof sql !== 'string') throw new OnewriterError('INVALID_ARGUMENT', 'The SQL must be a string.');
  // One UTF-16 unit is at most three bytes of UTF-8, so most texts need no count.
  if (sql.length * 3 > maxBytes && Buffer.byteLength(sql) > maxBytes) {
    throw new OnewriterError(
      'STATEMENT_TOO_LARGE',
      `The SQL text is over ${maxBytes} bytes; bind long values as parameters.`,
    );
  }
  if (sql.includes('\0')) throw new OnewriterError('INVALID_ARGUMENT', 'The SQL contains a NUL character.');
  if (!sql.isWellFormed()) throw new OnewriterError('INVALID_VALUE', 'The SQL contains a lone surrogate.');
}
