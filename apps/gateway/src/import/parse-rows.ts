import { OnewriterError, type SqlParameter } from '@onewriter/protocol';
import { asOnewriterError } from '../error-response.ts';
import { parseExactJson } from '../exact-json.ts';
import { decodeJsonParameters } from '../parameter-values.ts';
import { type LineBounds, readChunks, readLines } from '../streams/read-lines.ts';
import { CsvParser, type CsvRecord } from './csv-records.ts';
import type { ImportRow } from './import-rows.ts';

type Body = ReadableStream<Uint8Array> | null;

/** What a row costs beside its texts and blobs. */
const ROW_BYTES = 64;

/** Rows of NDJSON: each line an object of column and value; values as in parameters. A bad line is a bad row. */
export async function* parseNdjsonRows(
  body: Body,
  bounds: LineBounds,
): AsyncGenerator<ImportRow, void, undefined> {
  let rows = 0;
  for await (const line of readLines(body, bounds)) {
    const closing = CLOSING_RECORD.exec(line);
    if (closing === null) {
      rows++;
      yield parseLine(line);
    } else if (Number(closing[1]) !== rows) {
      const message = `The export had ${closing[1]} rows, and ${rows} came: it is not whole.`;
      yield { error: new OnewriterError('INVALID_ARGUMENT', message) };
    }
  }
}

/** The last line of an export. */
const CLOSING_RECORD = /^\s*\{"onewriter_export":\{"rows":(\d+)[,}]/;

function parseLine(line: string): ImportRow {
  try {
    const object = parseJson(line);
    if (object === null || typeof object !== 'object' || Array.isArray(object)) {
      throw new OnewriterError('INVALID_ARGUMENT', 'The line is not a JSON object.');
    }
    const parameters = decodeJsonParameters(object) as Readonly<Record<string, SqlParameter>>;
    const columns = Object.keys(parameters);
    return { columns, values: Object.values(parameters), bytes: line.length + ROW_BYTES };
  } catch (error) {
    return { error: asOnewriterError(error) };
  }
}

function parseJson(line: string): unknown {
  try {
    return parseExactJson(line);
  } catch (cause) {
    throw new OnewriterError('INVALID_ARGUMENT', 'The line is not JSON.', {}, cause);
  }
}

/**
 * Rows of CSV: the first record has the names of the columns. A field of nothing is NULL, all others are texts, which
 * SQLite turns into numbers where the column's affinity says so.
 * @throws OnewriterError INVALID_ARGUMENT (not CSV, not UTF-8), PAYLOAD_TOO_LARGE, TIMEOUT
 */
export async function* parseCsvRows(
  body: Body,
  bounds: LineBounds,
): AsyncGenerator<ImportRow, void, undefined> {
  let columns: readonly string[] | undefined;
  for await (const record of readRecords(body, bounds)) {
    if (columns === undefined) {
      columns = record.map(name => name ?? '');
      continue;
    }
    if (record.length !== columns.length) {
      const message = `The record has ${record.length} fields, the first has ${columns.length}.`;
      yield { error: new OnewriterError('INVALID_ARGUMENT', message) };
      continue;
    }
    const bytes = record.reduce((sum, field) => sum + (field?.length ?? 0), ROW_BYTES);
    yield { columns, values: record, bytes };
  }
}

async function* readRecords(body: Body, bounds: LineBounds): AsyncGenerator<CsvRecord, void, undefined> {
  const parser = new CsvParser(bounds.maxLineBytes);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (chunk?: Uint8Array) => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch (cause) {
      throw new OnewriterError('INVALID_ARGUMENT', 'The body is not UTF-8.', {}, cause);
    }
  };
  for await (const chunk of readChunks(body, bounds)) yield* parser.push(decode(chunk));
  // What was cut off in the middle is no record.
  if (bounds.stop?.aborted) return;
  yield* parser.push(decode());
  yield* parser.end();
}
