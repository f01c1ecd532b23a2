import { expect, it } from 'vitest';
import { assertTenantId } from './tenant-id.ts';

it.each(['a', 'acme', '0', 'a-b', 'xn--a', 'a'.repeat(63)])('accepts %s', id => {
  expect(assertTenantId(id)).toBe(id);
});

it.each([
  '',
  'A',
  '-a',
  'a-',
  'a_b',
  'a.b',
  '../a',
  'a/b',
  'a\n',
  'é',
  'a'.repeat(64),
  undefined,
  7,
  ['acme'],
])('refuses %j', id => {
  expect(() => assertTenantId(id)).toThrow(expect.objectContaining({ code: 'INVALID_TENANT' }));
});
