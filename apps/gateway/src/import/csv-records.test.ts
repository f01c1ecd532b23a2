import { describe, expect, it } from 'vitest';
import { CsvParser, type CsvRecord, type CsvSeparator } from './csv-records.ts';

/** Parses in pieces of every size: a piece may end anywhere. */
function parse(text: string, separator: CsvSeparator = 'comma') {
  const results = [1, 2, 3, text.length].map(size => {
    const parser = new CsvParser(1_000, separator);
    const records: CsvRecord[] = [];
    for (let start = 0; start < text.length; start += size) {
      parser.push(text.slice(start, start + size), records);
    }
    parser.end(records);
    return records;
  });
  for (const result of results) expect(result).toEqual(results[0]);
  return results[0]!;
}

const fieldsOf = (text: string, separator?: CsvSeparator) =>
  parse(text, separator).map(({ fields }) => fields);

describe('CsvParser', () => {
  it.each<[string, unknown]>([
    [
      'a,b\r\n1,2\r\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    ['a\nb', [['a'], ['b']]],
    ['a\rb\r', [['a'], ['b']]],
    ['"a ""b"", c","d\r\ne"\n', [['a "b", c', 'd\r\ne']]],
    [',"",x', [[null, '', 'x']]],
    [
      'a,\n,b\n',
      [
        ['a', null],
        [null, 'b'],
      ],
    ],
    ['\n\r\n\na,b\n\n', [['a', 'b']]],
    ['a"b,c', [['a"b', 'c']]],
    ['007, x ,1e3', [['007', ' x ', '1e3']]],
    ['a\0b,c', [['a\0b', 'c']]],
    ['', []],
    // With one column an empty line is an empty field; the line end of the last record is none.
    ['a\n1\n\n""\n', [['a'], ['1'], [null], ['']]],
    ['a\r\n\r\n', [['a'], [null]]],
  ])('reads %j', (text, records) => {
    expect(fieldsOf(text)).toEqual(records);
  });

  it('takes other separators', () => {
    expect(fieldsOf('a;b,c\n"x;y";\n', 'semicolon')).toEqual([
      ['a', 'b,c'],
      ['x;y', null],
    ]);
    expect(fieldsOf('a\tb c\t\n', 'tab')).toEqual([['a', 'b c', null]]);
  });

  it('knows in which line a record begins', () => {
    expect(parse('a,b\r\n"x\r\ny\nz\rw",1\n\n\r2,3\r\n4,5').map(({ line }) => line)).toEqual([1, 2, 8, 9]);
  });

  it('refuses what is not CSV, and names the line', () => {
    expect(() => parse('x,y\n"a"b')).toThrow(/^Line 2: after a closing quote comes neither a "," nor/);
    expect(() => parse('x\n"a\n\n"\n"b\nc\nd')).toThrow(/inside a quoted field that begins in line 5/);
    expect(() => new CsvParser(10).push(`a\n"${'x'.repeat(20)}`, [])).toThrow(
      /begins in line 2 has more than 10 .*quote in line 2/,
    );
    expect(() => new CsvParser(10).push('x'.repeat(20), [])).toThrow(/more than 10/);
  });

  it('counts the fields of a record, and keeps those that a table can have', () => {
    const records: CsvRecord[] = [];
    new CsvParser(1_000_000).push(`${','.repeat(500_000)}\na,b\n`, records);
    expect(records.map(({ fields, count }) => [fields.length, count])).toEqual([
      [2_000, 500_001],
      [2, 2],
    ]);
  });

  it('gives out the records in front of an error', () => {
    const records: CsvRecord[] = [];
    expect(() => new CsvParser(100).push('a,b\n1,2\n"x"y', records)).toThrow('Line 3');
    expect(records.map(({ fields }) => fields)).toEqual([
      ['a', 'b'],
      ['1', '2'],
    ]);
  });
});
