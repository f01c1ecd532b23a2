import { expect, it } from 'vitest';
import { checkHibernated } from './check-hibernated.ts';

it('finds hibernated tenants that no replica could give back', () => {
  const away = Array.from({ length: 12 }, (_, index) => `t${index}`);
  expect([checkHibernated(away, 'file:///store'), checkHibernated([], undefined)]).toEqual([[], []]);
  expect(checkHibernated(away, undefined)).toMatchObject([
    { level: 'error', check: 'hibernated', found: expect.stringMatching(/t9 and 2 more lie in a replica/) },
  ]);
});
