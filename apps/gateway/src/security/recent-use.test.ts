import { describe, expect, it } from 'vitest';
import { RecentUse } from './recent-use.ts';

describe('RecentUse', () => {
  it('knows the sum and the longest, and forgets half of both every 5 s', () => {
    const recent = new RecentUse();
    expect([recent.sumMs('a', 0), recent.longestMs('a', 0)]).toEqual([0, 0]);
    recent.add('a', 100, 0);
    recent.add('a', 300, 0);
    recent.add('a', 200, 0);
    expect([recent.sumMs('a', 0), recent.longestMs('a', 0)]).toEqual([600, 300]);
    expect([recent.sumMs('a', 5_000), recent.longestMs('a', 5_000)]).toEqual([300, 150]);
    recent.add('a', 100, 5_000);
    expect([recent.sumMs('a', 5_000), recent.longestMs('a', 5_000)]).toEqual([400, 150]);
    expect(recent.sumMs('b', 5_000)).toBe(0);
  });

  it('forgets those that used it the longest time ago where there are very many', () => {
    const recent = new RecentUse();
    recent.add('first', 1, 0);
    for (let index = 0; index < 1_000; index++) recent.add(`o${index}`, 1, 0);
    expect([recent.sumMs('first', 0), recent.sumMs('o0', 0)]).toEqual([0, 1]);
  });
});
