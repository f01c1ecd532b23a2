/**
 * What a token is, as far as the statement rules care.
 *
 * - `space`: white space, a comment, or a byte-order mark.
 * - `word`: a keyword or a bare identifier.
 * - `name`: an identifier in `"…"`, `` `…` `` or `[…]`.
 * - `other`: one character of anything else: operators, brackets, commas, dots.
 */
export type SqlTokenKind =
  | 'space'
  | 'semicolon'
  | 'word'
  | 'name'
  | 'string'
  | 'blob'
  | 'number'
  | 'variable'
  | 'other'
  | 'end';

const TAB = 0x09;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const DOUBLE_QUOTE = 0x22;
const HASH = 0x23;
const DOLLAR = 0x24;
const QUOTE = 0x27;
const PLUS = 0x2b;
const ASTERISK = 0x2a;
const MINUS = 0x2d;
const DOT = 0x2e;
const SLASH = 0x2f;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const QUESTION = 0x3f;
const AT = 0x40;
const OPEN_BRACKET = 0x5b;
const UNDERSCORE = 0x5f;
const BACKTICK = 0x60;
const BYTE_ORDER_MARK = 0xfeff;

/** White space of SQLite: nothing from Unicode, but vertical tab and form feed. */
const isSpace = (code: number) => code === SPACE || (code >= TAB && code <= CARRIAGE_RETURN);
const isDigit = (code: number) => code >= 0x30 && code <= 0x39;
const isLetter = (code: number) => (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a);
/** A character that may continue an identifier. */
const isWordPart = (code: number) =>
  isLetter(code) || isDigit(code) || code === UNDERSCORE || code === DOLLAR || code >= 0x80;

/**
 * Cuts SQL into the same tokens as SQLite: call {@link next} until it answers `end`; {@link start} and
 * {@link end} bound the token last seen. It never fails: what is unterminated reaches to the end of the text, as
 * it does for SQLite, which then refuses the statement.
 * Source: sqlite3GetToken() in SQLite's tokenize.c (built, like better-sqlite3, with SQLITE_OMIT_TCL_VARIABLE).
 */
export class SqlTokens {
  readonly sql: string;
  start = 0;
  end = 0;

  constructor(sql: string) {
    this.sql = sql;
  }

  /** The text of the token last seen. */
  get text(): string {
    return this.sql.slice(this.start, this.end);
  }

  /** Steps to the next token and returns its kind. */
  next(): SqlTokenKind {
    const { sql } = this;
    const start = this.end;
    this.start = start;
    if (start >= sql.length) return 'end';
    const code = sql.charCodeAt(start);
    const following = sql.charCodeAt(start + 1); // NaN at the end: equal to nothing

    if (isSpace(code) || code === BYTE_ORDER_MARK) {
      let end = start + 1;
      while (isSpace(sql.charCodeAt(end))) end++;
      return this.#take('space', end);
    }
    if (code === SEMICOLON) return this.#take('semicolon', start + 1);
    if (code === MINUS && following === MINUS) {
      return this.#take('space', this.#after(sql.indexOf('\n', start + 2), 1));
    }
    if (code === SLASH && following === ASTERISK) {
      return this.#take('space', this.#after(sql.indexOf('*/', start + 2), 2));
    }
    if (code === QUOTE) return this.#take('string', this.#quotedEnd("'"));
    if (code === DOUBLE_QUOTE) return this.#take('name', this.#quotedEnd('"'));
    if (code === BACKTICK) return this.#take('name', this.#quotedEnd('`'));
    if (code === OPEN_BRACKET) return this.#take('name', this.#after(sql.indexOf(']', start + 1), 1));
    if ((code === 0x78 || code === 0x58) && following === QUOTE) {
      return this.#take('blob', this.#after(sql.indexOf("'", start + 2), 1));
    }
    if (isDigit(code) || (code === DOT && isDigit(following))) return this.#take('number', this.#numberEnd());
    if (code === QUESTION) {
      let end = start + 1;
      while (isDigit(sql.charCodeAt(end))) end++;
      return this.#take('variable', end);
    }
    if (code === DOLLAR || code === AT || code === COLON || code === HASH) {
      const end = this.#wordEnd(start + 1);
      return this.#take(end > start + 1 ? 'variable' : 'other', end);
    }
    if (isWordPart(code)) return this.#take('word', this.#wordEnd(start + 1));
    return this.#take('other', start + 1);
  }

  #take(kind: SqlTokenKind, end: number): SqlTokenKind {
    this.end = end;
    return kind;
  }

  /** The position after something found at `index`, or the end of the text where it was not found. */
  #after(index: number, length: number): number {
    return index < 0 ? this.sql.length : index + length;
  }

  #wordEnd(from: number): number {
    let end = from;
    while (isWordPart(this.sql.charCodeAt(end))) end++;
    return end;
  }

  /** A doubled quote stands for one inside. */
  #quotedEnd(quote: string): number {
    for (let from = this.start + 1; ; ) {
      const index = this.sql.indexOf(quote, from);
      if (index < 0) return this.sql.length;
      if (this.sql[index + 1] !== quote) return index + 1;
      from = index + 2;
    }
  }

  /** Digits may be separated by `_`; letters stuck to a number make one (illegal) token of both. */
  #numberEnd(): number {
    const { sql } = this;
    const digits = (from: number) => {
      let end = from;
      while (isDigit(sql.charCodeAt(end)) || sql.charCodeAt(end) === UNDERSCORE) end++;
      return end;
    };
    let end = digits(this.start);
    if (sql.charCodeAt(end) === DOT) end = digits(end + 1);
    const exponent = sql.charCodeAt(end);
    if (exponent === 0x65 || exponent === 0x45) {
      const sign = sql.charCodeAt(end + 1);
      const first = sign === PLUS || sign === MINUS ? end + 2 : end + 1;
      if (isDigit(sql.charCodeAt(first))) end = digits(first);
    }
    return this.#wordEnd(end);
  }
}
