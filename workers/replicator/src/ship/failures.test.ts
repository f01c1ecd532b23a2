import { expect, test } from 'vitest';
import { Failures } from './failures.ts';

test('keeps the newest failure of each tenant, and of 20 tenants', () => {
  let nowMs = 0;
  const failures = new Failures(() => ++nowMs);
  for (let index = 0; index < 25; index++) failures.note(`t${index}`, new Error('no'));
  failures.note('t20', new Error('again'));
  expect(failures.newest).toHaveLength(20);
  expect(failures.newest[0]).toEqual({ tenant: 't20', message: 'again', at: 26 });
  expect(failures.newest.filter(({ tenant }) => tenant === 't20')).toHaveLength(1);
});

test('a failure of the disk is noted, and ends nothing', () => {
  const failures = new Failures(() => 1);
  const full = () => {
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  };
  expect([failures.try('acme', () => 7), failures.try('acme', full)]).toEqual([7, undefined]);
  expect(failures.newest).toMatchObject([{ tenant: 'acme', message: 'ENOSPC: no space left on device' }]);
});
