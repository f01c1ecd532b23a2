import { OnewriterError } from '@onewriter/protocol';
import type { ImportRow as SentRow } from '@onewriter/sdk';
import type { OtherBodies } from '../bodies/other-bodies.ts';
import { isLong } from '../bodies/takes-long.ts';
import { asOnewriterError } from '../http/error-response.ts';
import { brokeOff, type LineBounds } from '../streams/read-lines.ts';
import { readClosingRecord } from './closing-record.ts';
import { CSV_SEPARATORS, CsvParser, type CsvRecord, type CsvSeparator } from './csv-records.ts';
import { type JsonRow, parseJsonRow, parseTableRow } from './json-row.ts';
import { readText } from './read-text.ts';
import { listNames, MAX_COLUMNS, type TableShape } from './table-shape.ts';
import { LineSplitter, type TextLine } from './text-lines.ts';

/** A row, or what is wrong with it; where in the file it begins, and about what it takes in memory. */
export type ParsedRow = { readonly line: number; readonly bytes: number } & (
  | { readonly row: SentRow }
  | { readonly error: OnewriterError }
);

/** Where rows come from and go to. */
export interface ParseOptions {
  readonly body: ReadableStream<Uint8Array> | null;
  readonly bounds: LineBounds;
  /** The table; undefined: each line names its own. */
  readonly table: TableShape | undefined;
  /** @throws OnewriterError NOT_FOUND, STATEMENT_NOT_ALLOWED */
  readonly findTable: (name: string) => Promise<TableShape>;
  /** Waited for in front of each slice of the text: other requests are served in between. */
  readonly nextTurn: () => Promise<void>;
  /** Has another thread parse a long line; absent: it is parsed here. @throws OnewriterError as BodyReader.readOther() */
  readonly parseApart?:
    | (<Name extends 'importRow' | 'tableRow'>(name: Name, line: string) => Promise<OtherBodies[Name]>)
    | undefined;
}

/** What a row costs beside its text. */
const ROW_BYTES = 64;
/** Text that is parsed in one turn of the event loop: a millisecond or two, with all that is done to its rows. */
const SLICE_CHARACTERS = 16 * 1024;

/**
 * Rows of NDJSON, each line an object of column and value (json-row.ts has the rules), in pieces as they arrive. A bad line is
 * a bad row.
 * @throws OnewriterError for what ends an import: not text, not NDJSON at all, a line that is too long, a file that is not whole
 */
export async function* parseNdjsonRows(options: ParseOptions): AsyncGenerator<ParsedRow[], void, undefined> {
  const { body, bounds } = options;
  const splitter = new LineSplitter(bounds.maxLineBytes);
  const parser = new NdjsonParser(options);
  yield* inPieces(
    readText(body, bounds, () => splitter),
    options,
    splitter,
    (lines, rows) => parser.parse(lines, rows),
  );
}

/** What makes units (lines, records) of text. */
export interface Splitter<Unit> {
  push(text: string, units: Unit[]): void;
  end(units: Unit[]): void;
}

/** Rows as their text arrives. An error comes after the rows in front of it. @param onEnd called when all were given out */
export async function* inPieces<Unit>(
  texts: AsyncIterable<string>,
  { bounds: { stop, gone }, nextTurn }: Pick<ParseOptions, 'bounds' | 'nextTurn'>,
  splitter: Splitter<Unit>,
  parse: (units: readonly Unit[], rows: ParsedRow[]) => Promise<void>,
  onEnd: () => void = () => {},
): AsyncGenerator<ParsedRow[], void, undefined> {
  const take = async function* (
    split: (units: Unit[]) => void,
  ): AsyncGenerator<ParsedRow[], void, undefined> {
    const units: Unit[] = [];
    const rows: ParsedRow[] = [];
    let failure: { readonly error: unknown } | undefined;
    try {
      split(units);
    } catch (error) {
      failure = { error };
    }
    try {
      await parse(units, rows);
    } catch (error) {
      failure = { error };
    }
    if (rows.length > 0) yield rows;
    if (failure !== undefined) throw failure.error;
  };
  for await (const text of texts) {
    for (let from = 0; from < text.length; from += SLICE_CHARACTERS) {
      await nextTurn();
      if (gone?.aborted) throw brokeOff(gone.reason);
      const slice = text.slice(from, from + SLICE_CHARACTERS);
      yield* take(units => splitter.push(slice, units));
    }
  }
  // What was cut off in the middle is no row.
  if (stop?.aborted) return;
  yield* take(units => splitter.end(units));
  onEnd();
}

class NdjsonParser {
  readonly #table: TableShape | undefined;
  readonly #findTable: ParseOptions['findTable'];
  readonly #parseApart: ParseOptions['parseApart'];
  readonly #tables = new Map<string, TableShape>();
  #rows = 0;
  #begun = false;
  /** Line of the record that closes an export. */
  #closedAt: number | undefined;

  constructor({ table, findTable, parseApart }: ParseOptions) {
    this.#table = table;
    this.#findTable = findTable;
    this.#parseApart = parseApart;
  }

  async parse(lines: readonly TextLine[], rows: ParsedRow[]): Promise<void> {
    for (const { line, text } of lines) {
      if (!this.#begun) assertNdjson(text, line);
      this.#begun = true;
      if (this.#closedAt !== undefined) {
        throw atLine(
          line,
          `There is a line behind the end of the export, which is in line ${this.#closedAt}.`,
        );
      }
      const closing = readClosingRecord(text);
      if (closing !== undefined) {
        this.#closedAt = line;
        if (closing !== this.#rows) {
          throw atLine(
            line,
            `The file is not whole: ${this.#rows} rows are in front of the record that closes it, which says ${closing}.`,
          );
        }
        continue;
      }
      this.#rows++;
      const bytes = text.length + ROW_BYTES;
      try {
        rows.push({ line, bytes, row: await this.#parseLine(text) });
      } catch (thrown) {
        const error = asOnewriterError(thrown);
        // The table could not be looked at: that is not about the line.
        if (error.retryable || error.status >= 500) throw error;
        rows.push({ line, bytes, error });
      }
    }
  }

  async #parseLine(text: string): Promise<SentRow> {
    const apart = isLong(text) ? this.#parseApart : undefined;
    if (this.#table !== undefined)
      return toRow(this.#table, (await apart?.('importRow', text)) ?? parseJsonRow(text));
    const { table: name, ...row } = (await apart?.('tableRow', text)) ?? parseTableRow(text);
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = await this.#findTable(name);
      this.#tables.set(name, table);
    }
    return toRow(table, row);
  }
}

function toRow(table: TableShape, { names, values, texts }: JsonRow): SentRow {
  return { sql: table.insert(names, texts), values: values.join() };
}

/** @throws OnewriterError INVALID_ARGUMENT where the first line shows that it is another format */
function assertNdjson(text: string, line: number): void {
  const first = text.trimStart();
  if (first.startsWith('[')) {
    throw atLine(
      line,
      `Line ${line} begins with "[": this is a JSON array, and NDJSON has one object on each line. Convert it first (jq -c '.[]').`,
    );
  }
  if (first.trimEnd() === '{') {
    throw atLine(
      line,
      `Line ${line} has "{" alone: this is JSON over several lines, and NDJSON has each object on one line. Convert it first (jq -c .).`,
    );
  }
  if (!first.startsWith('{')) {
    throw atLine(
      line,
      `Line ${line} does not begin with "{": this is not NDJSON, which has one object on each line.`,
    );
  }
}

/**
 * Rows of CSV: the first record has the names of the columns. A field of nothing is NULL, all others are texts, which SQLite
 * turns into numbers where the column's affinity says so.
 * @throws OnewriterError for what ends an import: not text, not CSV, a header that does not fit the table
 */
export async function* parseCsvRows(
  options: ParseOptions & { readonly table: TableShape; readonly separator: CsvSeparator },
): AsyncGenerator<ParsedRow[], void, undefined> {
  const { body, bounds, table, separator } = options;
  const parser = new CsvParser(bounds.maxLineBytes, separator);
  let columns: readonly string[] | undefined;
  let sql = '';
  const parse = async (records: readonly CsvRecord[], rows: ParsedRow[]) => {
    for (const { line, fields, count } of records) {
      if (columns === undefined) {
        if (count > fields.length) throw tooManyFields(line, count);
        columns = fields.map(name => name ?? '');
        sql = insertOf(table, columns, line, separator);
        continue;
      }
      const bytes = fields.reduce((sum, field) => sum + (field?.length ?? 0), ROW_BYTES);
      if (count === columns.length) {
        const values = fields.map(field => (field === null ? 'null' : JSON.stringify(field))).join();
        rows.push({ line, bytes, row: { sql, values } });
      } else {
        const message = `The record has ${count} fields, the first has ${columns.length}.`;
        rows.push({ line, bytes, error: new OnewriterError('INVALID_ARGUMENT', message) });
      }
    }
  };
  yield* inPieces(
    readText(body, bounds, () => parser),
    options,
    parser,
    parse,
  );
  if (columns === undefined && !bounds.stop?.aborted) {
    throw atLine(1, 'The file is empty: CSV begins with a record that names the columns.');
  }
}

/** @throws OnewriterError INVALID_ARGUMENT where the header does not fit the table */
function insertOf(
  table: TableShape,
  columns: readonly string[],
  line: number,
  separator: CsvSeparator,
): string {
  if (columns.some(name => name.includes('\0'))) {
    throw atLine(
      line,
      'The header has a NUL character: the file is perhaps UTF-16. Convert it first (iconv -f UTF-16 -t UTF-8).',
    );
  }
  try {
    return table.insert(columns);
  } catch (error) {
    const { message } = asOnewriterError(error);
    throw atLine(line, `The header in line ${line} does not fit. ${message}${hint(columns, separator)}`);
  }
}

function tooManyFields(line: number, count: number): OnewriterError {
  const message = `The header in line ${line} has ${count} fields; a table has at most ${MAX_COLUMNS} columns.`;
  return atLine(line, message);
}

/** Guesses why a header of one field does not fit. */
function hint(columns: readonly string[], separator: CsvSeparator): string {
  const [only, second] = columns;
  if (second !== undefined || only === undefined) return '';
  if (/^[[{]/.test(only)) return ' The file looks like JSON, not CSV.';
  const other = (Object.keys(CSV_SEPARATORS) as CsvSeparator[]).find(
    name => name !== separator && only.includes(CSV_SEPARATORS[name]),
  );
  if (other === undefined) return '';
  return ` Its fields look separated by ${other}: send it with separator=${other} (--separator ${other}); the columns would be ${listNames(only.split(CSV_SEPARATORS[other]))}.`;
}

function atLine(line: number, message: string): OnewriterError {
  return new OnewriterError('INVALID_ARGUMENT', message, { line });
}
