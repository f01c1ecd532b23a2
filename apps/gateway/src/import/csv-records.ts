import { OnewriterError } from '@onewriter/protocol';
import { MAX_COLUMNS } from './table-shape.ts';

/** A record of CSV. */
export interface CsvRecord {
  /** The line where it begins, from 1. */
  readonly line: number;
  /** null is a field of nothing, which is not the empty text `""`. */
  readonly fields: readonly (string | null)[];
  /** How many fields it has: of more than {@link MAX_FIELDS} only the first are kept. */
  readonly count: number;
}

/** Fields that are kept of a record: no table has more columns, and a record may have millions. */
export const MAX_FIELDS = MAX_COLUMNS;

/** What stands between two fields. */
export const CSV_SEPARATORS = Object.freeze({ comma: ',', semicolon: ';', tab: '\t' });
export type CsvSeparator = keyof typeof CSV_SEPARATORS;

/**
 * Reads CSV as it arrives. Source: RFC 4180; also lines that end with LF or CR alone. An empty line is no record, but where
 * the first record has one field only: there it is a field of nothing.
 *
 *   start ──"──▶ quoted ──"──▶ quote ──"──▶ quoted
 *     │                          │ separator or end of line
 *     └──other──▶ plain ─────────┴──▶ the next field or record
 */
export class CsvParser {
  /** The line that is being read. */
  line = 1;
  readonly #maxRecordCharacters: number;
  readonly #separator: string;
  readonly #endOfField: RegExp;
  #state: 'start' | 'plain' | 'quoted' | 'quote' = 'start';
  #field = '';
  #fields: (string | null)[] = [];
  #count = 0;
  #size = 0;
  #recordLine = 1;
  #quoteLine = 1;
  #afterReturn = false;
  #oneColumn: boolean | undefined;

  constructor(maxRecordCharacters: number, separator: CsvSeparator = 'comma') {
    this.#maxRecordCharacters = maxRecordCharacters;
    this.#separator = CSV_SEPARATORS[separator];
    this.#endOfField = new RegExp(`[${this.#separator}\r\n]`, 'g');
  }

  /**
   * Takes a piece of text.
   * @param records gets those that it completes, also where it then fails
   * @throws OnewriterError PAYLOAD_TOO_LARGE, INVALID_ARGUMENT
   */
  push(text: string, records: CsvRecord[]): void {
    for (let index = 0; index < text.length; index++) {
      // The end of a line is CR LF, LF or CR.
      if (this.#afterReturn) {
        this.#afterReturn = false;
        if (text[index] === '\n') {
          // In a quoted field it belongs to the text, as the CR before it.
          if (this.#state === 'quoted') this.#field += '\n';
          continue;
        }
      }
      if (this.#state === 'quoted') {
        index = this.#takeQuoted(text, index);
        continue;
      }
      const character = text[index]!;
      if (character === this.#separator) {
        this.#endField();
      } else if (character === '\n' || character === '\r') {
        this.#afterReturn = character === '\r';
        this.#endRecord(records);
      } else if (character === '"' && this.#state === 'start') {
        this.#state = 'quoted';
        this.#quoteLine = this.line;
      } else if (character === '"' && this.#state === 'quote') {
        this.#field += '"';
        this.#state = 'quoted';
      } else if (this.#state === 'quote') {
        const message = `Line ${this.line}: after a closing quote comes neither a ${this.#separatorName} nor the end of the line.`;
        throw new OnewriterError('INVALID_ARGUMENT', message, { line: this.line });
      } else {
        index = this.#takePlain(text, index) - 1;
      }
    }
    if (this.#size + this.#field.length > this.#maxRecordCharacters) throw this.#tooLarge();
  }

  /** The last record, where the text does not end with a line end. @throws OnewriterError INVALID_ARGUMENT */
  end(records: CsvRecord[]): void {
    if (this.#state === 'quoted') {
      const line = this.#quoteLine;
      throw new OnewriterError(
        'INVALID_ARGUMENT',
        `The file ends inside a quoted field that begins in line ${line}.`,
        {
          line,
        },
      );
    }
    if (this.#fields.length > 0 || this.#state !== 'start') this.#endRecord(records);
  }

  /** Takes all up to the end of the field at once. @returns where that is */
  #takePlain(text: string, from: number): number {
    this.#state = 'plain';
    this.#endOfField.lastIndex = from;
    const end = this.#endOfField.exec(text)?.index ?? text.length;
    this.#field += text.slice(from, end);
    return end;
  }

  /** Takes all up to the next quote or end of line at once. @returns the last character that was taken */
  #takeQuoted(text: string, from: number): number {
    const quote = text.indexOf('"', from);
    const end = quote < 0 ? text.length : quote;
    const taken = text.slice(from, end);
    this.#field += taken;
    for (const [lineEnd] of taken.matchAll(/\r\n|\n|\r/g)) {
      this.line++;
      this.#afterReturn = lineEnd === '\r';
    }
    this.#afterReturn &&= quote < 0 && taken.endsWith('\r');
    if (this.#size + this.#field.length > this.#maxRecordCharacters) throw this.#tooLarge();
    if (quote >= 0) this.#state = 'quote';
    return end;
  }

  #endField(): void {
    if (this.#count++ < MAX_FIELDS) {
      this.#fields.push(this.#state === 'start' ? null : this.#field);
      this.#size += this.#field.length;
    }
    this.#field = '';
    this.#state = 'start';
  }

  #endRecord(records: CsvRecord[]): void {
    const empty = this.#fields.length === 0 && this.#state === 'start';
    if (!empty || this.#oneColumn === true) {
      this.#endField();
      records.push({ line: this.#recordLine, fields: this.#fields, count: this.#count });
      this.#oneColumn ??= this.#fields.length === 1;
    }
    this.#fields = [];
    this.#count = 0;
    this.#size = 0;
    this.line++;
    this.#recordLine = this.line;
  }

  get #separatorName(): string {
    return this.#separator === '\t' ? 'tab' : `"${this.#separator}"`;
  }

  #tooLarge(): OnewriterError {
    const line = this.#recordLine;
    const quoted =
      this.#state === 'quoted' ? `, with a quote in line ${this.#quoteLine} that is not closed` : '';
    return new OnewriterError(
      'PAYLOAD_TOO_LARGE',
      `The record that begins in line ${line} has more than ${this.#maxRecordCharacters} characters${quoted}.`,
      { line },
    );
  }
}
