import { OnewriterError } from '@onewriter/protocol';

/** A line without its end, and its number from 1. */
export interface TextLine {
  readonly line: number;
  readonly text: string;
}

/** Splits text into lines as it arrives. A line ends with LF, CR LF or CR. */
export class LineSplitter {
  /** The line that is being read. */
  line = 1;
  readonly #maxCharacters: number;
  #pending = '';
  #afterReturn = false;

  constructor(maxCharacters: number) {
    this.#maxCharacters = maxCharacters;
  }

  /**
   * Takes a piece of text.
   * @param lines gets those that it completes, except empty ones, also where it then fails
   * @throws OnewriterError PAYLOAD_TOO_LARGE
   */
  push(text: string, lines: TextLine[]): void {
    let start = this.#afterReturn && text.startsWith('\n') ? 1 : 0;
    if (text !== '') this.#afterReturn = text.endsWith('\r');
    const ends = text.includes('\r') ? /\r\n|\n|\r/g : /\n/g;
    ends.lastIndex = start;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      this.#add(lines, text.slice(start, end.index));
      start = ends.lastIndex;
    }
    this.#pending += text.slice(start);
    if (this.#pending.length > this.#maxCharacters) throw this.#tooLong();
  }

  /** The last line, where the text does not end with a line end. */
  end(lines: TextLine[]): void {
    this.#add(lines, '');
  }

  #add(lines: TextLine[], rest: string): void {
    const text = this.#pending + rest;
    this.#pending = '';
    if (text.length > this.#maxCharacters) throw this.#tooLong();
    if (text.trim() !== '') lines.push({ line: this.line, text });
    this.line++;
  }

  #tooLong(): OnewriterError {
    const { line } = this;
    const message = `Line ${line} has more than ${this.#maxCharacters} characters.`;
    return new OnewriterError('PAYLOAD_TOO_LARGE', message, { line });
  }
}
