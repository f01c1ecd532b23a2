import { judgeDumpStatement } from '@onewriter/files';
import { LIMITS, OnewriterError, takeStatements } from '@onewriter/protocol';
import { inPieces, type ParsedRow, type ParseOptions, type Splitter } from './parse-rows.ts';
import { readText } from './read-text.ts';

/*
 * A dump in steps: each statement is a row of an import, applied once and in its place, between the writes of others. So it may hold
 * only what is right alone: CREATE and INSERT. What needs the whole (a rebuild of a table, rows before those that they refer to,
 * shadow tables) is refused with the way that has it.
 */

/** What a statement costs beside its text. */
const STATEMENT_BYTES = 64;
const LOOK_AGAIN = 1.25;
const WHOLE = 'Load it as one transaction: without --resume, or POST …/load.';

/** A statement that came, without its semicolon. */
interface Statement {
  readonly line: number;
  readonly sql: string;
}

/** Statements of a dump, in pieces as they arrive. @throws OnewriterError with the line, for what ends an import */
export function parseDumpStatements(
  options: Pick<ParseOptions, 'body' | 'bounds' | 'nextTurn'>,
): AsyncGenerator<ParsedRow[], void, undefined> {
  const { body, bounds } = options;
  const splitter = new StatementSplitter();
  const frame = new DumpFrame();
  return inPieces(
    readText(body, bounds, () => splitter),
    options,
    splitter,
    async (statements, rows) => {
      for (const { line, sql } of statements) {
        try {
          for (const each of frame.toRun(sql, line))
            rows.push({ line, bytes: each.length + STATEMENT_BYTES, row: { sql: each, values: '' } });
        } catch (error) {
          if (!(error instanceof OnewriterError)) throw error;
          throw new OnewriterError(
            error.code,
            `Line ${line}: ${error.message}`,
            { ...error.details, line },
            error,
          );
        }
      }
    },
    () => frame.end(),
  );
}

/** Splits text into statements as it arrives. */
export class StatementSplitter implements Splitter<Statement> {
  /** Line at which the text begins that is left. */
  line = 1;
  #pending = '';
  /** Length of the text that is left at which it is looked at again: a long statement must not cost its square. */
  #lookAt = 0;

  push(text: string, statements: Statement[]): void {
    this.#pending += text;
    if (this.#pending.length < Math.min(this.#lookAt, LIMITS.maxStatementBytes + 1)) return;
    this.#take(takeStatements(this.#pending), statements);
    if (this.#pending.length <= LIMITS.maxStatementBytes) return;
    const message = `Line ${this.line}: a statement is over ${LIMITS.maxStatementBytes} bytes. ${WHOLE}`;
    throw new OnewriterError('STATEMENT_TOO_LARGE', message, { line: this.line });
  }

  /** What no semicolon ends is the last statement; where it was cut off the writer refuses it. */
  end(statements: Statement[]): void {
    this.#pending += '\n;';
    this.#take(takeStatements(this.#pending), statements);
  }

  #take({ statements, rest }: ReturnType<typeof takeStatements>, found: Statement[]): void {
    let from = 0;
    for (const { sql, start } of statements) {
      this.line += countLines(this.#pending, from, start);
      from = start;
      found.push({ line: this.line, sql });
    }
    const end = this.#pending.length - rest.length;
    this.line += countLines(this.#pending, from, end);
    this.#pending = rest;
    this.#lookAt = statements.length > 0 ? 0 : rest.length * LOOK_AGAIN;
  }
}

function countLines(text: string, from: number, to: number): number {
  let lines = 0;
  for (let at = text.indexOf('\n', from); at >= 0 && at < to; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}

/** What is around the statements of a dump. */
class DumpFrame {
  /** Line of a BEGIN that no COMMIT has ended. */
  #openSince: number | undefined;

  /** @returns nothing for what only frames the dump. @throws OnewriterError STATEMENT_NOT_ALLOWED, STATEMENT_TOO_LARGE */
  toRun(sql: string, line: number): readonly string[] {
    if (Buffer.byteLength(sql) > LIMITS.maxStatementBytes) {
      throw new OnewriterError(
        'STATEMENT_TOO_LARGE',
        `The statement is over ${LIMITS.maxStatementBytes} bytes. ${WHOLE}`,
      );
    }
    const step = judgeDumpStatement(sql);
    switch (step.type) {
      case 'begin':
        this.#openSince = line;
        return [];
      case 'commit':
        this.#openSince = undefined;
        return [];
      case 'skip':
      case 'leaveOut':
      // Without them only what is refused below could do harm.
      case 'foreignKeys':
        return [];
      // Others write meanwhile, so the file is never taken for an empty one.
      case 'sequences':
        return step.merging;
      case 'virtualTable':
        if (step.filled) throw notInSteps('The content of a virtual table');
        return [sql];
      case 'run':
        if (!ALONE.test(sql)) throw notInSteps('A statement that changes or deletes what is there');
        return [sql];
      default:
        return step satisfies never;
    }
  }

  /** @throws OnewriterError INVALID_ARGUMENT */
  end(): void {
    if (this.#openSince === undefined) return;
    throw new OnewriterError(
      'INVALID_ARGUMENT',
      `The dump is cut off: no COMMIT ends the transaction of line ${this.#openSince}. What is in front of the cut is committed.`,
      { line: this.#openSince },
    );
  }
}

/** What is right alone, with foreign keys. */
const ALONE = /^(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*(?:CREATE|INSERT|ANALYZE|PRAGMA)/i;

function notInSteps(what: string): OnewriterError {
  return new OnewriterError('STATEMENT_NOT_ALLOWED', `${what} cannot be loaded in steps. ${WHOLE}`);
}
