import { OnewriterError } from '@onewriter/protocol';

/** A record of CSV; null is a field of nothing, which is not the empty text `""`. */
export type CsvRecord = readonly (string | null)[];

/**
 * Reads CSV as it arrives. Source: RFC 4180; also lines that end with LF alone, and a byte-order mark.
 *
 *   start ──"──▶ quoted ──"──▶ quote ──"──▶ quoted
 *     │                          │ , or end of line
 *     └──other──▶ plain ─────────┴──▶ the next field or record
 */
export class CsvParser {
  readonly #maxRecordCharacters: number;
  #state: 'start' | 'plain' | 'quoted' | 'quote' = 'start';
  #field = '';
  #record: (string | null)[] = [];
  #size = 0;
  #afterReturn = false;

  constructor(maxRecordCharacters: number) {
    this.#maxRecordCharacters = maxRecordCharacters;
  }

  /** The records that this piece of text completes. @throws OnewriterError PAYLOAD_TOO_LARGE, INVALID_ARGUMENT */
  push(text: string): CsvRecord[] {
    const records: CsvRecord[] = [];
    for (let index = 0; index < text.length; index++) {
      const character = text[index]!;
      // The end of a line is CR LF, LF or CR.
      if (this.#afterReturn) {
        this.#afterReturn = false;
        if (character === '\n') continue;
      }
      if (this.#state === 'quoted') {
        index = this.#takeQuoted(text, index);
      } else if (character === ',') {
        this.#endField();
      } else if (character === '\n' || character === '\r') {
        this.#afterReturn = character === '\r';
        this.#endRecord(records);
      } else if (character === '"' && this.#state === 'start') {
        this.#state = 'quoted';
      } else if (character === '"' && this.#state === 'quote') {
        this.#field += '"';
        this.#state = 'quoted';
      } else if (this.#state === 'quote') {
        throw new OnewriterError('INVALID_ARGUMENT', 'The CSV has a character after a closing quote.');
      } else {
        this.#state = 'plain';
        this.#field += character;
      }
    }
    if (this.#size + this.#field.length > this.#maxRecordCharacters) throw this.#tooLarge();
    return records;
  }

  /** The last record, where the text does not end with a line end. @throws OnewriterError INVALID_ARGUMENT */
  end(): CsvRecord[] {
    if (this.#state === 'quoted') {
      throw new OnewriterError('INVALID_ARGUMENT', 'The CSV ends inside a quoted field.');
    }
    const records: CsvRecord[] = [];
    this.#endRecord(records);
    return records;
  }

  /** Takes all up to the next quote at once. @returns where it ended */
  #takeQuoted(text: string, from: number): number {
    const quote = text.indexOf('"', from);
    const end = quote < 0 ? text.length : quote;
    this.#field += text.slice(from, end);
    if (this.#size + this.#field.length > this.#maxRecordCharacters) throw this.#tooLarge();
    if (quote >= 0) this.#state = 'quote';
    return end;
  }

  #endField(): void {
    this.#record.push(this.#state === 'start' ? null : this.#field);
    this.#size += this.#field.length;
    this.#field = '';
    this.#state = 'start';
  }

  #endRecord(records: CsvRecord[]): void {
    // An empty line is no record.
    if (this.#record.length > 0 || this.#state !== 'start') {
      this.#endField();
      records.push(this.#record);
    }
    this.#record = [];
    this.#size = 0;
  }

  #tooLarge(): OnewriterError {
    return new OnewriterError(
      'PAYLOAD_TOO_LARGE',
      `A record of the CSV has more than ${this.#maxRecordCharacters} characters.`,
    );
  }
}
