import { expect, it } from 'vitest';
import { parsePoint } from './parse-point.ts';

const NOW = Date.parse('2026-11-30T12:00:00Z');

it.each([
  ['newest', { kind: 'newest' }],
  ['42', { kind: 'commitSeq', commitSeq: 42 }],
  ['2026-11-30T11:00:00Z', { kind: 'time', ms: NOW - 3_600_000 }],
  ['2026-11-30 12:30+01:00', { kind: 'time', ms: NOW - 1_800_000 }],
  ['5 minutes ago', { kind: 'time', ms: NOW - 300_000 }],
  ['1 minute ago', { kind: 'time', ms: NOW - 60_000 }],
  ['1.5 hours ago', { kind: 'time', ms: NOW - 5_400_000 }],
  ['30s ago', { kind: 'time', ms: NOW - 30_000 }],
  ['500 ms ago', { kind: 'time', ms: NOW - 500 }],
  ['5 mins ago', { kind: 'time', ms: NOW - 300_000 }],
  ['2 days ago', { kind: 'time', ms: NOW - 172_800_000 }],
])('reads %s', (text, point) => {
  expect(parsePoint(text, NOW)).toEqual(point);
});

it.each([
  '',
  'yesterday',
  '5 minutes',
  '5 fortnights ago',
  '5 constructors ago',
  '5 hs ago',
  '2026-11-30T11:00:00',
  '2026-13-30T11:00:00Z',
  '-5',
  '1e3',
])('refuses "%s"', text => {
  expect(() => parsePoint(text, NOW)).toThrow(/A point is/);
});

it('refuses what is in the future, and numbers that are none', () => {
  expect(() => parsePoint('2026-11-30T12:00:01Z', NOW)).toThrow(/future/);
  expect(() => parsePoint('99999999999999999999', NOW)).toThrow(/no number/);
});
