import { describe, expect, it } from 'vitest';
import { backOffMs } from './back-off.ts';

describe('the pause between attempts', () => {
  const bounds = { firstMs: 100, maxMs: 10_000 };

  it('doubles with each failure, up to its bound', () => {
    const longest = [1, 2, 3, 7, 8, 9, 1_000_000].map(failures => backOffMs(failures, bounds, 1));
    expect(longest).toEqual([100, 200, 400, 6_400, 10_000, 10_000, 10_000]);
  });

  it('is spread over the second half, so that many do not come back at the same moment', () => {
    expect(backOffMs(3, bounds, 0)).toBe(200);
    const pauses = new Set(Array.from({ length: 100 }, () => backOffMs(8, bounds)));
    expect(pauses.size).toBeGreaterThan(50);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(5_000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(10_000);
  });

  it('is at least a millisecond', () => {
    expect(backOffMs(1, { firstMs: 1, maxMs: 20 }, 0)).toBe(1);
  });
});
