import { LIMITS, locateStatements, OnewriterError, takeStatements } from '@onewriter/protocol';
import { lineAt } from './locate-error.ts';

/** A statement, and the line of the input where it begins, from 1. */
export interface BufferedStatement {
  readonly sql: string;
  readonly line: number;
}

/** Gathers lines until they hold whole statements. A statement ends with a semicolon. */
export class StatementBuffer {
  #text = '';
  /** The line of the input that the text begins in. */
  #line = 1;

  /** Whether there is a statement that has not ended. */
  get isOpen(): boolean {
    return this.#text.trim() !== '';
  }

  /**
   * @returns the statements that are whole now, in order, without their semicolons
   * @throws OnewriterError STATEMENT_TOO_LARGE; what was gathered is dropped then
   */
  push(line: string): readonly BufferedStatement[] {
    this.#text += `${line}\n`;
    if (Buffer.byteLength(this.#text) > LIMITS.maxStatementBytes) {
      this.clear();
      const message = `A statement has at most ${LIMITS.maxStatementBytes} bytes; what was typed is dropped.`;
      throw new OnewriterError('STATEMENT_TOO_LARGE', message);
    }
    const { statements, rest } = takeStatements(this.#text);
    const found = statements.map(({ sql, start }) => ({ sql, line: this.#lineAt(start) }));
    this.#line = this.#lineAt(this.#text.length - rest.length);
    this.#text = rest;
    return found;
  }

  /** Passes a line that is no SQL. */
  skip(): void {
    this.clear();
    this.#line++;
  }

  /** What is left, as a statement without its semicolon: the input has ended. @throws OnewriterError as `splitScript` */
  takeRest(): readonly BufferedStatement[] {
    const found = locateStatements(this.#text).map(({ sql, start }) => ({ sql, line: this.#lineAt(start) }));
    this.clear();
    return found;
  }

  clear(): void {
    this.#line = this.#lineAt(this.#text.length);
    this.#text = '';
  }

  #lineAt(offset: number): number {
    return this.#line + lineAt(this.#text, offset) - 1;
  }
}
