/*
 * As much of Tcl's syntax as it takes to find commands and their words. Nothing is substituted or run.
 * Source: Tcl(n), the twelve rules.
 */

/** How a word is written. `braced`: its text is literal. `quoted`, `bare`: `$`, `[` and `\` in it mean something. */
export type TclWordKind = 'braced' | 'quoted' | 'bare';

/** A word of a command. */
export interface TclWord {
  readonly kind: TclWordKind;
  /** Without its braces or quotes, else as it is written. */
  readonly text: string;
  /** Where `text` begins in the file. */
  readonly line: number;
}

/** The words of one command; at least one. */
export type TclCommand = readonly TclWord[];

/** A text that ends within braces, brackets or quotes. */
export class TclSyntaxError extends Error {}

const isBlank = (character: string) => character === ' ' || character === '\t' || character === '\r';
const isEnd = (character: string) => character === '\n' || character === ';';

/**
 * Reads commands one after the other.
 * @param line of the file, where `text` begins
 * @throws TclSyntaxError
 */
export function* parseCommands(text: string, line: number): Generator<TclCommand, void, undefined> {
  const scan = new Scan(text, line);
  while (scan.skipToCommand()) {
    const words: TclWord[] = [];
    while (scan.skipToWord()) words.push(scan.word());
    if (words.length > 0) yield words;
  }
}

/** The elements of a list, such as the word after `foreach x`. @throws TclSyntaxError */
export function parseList(text: string, line: number): TclWord[] {
  const scan = new Scan(text, line);
  const words: TclWord[] = [];
  while (scan.skipToElement()) words.push(scan.word(true));
  return words;
}

/** The scripts in brackets in a word that is not braced. @throws TclSyntaxError */
export function* bracketed({
  kind,
  text,
  line,
}: TclWord): Generator<{ text: string; line: number }, void, undefined> {
  if (kind === 'braced') return;
  const scan = new Scan(text, line);
  while (scan.at < text.length) {
    if (text[scan.at] === '\\') scan.at += 2;
    else if (text[scan.at] !== '[') scan.at++;
    else {
      const start = scan.at + 1;
      scan.skipBrackets();
      yield { text: text.slice(start, scan.at - 1), line: scan.lineAt(start) };
    }
  }
}

/** What a word stands for where nothing in it has to be substituted; else undefined. */
export function literalOf({ kind, text }: TclWord): string | undefined {
  if (kind === 'braced') return text.replace(/\\\n[ \t]*/g, ' ');
  if (/(?<!\\)(?:\\\\)*[$[]/.test(text)) return undefined;
  return text.replace(
    /\\(?:\n[ \t]*|u([\da-fA-F]{1,4})|x([\da-fA-F]{1,2})|([0-7]{1,3})|([\s\S]))/g,
    decodeEscape,
  );
}

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
};

function decodeEscape(_: string, unicode?: string, hex?: string, octal?: string, character?: string): string {
  const digits = unicode ?? hex;
  if (digits !== undefined) return String.fromCharCode(Number.parseInt(digits, 16));
  if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
  return character === undefined ? ' ' : (ESCAPES[character] ?? character);
}

class Scan {
  readonly #text: string;
  readonly #line: number;
  #countedTo = 0;
  #counted = 0;
  at = 0;

  constructor(text: string, line: number) {
    this.#text = text;
    this.#line = line;
  }

  /** Call it with rising positions. */
  lineAt(position: number): number {
    for (; this.#countedTo < position; this.#countedTo++)
      if (this.#text[this.#countedTo] === '\n') this.#counted++;
    return this.#line + this.#counted;
  }

  /** To the first word of the next command; false at the end. */
  skipToCommand(): boolean {
    for (;;) {
      const character = this.#text[this.at];
      if (character === undefined) return false;
      if (character === '#') this.#skipComment();
      else if (isBlank(character) || isEnd(character)) this.at++;
      else if (character === '\\' && this.#text[this.at + 1] === '\n') this.at += 2;
      else return true;
    }
  }

  /** To the next word of this command; false at its end. */
  skipToWord(): boolean {
    for (;;) {
      const character = this.#text[this.at];
      if (character === undefined || isEnd(character)) return false;
      if (isBlank(character)) this.at++;
      else if (character === '\\' && this.#text[this.at + 1] === '\n') this.at += 2;
      else return true;
    }
  }

  /** To the next element of a list; false at its end. */
  skipToElement(): boolean {
    while (/\s/.test(this.#text[this.at] ?? '')) this.at++;
    return this.at < this.#text.length;
  }

  word(inList = false): TclWord {
    const first = this.#text[this.at];
    if (first === '{' && !this.#text.startsWith('{*}', this.at)) return this.#braced();
    if (first === '"') return this.#quoted();
    const start = this.at;
    while (this.at < this.#text.length) {
      const character = this.#text[this.at]!;
      if (isBlank(character) || character === '\n' || (character === ';' && !inList)) break;
      if (character === '\\') this.at += 2;
      else if (character === '[' && !inList) this.skipBrackets();
      else if (character === '{' && this.#text[this.at - 1] === '$') this.#skipTo('}');
      else this.at++;
    }
    return { kind: 'bare', text: this.#text.slice(start, this.at), line: this.lineAt(start) };
  }

  /** Over a script in brackets and what is nested in it. */
  skipBrackets(): void {
    const open = this.at++;
    for (let atWord = true; ; ) {
      const character = this.#text[this.at];
      if (character === undefined) throw new TclSyntaxError(`a [ of line ${this.lineAt(open)} is not closed`);
      if (character === ']') {
        this.at++;
        return;
      }
      const before = this.at;
      if (character === '\\') this.at += 2;
      else if (character === '[') this.skipBrackets();
      else if (character === '{' && atWord) this.#skipBraces();
      else if (character === '"' && atWord) this.#skipQuotes();
      else this.at++;
      atWord = /[\s;]/.test(this.#text[before]!);
    }
  }

  #braced(): TclWord {
    const start = this.at + 1;
    this.#skipBraces();
    return { kind: 'braced', text: this.#text.slice(start, this.at - 1), line: this.lineAt(start) };
  }

  #quoted(): TclWord {
    const start = this.at + 1;
    this.#skipQuotes();
    return { kind: 'quoted', text: this.#text.slice(start, this.at - 1), line: this.lineAt(start) };
  }

  #skipBraces(): void {
    const open = this.at;
    for (let depth = 0; ; this.at++) {
      const character = this.#text[this.at];
      if (character === undefined) throw new TclSyntaxError(`a { of line ${this.lineAt(open)} is not closed`);
      if (character === '\\') this.at++;
      else if (character === '{') depth++;
      else if (character === '}' && --depth === 0) break;
    }
    this.at++;
  }

  #skipQuotes(): void {
    const open = this.at++;
    for (;;) {
      const character = this.#text[this.at];
      if (character === undefined) throw new TclSyntaxError(`a " of line ${this.lineAt(open)} is not closed`);
      if (character === '"') break;
      if (character === '\\') this.at += 2;
      else if (character === '[') this.skipBrackets();
      else this.at++;
    }
    this.at++;
  }

  #skipComment(): void {
    while (this.at < this.#text.length && this.#text[this.at] !== '\n')
      this.at += this.#text[this.at] === '\\' ? 2 : 1;
  }

  #skipTo(character: string): void {
    const found = this.#text.indexOf(character, this.at);
    if (found < 0) throw new TclSyntaxError(`a variable of line ${this.lineAt(this.at)} is not closed`);
    this.at = found + 1;
  }
}
