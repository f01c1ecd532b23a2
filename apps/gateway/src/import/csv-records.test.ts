import { describe, expect, it } from 'vitest';
import { CsvParser } from './csv-records.ts';

/** Parses in pieces of every size: a piece may end anywhere. */
function parse(text: string) {
  const results = [1, 2, 3, text.length].map(size => {
    const parser = new CsvParser(1_000);
    const records = [];
    for (let start = 0; start < text.length; start += size) {
      records.push(...parser.push(text.slice(start, start + size)));
    }
    return [...records, ...parser.end()];
  });
  for (const result of results) expect(result).toEqual(results[0]);
  return results[0];
}

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
    ['\n\r\n\na\n\n', [['a']]],
    ['a"b,c', [['a"b', 'c']]],
    ['', []],
  ])('reads %j', (text, records) => {
    expect(parse(text)).toEqual(records);
  });

  it('refuses what is not CSV', () => {
    expect(() => parse('"a"b')).toThrow(/closing quote/);
    expect(() => parse('"a')).toThrow(/inside/);
    expect(() => new CsvParser(10).push(`"${'x'.repeat(20)}`)).toThrow(/more than 10/);
    expect(() => new CsvParser(10).push('x'.repeat(20))).toThrow(/more than 10/);
  });
});
