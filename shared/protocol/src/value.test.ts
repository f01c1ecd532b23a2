import { describe, expect, it } from 'vitest';
import {
  decodeExactValue,
  decodeValue,
  encodeExactValue,
  encodeTaggedValue,
  type SqlValue,
  type WireValue,
} from './value.ts';

const MAX_INT64 = 2n ** 63n - 1n;
const integers = [
  0n,
  5n,
  -5n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 53n + 1n,
  -(2n ** 53n),
  MAX_INT64,
  -MAX_INT64 - 1n,
];
const reals = [
  ...[
    0,
    -0,
    5,
    -5,
    0.1,
    5e-324,
    2 ** 53 - 1,
    2 ** 53,
    -(2 ** 53),
    2 ** 62,
    2 ** 63,
    2 ** 64,
    1e20,
    1e21,
    1e22,
  ],
  ...[Number.MAX_VALUE, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
];
/** As read with `safeIntegers`: an integer is a bigint, a real a number. */
const read: SqlValue[] = [
  null,
  '',
  '{"i":"5"}',
  '\0',
  Buffer.from([0, 255]),
  Buffer.of(),
  ...integers,
  ...reals,
];

const overTheWire = (wire: WireValue) => JSON.parse(JSON.stringify(wire)) as WireValue;
const sent = (value: SqlValue) => JSON.stringify(encodeTaggedValue(value));

describe('results', () => {
  it.each(read)('keep the storage class of %s, in the ledger and for callers', value => {
    expect(decodeExactValue(overTheWire(encodeExactValue(value)))).toStrictEqual(value);
    expect(decodeValue(overTheWire(encodeTaggedValue(value)))).toStrictEqual(value);
  });

  it('are tagged so that nothing of one class looks like the other', () => {
    expect([5n, 0n, -(2n ** 63n), 2n ** 53n].map(sent)).toEqual([
      '{"i":"5"}',
      '{"i":"0"}',
      '{"i":"-9223372036854775808"}',
      '{"i":"9007199254740992"}',
    ]);
    // A JSON parser reads 9007199254740992 as an integer of that size.
    expect([5, 0.1, 1e300, 2 ** 53, -0, Number.NEGATIVE_INFINITY].map(sent)).toEqual([
      '5',
      '0.1',
      '{"f":"1e+300"}',
      '{"f":"9007199254740992"}',
      '{"f":"-0"}',
      '{"f":"-Infinity"}',
    ]);
  });
});
