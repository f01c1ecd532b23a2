import { gzipSync } from 'node:zlib';
import { OnewriterError } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import type { CsvSeparator } from './csv-records.ts';
import { type ParsedRow, parseCsvRows, parseNdjsonRows } from './parse-rows.ts';
import { TableShape } from './table-shape.ts';

const COLUMNS = ['id', 'Name', 'n'].map(name => ({ name, hidden: 0 }));
const TABLE = new TableShape('t', [...COLUMNS, { name: 'g', hidden: 2 }], true, 'reject');

/** A body in pieces of a size. */
function bodyOf(bytes: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) controller.close();
      else controller.enqueue(bytes.subarray(at, at + size));
      at += size;
    },
  });
}

interface Outcome {
  readonly rows: readonly unknown[];
  readonly failure: string | undefined;
}

async function collect(pieces: AsyncIterable<readonly ParsedRow[]>): Promise<Outcome> {
  const rows: unknown[] = [];
  try {
    for await (const piece of pieces) {
      for (const row of piece) {
        rows.push('row' in row ? [row.line, row.row.values] : [row.line, row.error.code, row.error.message]);
      }
    }
    return { rows, failure: undefined };
  } catch (error) {
    if (!(error instanceof OnewriterError)) throw error;
    return { rows, failure: `${error.code} ${error.message}` };
  }
}

/** The same for pieces of every size. */
async function parse(
  content: string | Uint8Array,
  how: 'ndjson' | 'tables' | CsvSeparator,
): Promise<Outcome> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const outcomes: Outcome[] = [];
  for (const size of [1, 7, bytes.length + 1]) {
    const options = {
      body: bodyOf(bytes, size),
      bounds: { maxLineBytes: 10_000, idleTimeoutMs: 10_000 },
      nextTurn: async () => {},
      table: how === 'tables' ? undefined : TABLE,
      findTable: async (name: string) => {
        if (name === 't') return TABLE;
        throw new OnewriterError('NOT_FOUND', `no ${name}`);
      },
    };
    outcomes.push(
      await collect(
        how === 'ndjson' || how === 'tables'
          ? parseNdjsonRows(options)
          : parseCsvRows({ ...options, table: TABLE, separator: how }),
      ),
    );
  }
  for (const outcome of outcomes) expect(outcome).toEqual(outcomes[0]);
  return outcomes[0]!;
}

const ndjson = (content: string | Uint8Array) => parse(content, 'ndjson');
const csv = (content: string | Uint8Array, separator: CsvSeparator = 'comma') => parse(content, separator);

describe('parseNdjsonRows', () => {
  it('counts lines, whatever they end with, and takes a byte-order mark', async () => {
    const { rows, failure } = await ndjson('\uFEFF{"id":1}\r\n\r\n{"id":2}\r{"id":3}\n\n{"id":4}');
    expect(rows).toEqual([
      [1, '1'],
      [3, '2'],
      [4, '3'],
      [6, '4'],
    ]);
    expect(failure).toBeUndefined();
  });

  it('refuses a bad line alone', async () => {
    const { rows } = await ndjson(
      '{"id":1}\nnonsense\n{"id":1,"name":2,"NAME":3}\n{"id":1,"x":2}\n{"g":1}\n{"id":[1]}',
    );
    expect(rows).toEqual([
      [1, '1'],
      [2, 'INVALID_ARGUMENT', expect.stringContaining('not a JSON object')],
      [3, 'INVALID_ARGUMENT', 'Two fields are for one column: "name" and "NAME".'],
      [4, 'INVALID_ARGUMENT', 'The table "t" has no column "x"; its columns are "id", "Name", "n".'],
      [5, 'INVALID_ARGUMENT', expect.stringContaining('SQLite makes the values of "g"')],
      [6, 'INVALID_VALUE', expect.stringContaining('"id" is an array')],
    ]);
  });

  it.each<[what: string, content: string | Uint8Array, failure: RegExp]>([
    [
      'a JSON array',
      '[\n  {"id":1},\n  {"id":2}\n]\n',
      /^INVALID_ARGUMENT Line 1 begins with "\[": this is a JSON array/,
    ],
    ['an array on one line', '\n[{"id":1}]', /Line 2 begins with "\["/],
    ['JSON over several lines', '{\n "id":1\n}', /Line 1 has "\{" alone/],
    ['CSV', 'id,name\n1,2', /Line 1 does not begin with "\{"/],
    ['gzip', gzipSync('{"id":1}'), /The file is gzip, not UTF-8 text\. Unpack it first/],
    ['UTF-16', Buffer.from('\uFEFF{"id":1}', 'utf16le'), /The file is UTF-16, not/],
    ['UTF-16 without a mark', Buffer.from('{"id":1}', 'utf16le'), /UTF-16 without a byte-order mark/],
    ['a spreadsheet', Buffer.from('PK\x03\x04 and so on and so on'), /a ZIP archive/],
    ['a database', Buffer.from('SQLite format 3\0 and so on'), /a SQLite database/],
  ])('names %s', async (_what, content, failure) => {
    const outcome = await ndjson(content);
    expect(outcome.failure).toMatch(failure);
    expect(outcome.rows).toEqual([]);
  });

  it('names the line that is not UTF-8, behind the rows in front of it', async () => {
    const content = Buffer.concat([
      Buffer.from('{"id":"ü🧵"}\n{"id":"'),
      Buffer.of(0xfc),
      Buffer.from('"}\n{"id":3}'),
    ]);
    expect(await ndjson(content)).toEqual({
      rows: [[1, '"ü🧵"']],
      failure: expect.stringContaining('Line 2 is not UTF-8'),
    });
    const cut = Buffer.concat([Buffer.from('{"id":1}\n{"id":"'), Buffer.of(0xf0, 0x9f)]);
    expect((await ndjson(cut)).failure).toContain('Line 2 is not UTF-8');
  });

  it('knows the table of each line where none is given', async () => {
    const { rows } = await parse(
      '{"table":"t","row":{"id":1}}\n{"table":"u","row":{"id":2}}\n{"id":3}',
      'tables',
    );
    expect(rows).toEqual([
      [1, '1'],
      [2, 'NOT_FOUND', 'no u'],
      [3, 'INVALID_ARGUMENT', expect.stringContaining('{"table":"…","row":{…}}')],
    ]);
  });

  it('checks the record that closes an export', async () => {
    const rows = '{"id":1}\n{"id":2}\n';
    expect(await ndjson(`${rows}{"onewriter_export":{"rows":2,"omitted":[{"table":"x"}]}}\n`)).toEqual({
      rows: [
        [1, '1'],
        [2, '2'],
      ],
      failure: undefined,
    });
    const cut = await ndjson(`${rows}{"onewriter_export":{"rows":3}}`);
    expect(cut.failure).toBe(
      'INVALID_ARGUMENT The file is not whole: 2 rows are in front of the record that closes it, which says 3.',
    );
    expect(cut.rows).toHaveLength(2);
    const behind = await ndjson(`${rows}{"onewriter_export":{"rows":2}}\n{"id":3}`);
    expect(behind.failure).toBe(
      'INVALID_ARGUMENT There is a line behind the end of the export, which is in line 3.',
    );
    expect((await ndjson('{"onewriter_export":5}')).rows).toEqual([
      [1, 'INVALID_ARGUMENT', expect.any(String)],
    ]);
    expect((await parse('{"onewriter_export":{"rows":0}}', 'tables')).failure).toBeUndefined();
  });

  it('knows the record that closes an export from the rows of a table with a column of its name', async () => {
    const table = new TableShape('t', [{ name: 'onewriter_export', hidden: 0 }], true, 'reject');
    const content =
      '{"onewriter_export":"{\\"rows\\":1}"}\n{"onewriter_export":{"i":"5"}}\n{"onewriter_export":{"rows":2}}\n';
    const bounds = { maxLineBytes: 1_000, idleTimeoutMs: 10_000 };
    const body = bodyOf(Buffer.from(content), 7);
    const options = { body, bounds, table, findTable: async () => table, nextTurn: async () => {} };
    expect(await collect(parseNdjsonRows(options))).toEqual({
      rows: [
        [1, '"{\\"rows\\":1}"'],
        [2, '5'],
      ],
      failure: undefined,
    });
  });

  it('takes a turn of the event loop for each slice, and none any more when its sender is gone', async () => {
    const line = '{"id":1,"name":"äöü"}\n';
    const content = Buffer.from(line.repeat(10_000));
    const gone = new AbortController();
    let turns = 0;
    let largest = 0;
    let rows = 0;
    const read = async (lastTurn: number) => {
      for await (const piece of parseNdjsonRows({
        body: bodyOf(content, content.length),
        bounds: { maxLineBytes: 1_000, idleTimeoutMs: 10_000, gone: gone.signal },
        table: TABLE,
        findTable: async () => TABLE,
        nextTurn: async () => {
          if (++turns === lastTurn) gone.abort();
        },
      })) {
        largest = Math.max(largest, piece.length);
        rows += piece.length;
      }
    };
    await read(Number.POSITIVE_INFINITY);
    expect(rows).toBe(10_000);
    expect(turns).toBeGreaterThanOrEqual((10_000 * line.length) / (16 * 1024));
    expect(largest).toBeLessThanOrEqual((16 * 1024) / line.length + 1);
    [turns, rows] = [0, 0];
    await expect(read(3)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(turns).toBe(3);
    expect(rows).toBeLessThanOrEqual(2 * largest);
  });

  it('stores text that is not UTF-8 through a blob', () => {
    expect(TABLE.insert(['id', 'n'], [1])).toBe('INSERT INTO "t" ("id", "n") VALUES (?, CAST(? AS TEXT))');
    expect(TABLE.insert(['id', 'n'])).toBe('INSERT INTO "t" ("id", "n") VALUES (?, ?)');
  });

  it('takes the names of the rowid for one column', () => {
    const keyed = new TableShape(
      't',
      [
        { name: 'id', hidden: 0 },
        { name: 'x', hidden: 0 },
      ],
      true,
      'reject',
      'id',
    );
    for (const fields of [
      ['id', 'rowid'],
      ['ROWID', 'Id'],
      ['oid', 'x', 'rowid'],
    ]) {
      expect(() => keyed.insert(fields), fields.join()).toThrow('Two fields are for one column');
    }
    expect(keyed.insert(['rowid', 'x'])).toContain('("rowid", "x")');
  });

  it('bounds a line', async () => {
    const { rows, failure } = await ndjson(`{"id":1}\n{"id":"${'x'.repeat(20_000)}"}`);
    expect(rows).toEqual([[1, '1']]);
    expect(failure).toBe('PAYLOAD_TOO_LARGE Line 2 has more than 10000 characters.');
  });
});

it('has long lines of NDJSON parsed elsewhere, in their place', async () => {
  const long = `{"id":2,"name":"${'x'.repeat(70_000)}"}`;
  const text = `{"id":1}\n${long}\n{"id":3}\n`;
  const apart: string[] = [];
  const { rows } = await collect(
    parseNdjsonRows({
      body: bodyOf(Buffer.from(text), 10_000),
      bounds: { maxLineBytes: 100_000, idleTimeoutMs: 10_000 },
      nextTurn: async () => {},
      table: TABLE,
      findTable: async () => TABLE,
      parseApart: async (_, line) => {
        apart.push(line);
        return { table: 't', names: ['id'], values: ['"elsewhere"'] };
      },
    }),
  );
  expect(rows).toEqual([
    [1, '1'],
    [2, '"elsewhere"'],
    [3, '3'],
  ]);
  expect(apart).toEqual([long]);
});

describe('parseCsvRows', () => {
  it('refuses a header of more fields than a table can have columns', async () => {
    expect((await csv(`${'a,'.repeat(2_500)}\n1`)).failure).toBe(
      'INVALID_ARGUMENT The header in line 1 has 2501 fields; a table has at most 2000 columns.',
    );
    const { rows } = await csv(`id,n\n${','.repeat(2_500)}\n1,2\n`);
    expect(rows).toEqual([
      [2, 'INVALID_ARGUMENT', 'The record has 2501 fields, the first has 2.'],
      [3, '"1","2"'],
    ]);
  });

  it('takes a header in any case, and names the line of each record', async () => {
    expect(await csv('\uFEFFNAME,id\r\n"a\r\nb",1\r\n,""\r\n1,2,3\r\n4\r\n')).toEqual({
      rows: [
        [2, '"a\\r\\nb","1"'],
        [4, 'null,""'],
        [5, 'INVALID_ARGUMENT', 'The record has 3 fields, the first has 2.'],
        [6, 'INVALID_ARGUMENT', 'The record has 1 fields, the first has 2.'],
      ],
      failure: undefined,
    });
  });

  it.each<[what: string, content: string | Uint8Array, failure: RegExp]>([
    [
      'one column twice',
      'id,name,NAME\n1,2,3',
      /^INVALID_ARGUMENT The header in line 1 does not fit\. Two fields are for one column: "name" and "NAME"\./,
    ],
    [
      'an unknown column',
      '\nid,x y,z\n1,2,3',
      /The header in line 2 .* no column "x y", "z"; its columns are "id", "Name", "n"/,
    ],
    ['an empty name', 'id,\n1,2', /no column ""/],
    ['a generated column', 'id,g\n1,2', /SQLite makes the values of "g"/],
    [
      'semicolons',
      'id;name;n\n1;2;3',
      /separated by semicolon: send it with separator=semicolon \(--separator semicolon\); the columns would be "id", "name", "n"/,
    ],
    ['tabs', 'id\tname\n1\t2', /separated by tab: send it with separator=tab/],
    ['JSON', '{"id":1}\n', /looks like JSON/],
    ['a JSON array', '[\n{"id":1}]', /looks like JSON/],
    ['an empty file', '', /^INVALID_ARGUMENT The file is empty: CSV begins with a record that names/],
    ['a file of empty lines', '\r\n\n', /The file is empty/],
    ['gzip', gzipSync('id\n1'), /gzip/],
    ['UTF-16', Buffer.from('\uFEFFid,name\n1,2', 'utf16le').swap16(), /UTF-16/],
    ['UTF-16 without a mark', Buffer.from('id,name\n1,2', 'utf16le'), /UTF-16/],
    ['a quote that is not closed', 'id,name\n1,"x\n2,y\n', /inside a quoted field that begins in line 2/],
  ])('names %s, and gives out no row', async (_what, content, failure) => {
    const outcome = await csv(content);
    expect(outcome.failure).toMatch(failure);
    expect(outcome.rows).toEqual([]);
  });

  it('names the line that is not UTF-8', async () => {
    const content = Buffer.concat([Buffer.from('id,name\n1,a\n2,M'), Buffer.of(0xfc), Buffer.from('ller\n')]);
    expect(await csv(content)).toEqual({
      rows: [[2, '"1","a"']],
      failure: expect.stringContaining('Line 3 is not'),
    });
  });

  it('takes rowid, and separators', async () => {
    expect((await csv('rowid;name\n7;x', 'semicolon')).rows).toEqual([[2, '"7","x"']]);
    expect((await csv('id\tn\n1\t\n', 'tab')).rows).toEqual([[2, '"1",null']]);
  });
});
