import { LIMITS, OnewriterError, takeStatements } from '@onewriter/protocol';

/** Gathers lines until they hold whole statements. A statement ends with a semicolon. */
export class StatementBuffer {
  #text = '';

  /** Whether there is a statement that has not ended. */
  get isOpen(): boolean {
    return this.#text.trim() !== '';
  }

  /**
   * @returns the statements that are whole now, in order, without their semicolons
   * @throws OnewriterError STATEMENT_TOO_LARGE; what was gathered is dropped then
   */
  push(line: string): readonly string[] {
    this.#text += `${line}\n`;
    if (Buffer.byteLength(this.#text) > LIMITS.maxStatementBytes) {
      this.clear();
      const message = `A statement has at most ${LIMITS.maxStatementBytes} bytes; what was typed is dropped.`;
      throw new OnewriterError('STATEMENT_TOO_LARGE', message);
    }
    const { statements, rest } = takeStatements(this.#text);
    this.#text = rest;
    return statements;
  }

  /** What is left, as a statement: the input has ended. Empty where nothing is. */
  takeRest(): string {
    const rest = this.#text.trim();
    this.clear();
    return rest;
  }

  clear(): void {
    this.#text = '';
  }
}
