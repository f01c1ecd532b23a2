import { expect, it } from 'vitest';
import { parseDuration } from './token.ts';

it('reads durations', () => {
  expect(['30s', '15m', '24h', '7d'].map(parseDuration)).toEqual([30_000, 900_000, 86_400_000, 604_800_000]);
});

it.each(['', '10', '0h', '-1h', '1w', '1.5h', '1h '])('refuses %j', text => {
  expect(() => parseDuration(text)).toThrow('--expires-in');
});
