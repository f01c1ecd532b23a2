import { decodeExactValue, type SqlValue, type WireValue } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { startCpuClock } from '../../test-support/cpu-clock.ts';
import { parseJsonRow, parseTableRow } from './json-row.ts';

/** The value of `{"v":<json>}` as it is bound. */
function boundValue(json: string): SqlValue {
  const { names, values } = parseJsonRow(`{"v":${json}}`);
  expect(names).toEqual(['v']);
  return decodeExactValue(JSON.parse(values[0]!) as WireValue);
}

/** What SQLite stores in a column of each affinity, as `typeof: quoted`. */
function stored(bind: (db: Database.Database) => void): readonly string[] {
  const db = new Database(':memory:');
  db.exec('CREATE TABLE t(x TEXT, i INTEGER, r REAL, n NUMERIC, b)');
  bind(db);
  const row = db
    .prepare(
      `SELECT ${['x', 'i', 'r', 'n', 'b'].map(name => `typeof(${name}) || ': ' || quote(${name})`).join()} FROM t`,
    )
    .raw()
    .get() as string[];
  db.close();
  return row;
}

describe('a JSON value', () => {
  // The second is the literal in SQL: SQLite itself says what is to be stored, whatever the column's affinity.
  it.each<[json: string, literal: string]>([
    ['null', 'NULL'],
    ['true', '1'],
    ['false', '0'],
    ['5', '5'],
    ['-5', '-5'],
    ['0', '0'],
    ['-0', '-0'],
    ['5.0', '5.0'],
    ['-0.0', '-0.0'],
    ['0.1', '0.1'],
    ['1e3', '1e3'],
    ['1E+3', '1e3'],
    ['2.5e-3', '2.5e-3'],
    ['1e21', '1e21'],
    ['1e308', '1e308'],
    ['9007199254740991', '9007199254740991'],
    ['9007199254740992', '9007199254740992'],
    ['9007199254740993', '9007199254740993'],
    ['-9007199254740993', '-9007199254740993'],
    ['9223372036854775807', '9223372036854775807'],
    ['-9223372036854775808', '(-9223372036854775807-1)'],
    ['9223372036854775808', '9223372036854775808'],
    ['""', "''"],
    ['"5"', "'5'"],
    ['"007"', "'007'"],
    ['"it\'s"', "'it''s'"],
    ['"\\u00fc\\n\\""', `'ü\n"'`],
    ['"a\\u0000b"', "CAST(x'610062' AS TEXT)"],
    ['{"i":"5"}', '5'],
    ['{"i":"9223372036854775807"}', '9223372036854775807'],
    ['{"f":"5"}', '5.0'],
    ['{"f":"-0"}', '-0.0'],
    ['{"f":"1e18"}', '1e18'],
    ['{"f":"Infinity"}', '9e999'],
    ['{"f":"-Infinity"}', '-9e999'],
    ['{"b":"AP8="}', "x'00ff'"],
    ['{"b":""}', "x''"],
    ['{ "type" : "Buffer" , "data" : [0, 255] }', "x'00ff'"],
    ['{"type":"Buffer","data":[]}', "x''"],
  ])('%s is stored as the literal %s', (json, literal) => {
    const value = boundValue(json);
    const all = [value, value, value, value, value];
    const bound = stored(db => db.prepare('INSERT INTO t VALUES (?, ?, ?, ?, ?)').run(all));
    const written = stored(db => db.exec(`INSERT INTO t VALUES (${Array(5).fill(literal).join()})`));
    expect(bound).toEqual(written);
  });

  it.each<[json: string, error: RegExp]>([
    ['[1]', /"v" is an array/],
    ['{"a":1}', /"v" is an object that stands for no value/],
    ['{"i":"5","i":"6"}', /"v" is an object/],
    ['{"i":"9223372036854775808"}', /"v" is an object/],
    ['{"b":"A"}', /"v" is an object/],
    ['{"type":"Buffer","data":[256]}', /"v" is an object/],
    ['12345678901234567891', /"v" is an integer over 64 bits/],
    ['1e400', /"v" is larger than any real/],
    ['"\\ud800"', /"v" is a string with half of a surrogate pair/],
  ])('%s is refused', (json, error) => {
    expect(() => boundValue(json)).toThrow(error);
  });
});

describe('parseJsonRow', () => {
  it('reads names and values in order, also equal ones', () => {
    expect(parseJsonRow(' { "a" : 1 , "A":2,"a":"x\\"y" } ')).toEqual({
      names: ['a', 'A', 'a'],
      values: ['1', '2', '"x\\"y"'],
    });
    expect(parseJsonRow('{}')).toEqual({ names: [], values: [] });
    expect(parseJsonRow('{"__proto__":1,"a\\u0062":null}')).toEqual({
      names: ['__proto__', 'ab'],
      values: ['1', 'null'],
    });
  });

  it.each<[text: string, error: RegExp]>([
    ['[{"a":1}]', /begins with an array/],
    ['nonsense', /begins with something else/],
    ['{"a":1', /at character 7 the line ends instead of a comma or a closing brace/],
    ['{"a":1,}', /instead of a name in quotes/],
    ['{"a" 1}', /instead of a colon/],
    ['{"a":01}', /instead of a comma/],
    ['{"a":tru}', /instead of a value/],
    ['{"a":1}}', /instead of the end of the line/],
    ['{"a":1} {"a":2}', /instead of the end of the line/],
    ['{"a":"b}', /the string that begins at character 6 does not end/],
    ['{"a":"b\\"}', /does not end/],
    ['{"a":"b\0c"}', /control character U\+0000 at character 8/],
    ['{"a":"\\x"}', /escapes that JSON knows/],
    ['{"a":{"i":"5"}', /the line ends/],
  ])('refuses %j', (text, error) => {
    expect(() => parseJsonRow(text)).toThrow(error);
  });
});

it('does not read an object of more names than a table can have columns', () => {
  const names = Array.from({ length: 550_000 }, (_, index) => `"k${index}":1`);
  expect(parseJsonRow(`{${names.slice(0, 2_001).join()}}`).names).toHaveLength(2_001);
  const row = `{${names.join()}}`;
  const cpuMs = startCpuClock();
  for (const read of [() => parseJsonRow(row), () => parseTableRow(`{"table":"t","row":${row}}`)])
    expect(read).toThrow('more than 2001 names; a table has at most 2000 columns');
  // To its end it takes half a second.
  expect(cpuMs()).toBeLessThan(200);
});

it('reads a blob of millions of bytes in one pass', () => {
  const bytes = Buffer.alloc(2_000_000, 'ab');
  const json = JSON.stringify({ a: bytes });
  const cpuMs = startCpuClock();
  expect(parseJsonRow(json).values[0]).toBe(JSON.stringify({ b: bytes.toString('base64') }));
  expect(cpuMs()).toBeLessThan(200);
  for (const data of ['1 2', '1,,2', ',1', '1,', '256', '1 ,2, 3,2 5'])
    expect(() => parseJsonRow(`{"a":{"type":"Buffer","data":[${data}]}}`)).toThrow('stands for no value');
  expect(parseJsonRow('{"a":{"type":"Buffer","data":[ 0 , 255 ]}}').values).toEqual(['{"b":"AP8="}']);
});

it('marks text that is not UTF-8', () => {
  expect(parseJsonRow('{"a":"x","b":{"t":"gGE="},"c":1}')).toEqual({
    names: ['a', 'b', 'c'],
    values: ['"x"', '{"b":"gGE="}', '1'],
    texts: [1],
  });
});

describe('parseTableRow', () => {
  it('reads a row that names its table', () => {
    expect(parseTableRow('{"table":"t","row":{"a":1}}')).toEqual({ table: 't', names: ['a'], values: ['1'] });
    for (const text of ['{"a":1}', '{"table":"t"}', '{"table":1,"row":{}}', '{"table":"t","row":{},"x":1}']) {
      expect(() => parseTableRow(text)).toThrow('"table"');
    }
  });
});
