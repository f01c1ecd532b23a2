import { encodeExactValue, OnewriterError, type SqlValue } from '@onewriter/protocol';
import { MAX_COLUMNS } from './table-shape.ts';

/*
 * How a JSON value becomes one of SQLite's: as the same literal in SQL would, whatever the column makes of it then.
 *
 *   null                             NULL
 *   true, false                      the integers 1, 0
 *   5  -5  -0  9007199254740993      an integer, exact; up to 64 bits, and refused beyond
 *   5.0  1e3  -0.0  0.1              a real
 *   "text"                           text, "\u0000" too
 *   {"i":"5"} {"f":"5"} {"b":"AQI="} an integer, a real (also Infinity and -Infinity), a blob: tagged values of an export
 *   {"t":"gA=="}                     text that is not UTF-8, as the base64 of its bytes
 *   {"type":"Buffer","data":[1,2]}   a blob, as Node writes it
 *   other objects, arrays            refused
 *
 * JSON.parse would not do: to it 5 and 5.0 are one number, and of two equal names it drops the first.
 */

/** A name and its value, which is JSON of a WireValue as `encodeExactValue` writes it. */
export interface JsonRow {
  readonly names: readonly string[];
  readonly values: readonly string[];
  /** Indexes of values that are blobs and are to be stored as text. */
  readonly texts?: readonly number[] | undefined;
}

/** A row that names its table. */
export interface TableRow extends JsonRow {
  readonly table: string;
}
/** Digits of the largest double, and a sign. */
const MAX_DOUBLE_DIGITS = 310;
/**
 * Names of one object: a table has MAX_COLUMNS columns and a rowid. An object with more is not read to its end: hundreds of thousands would
 * keep the event loop busy.
 */
const MAX_NAMES = MAX_COLUMNS + 1;

/** Digits up to which a number is held by a double for sure. */
const SAFE_DIGITS = 15;
const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;
const WHITESPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
/** A value with a tag; no known program writes them in another form. */
const TAGGED = /\{\s*"([ifbt])"\s*:\s*"([^"\\]*)"\s*\}/y;
const BUFFER = /\{\s*"type"\s*:\s*"Buffer"\s*,\s*"data"\s*:\s*\[([\d,\s]*)\]\s*\}/y;
const COMMA = 44;
const ZERO = 48;
const INTEGER_TEXT = /^-?\d{1,19}$/;
const REAL_TEXT = /^-?(?:\d{1,309}(?:\.\d{1,800})?(?:e[+-]?\d{1,4})?|Infinity)$/i;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON does not allow them in strings
const CONTROL = /[\u0000-\u001f]/;

/** Reads one object. @throws OnewriterError INVALID_ARGUMENT (not JSON, not an object), INVALID_VALUE (names the field) */
export function parseJsonRow(text: string): JsonRow {
  const reader = new JsonReader(text);
  const row = reader.readRow();
  reader.readEnd();
  return row;
}

/**
 * Reads an object that holds a row and names its table: `{"table":"t","row":{…}}`.
 * @throws OnewriterError as {@link parseJsonRow}
 */
export function parseTableRow(text: string): TableRow {
  const reader = new JsonReader(text);
  let table: string | undefined;
  let row: JsonRow | undefined;
  reader.readMembers(name => {
    if (name === 'table' && table === undefined && reader.peek() === '"') table = reader.readText();
    else if (name === 'row' && row === undefined && reader.peek() === '{') row = reader.readRow();
    else throw notTableRow();
  });
  reader.readEnd();
  if (table === undefined || row === undefined) throw notTableRow();
  return { ...row, table };
}

function notTableRow(): OnewriterError {
  return new OnewriterError(
    'INVALID_ARGUMENT',
    'The line is not {"table":"…","row":{…}}, the form of an import that names no table.',
  );
}

class JsonReader {
  readonly #text: string;
  #at = 0;
  /** The value that was just read is a text as bytes. */
  #isRawText = false;

  constructor(text: string) {
    this.#text = text;
  }

  readRow(): JsonRow {
    const names: string[] = [];
    const values: string[] = [];
    let texts: number[] | undefined;
    this.readMembers(name => {
      names.push(name);
      values.push(this.#readValue(name));
      if (!this.#isRawText) return;
      this.#isRawText = false;
      texts ??= [];
      texts.push(values.length - 1);
    });
    return texts === undefined ? { names, values } : { names, values, texts };
  }

  /** Reads an object. @param readValue called in front of each value, which it reads */
  readMembers(readValue: (name: string) => void): void {
    if (this.peek() !== '{') throw notObject(this.peek());
    this.#at++;
    if (this.peek() === '}') {
      this.#at++;
      return;
    }
    for (let count = 1; ; count++) {
      if (count > MAX_NAMES) throw tooManyNames();
      if (this.peek() !== '"') throw this.#notJson('a name in quotes');
      const name = this.readText();
      if (this.peek() !== ':') throw this.#notJson('a colon');
      this.#at++;
      readValue(name);
      const next = this.peek();
      this.#at++;
      if (next === '}') return;
      if (next !== ',') {
        this.#at--;
        throw this.#notJson('a comma or a closing brace');
      }
    }
  }

  readEnd(): void {
    if (this.peek() !== undefined) throw this.#notJson('the end of the line');
  }

  /** The next character that is not white space. */
  peek(): string | undefined {
    const code = this.#text.charCodeAt(this.#at);
    if (code <= 32) {
      WHITESPACE.lastIndex = this.#at;
      WHITESPACE.test(this.#text);
      this.#at = WHITESPACE.lastIndex;
    }
    return this.#text[this.#at];
  }

  /** Reads a string. */
  readText(): string {
    const token = this.#takeString();
    return token.includes('\\') ? this.#unescape(token) : token.slice(1, -1);
  }

  #takeString(): string {
    const from = this.#at;
    let quote = this.#text.indexOf('"', from + 1);
    while (quote > 0 && this.#isEscaped(quote)) quote = this.#text.indexOf('"', quote + 1);
    if (quote < 0) {
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `The line is not JSON: the string that begins at character ${from + 1} does not end in this line.`,
      );
    }
    const token = this.#text.slice(from, quote + 1);
    const control = CONTROL.exec(token);
    if (control !== null) {
      this.#at = from + control.index;
      const code = control[0].charCodeAt(0).toString(16).padStart(4, '0').toUpperCase();
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `The line is not JSON: the control character U+${code} at character ${this.#at + 1} has to be written as \\u${code}.`,
      );
    }
    this.#at = quote + 1;
    return token;
  }

  #isEscaped(at: number): boolean {
    let backslashes = 0;
    while (this.#text[at - 1 - backslashes] === '\\') backslashes++;
    return backslashes % 2 === 1;
  }

  #unescape(token: string): string {
    try {
      return JSON.parse(token) as string;
    } catch {
      throw this.#notJson('a string with escapes that JSON knows');
    }
  }

  #readValue(name: string): string {
    const next = this.peek();
    if (next === '"') {
      const token = this.#takeString();
      if (!token.includes('\\')) return token;
      const text = this.#unescape(token);
      if (!text.isWellFormed()) throw refused(name, 'is a string with half of a surrogate pair');
      return JSON.stringify(text);
    }
    if (next === '{') return this.#readTagged(name);
    if (next === '[') throw refused(name, 'is an array; send it as a string where the column holds JSON');
    const word = this.#take(WORD)?.[0];
    if (word !== undefined) return word === 'null' ? 'null' : word === 'true' ? '1' : '0';
    const number = this.#take(NUMBER);
    if (number === undefined) throw this.#notJson('a value');
    const [token, fraction, exponent] = number;
    return fraction === undefined && exponent === undefined
      ? encodeDigits(name, token)
      : encodeReal(name, token);
  }

  #readTagged(name: string): string {
    const tagged = this.#take(TAGGED);
    if (tagged !== undefined) {
      const value = decodeTagged(tagged[1]!, tagged[2]!);
      if (value !== undefined) {
        this.#isRawText = tagged[1] === 't';
        return value;
      }
    }
    const buffer = this.#take(BUFFER);
    if (buffer !== undefined) {
      const bytes = decodeBytes(buffer[1]!);
      if (bytes !== undefined) return encode(bytes);
    }
    throw refused(
      name,
      'is an object that stands for no value; send it as a string where the column holds JSON, or a value as {"i":"5"}, ' +
        '{"f":"1.5"}, {"b":"<base64>"}',
    );
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return undefined;
    this.#at = pattern.lastIndex;
    return match;
  }

  #notJson(expected: string): OnewriterError {
    const found = this.peek();
    const what = found === undefined ? 'the line ends' : `there is ${JSON.stringify(found)}`;
    return new OnewriterError(
      'INVALID_ARGUMENT',
      `The line is not JSON: at character ${this.#at + 1} ${what} instead of ${expected}.`,
    );
  }
}

function encodeDigits(name: string, digits: string): string {
  if (digits.length <= SAFE_DIGITS) return digits === '-0' ? '0' : digits;
  // Beyond any double; and reading so many digits takes long.
  if (digits.length > MAX_DOUBLE_DIGITS) throw integerTooLarge(name);
  const integer = BigInt(digits);
  if (integer >= MIN_INT64 && integer <= MAX_INT64) return encode(integer);
  // Written by JavaScript it is a real; any other digits would be rounded silently.
  const real = Number(digits);
  if (String(real) === digits || (Number.isFinite(real) && BigInt(real) === integer)) return encode(real);
  throw integerTooLarge(name);
}

function integerTooLarge(name: string): OnewriterError {
  return refused(name, 'is an integer over 64 bits; send it as text, or as {"f":"…"} to have it rounded');
}

function encodeReal(name: string, token: string): string {
  const real = Number(token);
  if (!Number.isFinite(real))
    throw refused(name, 'is larger than any real; send {"f":"Infinity"} if that is meant');
  return encode(real);
}

function decodeTagged(tag: string, text: string): string | undefined {
  switch (tag) {
    case 'i': {
      if (!INTEGER_TEXT.test(text)) return undefined;
      const integer = BigInt(text);
      return integer >= MIN_INT64 && integer <= MAX_INT64 ? encode(integer) : undefined;
    }
    case 'f': {
      if (!REAL_TEXT.test(text)) return undefined;
      const real = Number(text);
      return Number.isFinite(real) || text.endsWith('Infinity') ? encode(real) : undefined;
    }
    default:
      return text.length % 4 === 0 && BASE64.test(text) ? encode(Buffer.from(text, 'base64')) : undefined;
  }
}

/** Reads a list of bytes in decimals: millions of them in one pass. @returns undefined where it is none */
function decodeBytes(list: string): Uint8Array | undefined {
  if (list.trim() === '') return new Uint8Array();
  const bytes = Buffer.allocUnsafe(Math.ceil(list.length / 2));
  let count = 0;
  let byte: number | undefined;
  let isEnded = false;
  for (let at = 0; at <= list.length; at++) {
    const code = at === list.length ? COMMA : list.charCodeAt(at);
    if (code === COMMA) {
      if (byte === undefined) return undefined;
      bytes[count++] = byte;
      byte = undefined;
      isEnded = false;
    } else if (code >= ZERO && code < ZERO + 10) {
      byte = (byte ?? 0) * 10 + code - ZERO;
      if (isEnded || byte > 255) return undefined;
    } else isEnded = byte !== undefined;
  }
  return bytes.subarray(0, count);
}

function encode(value: SqlValue): string {
  return JSON.stringify(encodeExactValue(value));
}

function tooManyNames(): OnewriterError {
  return new OnewriterError(
    'INVALID_ARGUMENT',
    `The object has more than ${MAX_NAMES} names; a table has at most ${MAX_COLUMNS} columns.`,
  );
}

function notObject(found: string | undefined): OnewriterError {
  const what = found === '[' ? 'an array' : 'something else';
  return new OnewriterError('INVALID_ARGUMENT', `The line is not a JSON object: it begins with ${what}.`);
}

function refused(name: string, why: string): OnewriterError {
  return new OnewriterError('INVALID_VALUE', `${JSON.stringify(name.slice(0, 100))} ${why}.`);
}
