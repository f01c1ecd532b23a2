import { describe, expect, it } from 'vitest';
import { parseExactJson } from './exact-json.ts';

describe('parseExactJson', () => {
  it('tags integers that a double cannot hold, wherever they stand', () => {
    expect(
      parseExactJson('{"a":9007199254740993,"b":[-9223372036854775808,1],"c":{"d":18446744073709551617}}'),
    ).toEqual({
      a: { i: '9007199254740993' },
      b: [{ i: '-9223372036854775808' }, 1],
      c: { d: { i: '18446744073709551617' } },
    });
  });

  it('leaves exact numbers, floats and digits in strings and keys alone', () => {
    const text =
      '{"9007199254740993":"9007199254740993","e":1e30,"f":12345678901234567890.5,"s":"\\"9007199254740993","n":9007199254740991}';
    expect(parseExactJson(text)).toEqual(JSON.parse(text));
  });

  it('reads digits beyond 64 bits as the double that JavaScript writes so', () => {
    for (const value of [2 ** 63, 2 ** 64, 1e20, -1e20, 123456789012345680000]) {
      expect(parseExactJson(JSON.stringify([value]))).toEqual([value]);
    }
    expect(parseExactJson('[100000000000000000000]')).toEqual([1e20]);
    expect(parseExactJson('[100000000000000000001]')).toEqual([{ i: '100000000000000000001' }]);
    expect(parseExactJson('[9223372036854775808]')).toEqual([2 ** 63]);
  });

  it('takes time that grows with the text, whatever is in it', () => {
    // The square of it would take minutes.
    for (const tail of ['\\"'.repeat(400_000), '\\'.repeat(800_001), '"'.repeat(400_001)]) {
      expect(() => parseExactJson(`{"a":1234567890123456,"${tail}`)).toThrow(SyntaxError);
    }
    const digits = '7'.repeat(4_000_000);
    expect(parseExactJson(`[${digits}]`)).toEqual([{ i: digits }]);
  });

  it.each([
    '{"a":09007199254740993}',
    '[9007199254740993 1]',
    '[9007199254740993abc]',
    '{9007199254740993:1}',
    '[1,"9007199254740993]',
    '[+9007199254740993]',
    '9007199254740993.',
  ])('does not make valid what is not JSON: %s', text => {
    expect(() => parseExactJson(text)).toThrow(SyntaxError);
  });
});
