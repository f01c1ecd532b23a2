import { parametersOf } from '@onewriter/protocol';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { decodeDropInParameters } from './drop-in-parameters.ts';

const decode = (params: unknown, sql = 'SELECT ?') => decodeDropInParameters(sql, params);

describe('drop-in parameters', () => {
  it.each<[params: unknown, decoded: unknown]>([
    [undefined, []],
    [null, []],
    [5, [5]],
    ['x', ['x']],
    ['', ['']],
    [0, [0]],
    [true, [true]],
    [{ type: 'Buffer', data: [1, 2] }, [Buffer.from([1, 2])]],
    [{ i: '9007199254740993' }, [9007199254740993n]],
    [
      [1, 'x', null],
      [1, 'x', null],
    ],
    [[[1, 2]], [1, 2]],
    [
      [1, [2, 3]],
      [1, 2, 3],
    ],
    [
      [{ i: '5' }, { b: 'AQI=' }],
      [5n, Buffer.from([1, 2])],
    ],
    [
      { a: 1, b: 2 },
      { a: 1, b: 2 },
    ],
    [[{ a: 1, b: 2 }], { a: 1, b: 2 }],
    [[{ a: 1 }], { a: 1 }],
    [[], []],
    [[[]], []],
  ])('%j', (params, decoded) => {
    expect(decode(params)).toEqual(decoded);
  });

  it('takes {"i":…} alone for a name where the statement has it', () => {
    expect(decode({ i: '5' }, 'SELECT @i')).toEqual({ i: '5' });
    expect(decode({ i: '5' }, 'SELECT @j')).toEqual([5n]);
    expect(decode([{ b: 'text' }], 'SELECT @b')).toEqual({ b: 'text' });
    expect(decode([1, { f: '2' }], 'SELECT ?, :f')).toEqual([1, '2']);
    expect(decode([{ i: '5' }], 'SELECT @j')).toEqual([5n]);
    expect(decode([{ i: '5' }, { f: '1' }], 'SELECT @i, @f')).toEqual([5n, 1]);
    expect(decode([{ type: 'Buffer', data: [1] }], 'SELECT @data')).toEqual([Buffer.from([1])]);
  });

  it('mixes values and names', () => {
    expect(decode([1, { b: 2 }, 3], 'SELECT ?, @b, ?')).toEqual([1, 2, 3]);
    expect(decode([[1, 3], { b: 2, unused: 4 }], 'SELECT ?, :b, ?, :b')).toEqual([1, 2, 3]);
  });

  it.each<[sql: string, params: unknown]>([
    ['SELECT ?', [1, { b: 2 }, 3]],
    ['SELECT ?, @b', [1, { c: 2 }]],
    ['SELECT @a, @b', [{ a: 1 }, { b: 2 }]],
    ['SELECT ?', [[[1]]]],
    ['SELECT ?', [{ type: 'Buffer', data: ['x'] }]],
    ['SELECT ?', [{ i: 'five' }]],
  ])('refuses for %s the params %j', (sql, params) => {
    expect(() => decode(params, sql)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^INVALID/) }),
    );
  });

  it('refuses too many in a nested list', () => {
    expect(() => decode([Array(40_000).fill(1)])).toThrow(
      expect.objectContaining({ code: 'STATEMENT_TOO_LARGE' }),
    );
  });

  it.each<[sql: string, params: unknown]>([
    ['SELECT ? AS r', 5],
    ['SELECT ? AS r', 'x'],
    ['SELECT ? || ? AS r', ['a', 'b']],
    ['SELECT ? || ? AS r', [['a', 'b']]],
    ['SELECT ? || ? AS r', ['a', ['b']]],
    ['SELECT @a || :b AS r', { a: 'a', b: 'b' }],
    ['SELECT @a || :b AS r', [{ a: 'a', b: 'b' }]],
    ['SELECT typeof(@b) || @b AS r', [{ b: 'text' }]],
    ['SELECT typeof(@i) || ? AS r', ['x', { i: '5' }]],
    ['SELECT ? || @a || ? AS r', ['x', { a: 'y' }, 'z']],
  ])('binds for %s the params %j as better-sqlite3 does', (sql, params) => {
    const db = new Database(':memory:');
    onTestFinished(() => void db.close());
    const statement = db.prepare(sql).pluck();
    const plain = Array.isArray(params) ? statement.get(...params) : statement.get(params);
    expect(statement.get(...parametersOf(sql).toArguments(decodeDropInParameters(sql, params)))).toEqual(
      plain,
    );
  });
});
