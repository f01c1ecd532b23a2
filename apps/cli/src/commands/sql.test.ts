import { expect, it } from 'vitest';
import { parseParams } from './sql.ts';

it('reads positional and named parameters, exactly', () => {
  expect(parseParams('[1, "a", null, {"i": "9223372036854775807"}]')).toEqual([
    1,
    'a',
    null,
    9223372036854775807n,
  ]);
  expect(parseParams('{"id": "t1"}')).toEqual({ id: 't1' });
  expect(parseParams(undefined)).toEqual([]);
});

it.each(['', 'a', '1', 'null', '{"id":'])('refuses %j', json => {
  expect(() => parseParams(json)).toThrow('--params');
});
