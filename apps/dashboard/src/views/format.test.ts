import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatAgo,
  formatBytes,
  formatCount,
  formatMs,
  formatShare,
  formatSpan,
  plural,
} from './format.ts';

describe('figures for people', () => {
  it.each([
    [0, '0'],
    [0.04, '0.0'],
    [3.14, '3.1'],
    [9.96, '10'],
    [12_345.6, '12,346'],
    [Number.NaN, '–'],
  ])('writes %d as the count %s', (value, text) => expect(formatCount(value)).toBe(text));

  it.each([
    [0, '0 B'],
    [1_023, '1023 B'],
    [1_536, '1.5 kB'],
    [4 * 1024 ** 2, '4.0 MB'],
    [250 * 1024 ** 3, '250 GB'],
  ])('writes %d bytes as %s', (value, text) => expect(formatBytes(value)).toBe(text));

  it.each([
    [null, '–'],
    [0.123, '0.12 ms'],
    [4.21, '4.2 ms'],
    [250.4, '250 ms'],
    [1_234, '1.2 s'],
    [75_000, '1 min 15 s'],
  ])('writes a duration of %s ms as %s', (value, text) => expect(formatMs(value)).toBe(text));

  it.each([
    [9_940, '9.9 s'],
    [59_400, '59 s'],
    [59_960, '1 min'],
    [3_600_000, '1 h'],
    [90_061_000, '1 d 1 h'],
  ])('writes a span of %d ms as %s', (value, text) => expect(formatSpan(value)).toBe(text));

  it('says how long ago in steps that do not flicker', () => {
    expect([formatAgo(0), formatAgo(1_400), formatAgo(12_345), formatAge(59_600), formatAgo(61_000)]).toEqual(
      ['just now', 'just now', '12 s ago', '1 min', '1 min 1 s ago'],
    );
  });

  it('writes shares and counted things', () => {
    expect([formatShare(0), formatShare(0.034), formatShare(0.5), formatShare(1)]).toEqual([
      '0 %',
      '3.4 %',
      '50 %',
      '100 %',
    ]);
    expect([plural(1, 'job'), plural(2, 'job'), plural(0, 'index', 'indexes')]).toEqual([
      '1 job',
      '2 jobs',
      '0 indexes',
    ]);
  });
});
