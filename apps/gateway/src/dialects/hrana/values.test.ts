import type { SqlValue } from '@onewriter/protocol';
import { describe, expect, it } from 'vitest';
import { encodeHranaValue, toHranaJson } from './values.ts';

const roundTrip = (...values: SqlValue[]): unknown[] =>
  (JSON.parse(toHranaJson(values.map(encodeHranaValue))) as { value: unknown }[]).map(({ value }) => value);

describe('doubles in an answer', () => {
  it('are exact, also those that JSON.stringify cannot write', () => {
    const doubles = [-0, 0, 5, -5.5, 1e300, 5e-324, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    expect(roundTrip(...doubles)).toEqual(doubles);
    expect(toHranaJson(encodeHranaValue(-0))).toBe('{"type":"float","value":-0.0}');
  });

  it('are distinguished from text that looks like them', () => {
    const texts = ['-0', 'Infinity', '{"type":"float","value":"-0"}', '"},{"type":"float","value":"-0"}'];
    expect(roundTrip(...texts, Number.POSITIVE_INFINITY)).toEqual([...texts, Number.POSITIVE_INFINITY]);
  });
});
