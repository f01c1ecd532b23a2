import { closeSync, openSync, readSync } from 'node:fs';
import { OnewriterError, takeStatements } from '@onewriter/protocol';
import { MAX_DUMP_STATEMENT_BYTES } from './dump-statement.ts';

/** A statement of a dump. */
export interface DumpStatement {
  readonly sql: string;
  /** Where it begins, from 1. */
  readonly line: number;
  /** Bytes of the file that were read when it was found. */
  readonly bytes: number;
}

const CHUNK_BYTES = 1024 * 1024;
/** A statement longer than a chunk is looked at again with each chunk, so these grow. */
const MAX_CHUNK_BYTES = 16 * CHUNK_BYTES;

/**
 * Reads a file of SQL statement by statement: no more of it is in memory than its longest statement and a chunk.
 * @throws OnewriterError INVALID_ARGUMENT (not UTF-8), STATEMENT_TOO_LARGE; Error of the file system
 */
export function* readStatements(
  path: string,
  maxStatementBytes: number = MAX_DUMP_STATEMENT_BYTES,
): Generator<DumpStatement, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const file = openSync(path, 'r');
  try {
    let text = '';
    let line = 1;
    let bytes = 0;
    let chunkBytes = CHUNK_BYTES;
    for (let isEnd = false; !isEnd; ) {
      const chunk = Buffer.allocUnsafe(chunkBytes);
      const count = readSync(file, chunk, 0, chunkBytes, null);
      isEnd = count === 0;
      bytes += count;
      try {
        text += decoder.decode(chunk.subarray(0, count), { stream: !isEnd });
      } catch (cause) {
        throw new OnewriterError(
          'INVALID_ARGUMENT',
          `The text is not UTF-8, after line ${line}.`,
          { line },
          cause,
        );
      }
      // What no semicolon ends is a statement, too, and one that was cut off is refused by SQLite.
      const { statements, rest } = takeStatements(isEnd ? `${text}\n;` : text);
      let counted = 0;
      for (const { sql, start } of statements) {
        line += countLines(text, counted, start);
        counted = start;
        yield { sql, line, bytes };
      }
      const end = isEnd ? text.length : text.length - rest.length;
      line += countLines(text, counted, end);
      if (isEnd && rest.trim() !== '') yield { sql: rest, line, bytes };
      text = rest;
      if (text.length > maxStatementBytes) {
        line += countLines(text, 0, text.search(/\S/));
        const message = `Line ${line}: a statement is longer than ${maxStatementBytes} bytes.`;
        throw new OnewriterError('STATEMENT_TOO_LARGE', message, { line, maxStatementBytes });
      }
      chunkBytes = statements.length > 0 ? CHUNK_BYTES : Math.min(MAX_CHUNK_BYTES, chunkBytes * 2);
    }
  } finally {
    closeSync(file);
  }
}

function countLines(text: string, from: number, to: number): number {
  let lines = 0;
  for (let at = text.indexOf('\n', from); at >= 0 && at < to; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}
