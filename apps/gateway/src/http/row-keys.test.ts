import { expect, it } from 'vitest';
import { toRowKeys, toRowObject } from './row-keys.ts';

it.each([
  [[], []],
  [
    ['a', 'b'],
    ['a', 'b'],
  ],
  // Names are equal where SQLite gives the same text; objects keep these apart.
  [
    ['a', 'A'],
    ['a', 'A'],
  ],
  [
    ['id', 'title', 'id', 'id'],
    ['id:1', 'title', 'id:2', 'id'],
  ],
  [
    ['id', 'id:1', 'id', 'id:1'],
    ['id:2', 'id:1:1', 'id', 'id:1'],
  ],
  [
    ['', '', '__proto__', '__proto__', 'constructor'],
    [':1', '', '__proto__:1', '__proto__', 'constructor'],
  ],
])('%j become %j', (columns, keys) => {
  expect(toRowKeys(columns)).toEqual(keys);
  expect(new Set(toRowKeys(columns)).size).toBe(columns.length);
});

it('loses no value to a name that means something in JavaScript', () => {
  const columns = ['__proto__', 'constructor', 'toString', '__proto__'];
  const row = toRowObject(toRowKeys(columns), [1, 2, 3, 4], value => value);
  expect(JSON.stringify(row)).toBe('{"__proto__:1":1,"constructor":2,"toString":3,"__proto__":4}');
});
