import { expect, it } from 'vitest';
import { restartDelayMs } from './back-off.ts';

it('doubles the pause and stops at ten seconds', () => {
  expect([1, 2, 3, 7, 8, 9, 1_000_000].map(restartDelayMs)).toEqual([
    100, 200, 400, 6_400, 10_000, 10_000, 10_000,
  ]);
});
