import type { SqlValue } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { type RowForm, rowsJson, rowWriter } from './row-json.ts';

const COLUMNS = ['id', '2', '__proto__', 'a "b"', 'id'];
const ROW: SqlValue[] = [1, 9_007_199_254_740_993n, null, Buffer.from([1, 2]), -0];

describe('a row as JSON', () => {
  it.each([
    [
      { values: 'plain', rows: 'objects' },
      '{"id:1":1,"2":"9007199254740993","__proto__":null,"a \\"b\\"":"AQI=","id":0}',
    ],
    [{ values: 'tagged', rows: 'arrays' }, '[1,{"i":"9007199254740993"},null,{"b":"AQI="},{"f":"-0"}]'],
    [
      { values: 'dropIn', rows: 'objects' },
      '{"id:1":1,"2":"9007199254740993","__proto__":null,"a \\"b\\"":{"type":"Buffer","data":[1,2]},"id":0}',
    ],
  ] satisfies [RowForm, string][])('is written as %j asks for', (form, text) => {
    expect(rowWriter(form, COLUMNS)(ROW)).toBe(text);
  });

  it('is taken as it is where a process has written it', () => {
    const form: RowForm = { values: 'plain', rows: 'arrays' };
    const json = [Buffer.from('[1],'), Buffer.from('[2]')];
    expect(rowsJson({ columns: ['a'], rows: [], json }, form)).toBe(json);
    expect(Buffer.concat(rowsJson({ columns: ['a'], rows: [[1], ['x']] }, form)).toString()).toBe(
      '[1],["x"]',
    );
    expect(Buffer.concat(rowsJson({ columns: ['a'], rows: [] }, form)).toString()).toBe('');
  });
});
