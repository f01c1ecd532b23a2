import { LIMITS } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { assertParameterCounts, decodeJsonParameters } from './parameter-values.ts';

describe('assertParameterCounts', () => {
  const codeOf = (check: () => unknown) => {
    try {
      return check();
    } catch (error) {
      const { code, details } = error as { code: string; details: object };
      return [code, details];
    }
  };
  const numbers = Array(LIMITS.maxParameters + 1).fill({ not: 'a value' });
  const names = Object.fromEntries(numbers.map((value, index) => [`n${index}`, value]));

  it('counts before any value is looked at', () => {
    for (const params of [numbers, names]) {
      expect(codeOf(() => decodeJsonParameters(params))).toEqual(['STATEMENT_TOO_LARGE', {}]);
      expect(codeOf(() => assertParameterCounts({ sql: 5, params }))).toEqual(['STATEMENT_TOO_LARGE', {}]);
      for (const list of ['statements', 'queries']) {
        const body = { [list]: [null, { params: [1] }, { params }] };
        expect(codeOf(() => assertParameterCounts(body))).toEqual([
          'STATEMENT_TOO_LARGE',
          { statementIndex: 2 },
        ]);
      }
    }
  });

  it('leaves to others what is wrong otherwise', () => {
    for (const body of [null, 5, [], {}, { params: 5 }, { params: numbers.slice(1) }, { statements: 5 }])
      expect(codeOf(() => assertParameterCounts(body))).toBeUndefined();
  });
});

describe('decodeJsonParameters', () => {
  it("names a parameter by SQLite's number, and says what is wrong with it", () => {
    const messageOf = (params: unknown) => {
      try {
        return decodeJsonParameters(params);
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(messageOf([1, [2]])).toMatch(/^Parameter 2 is an array, which/);
    expect(messageOf([{ i: '1.5' }])).toMatch(/^Parameter 1 is \{"i":…\} without the decimal of an integer/);
    expect(messageOf([1, 2, Number.POSITIVE_INFINITY])).toMatch(/^Parameter 3 is a number beyond/);
    expect(messageOf({ when: { b: 5 } })).toMatch(/^Parameter when is \{"b":…\} without base64/);
  });

  it('decodes positional and named parameters', () => {
    expect(decodeJsonParameters([1, 'two', null, true])).toEqual([1, 'two', null, true]);
    expect(decodeJsonParameters({ id: 1, title: 'x' })).toEqual({ id: 1, title: 'x' });
    expect(decodeJsonParameters(undefined)).toEqual([]);
    expect(decodeJsonParameters(null)).toEqual([]);
  });

  it('decodes blobs, as Node writes them and in base64', () => {
    const blob = Buffer.from([0, 1, 255]);
    expect(decodeJsonParameters([JSON.parse(JSON.stringify(blob)), { b: blob.toString('base64') }])).toEqual([
      blob,
      blob,
    ]);
    expect(decodeJsonParameters([{ type: 'Buffer', data: [] }, { b: '' }])).toEqual([
      Buffer.of(),
      Buffer.of(),
    ]);
  });

  it('decodes 64-bit integers and negative zero exactly', () => {
    const [integer, zero] = decodeJsonParameters([{ i: '-9223372036854775808' }, { f: '-0' }]) as unknown[];
    expect(integer).toBe(-9223372036854775808n);
    expect(Object.is(zero, -0)).toBe(true);
  });

  it('decodes reals that are written as such', () => {
    const texts = [
      '1e18',
      '9007199254740992',
      '-1.5E-3',
      '1.7976931348623157e+308',
      '5',
      'Infinity',
      '-Infinity',
    ];
    expect(decodeJsonParameters(texts.map(f => ({ f })))).toEqual([
      1e18,
      2 ** 53,
      -0.0015,
      Number.MAX_VALUE,
      5,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
  });

  it.each([
    [{}],
    [[1]],
    [{ i: '1.5' }],
    [{ i: 1 }],
    [{ i: '0x10' }],
    [{ b: 'no base64!' }],
    [{ b: 'abc' }],
    [{ f: 'NaN' }],
    [{ f: '+Infinity' }],
    [Number.POSITIVE_INFINITY],
    [{ f: '1e999' }],
    [{ f: '0x10' }],
    [{ f: '' }],
    [{ f: 1 }],
    [{ type: 'Buffer', data: [256] }],
    [{ type: 'Buffer', data: [1.5] }],
    [{ type: 'Buffer', data: 'abcd' }],
    [{ type: 'Buffer' }],
    [{ i: '1', b: 'AA==' }],
    [{ date: '2026-01-01' }],
  ])('refuses %j and names the parameter, not the value', value => {
    expect(() => decodeJsonParameters({ when: value })).toThrow(
      expect.objectContaining({ code: 'INVALID_VALUE', message: expect.stringContaining('when') }),
    );
  });
});
