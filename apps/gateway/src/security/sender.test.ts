import type { VerifiedToken } from '@onewriter/runtime';
import { expect, it } from 'vitest';
import { senderOf } from './sender.ts';

it.each<[string, Pick<VerifiedToken, 'tenants'>, string | undefined]>([
  ['of several tenants', { tenants: ['a', 'b'] }, 'id'],
  ['of one tenant', { tenants: ['a'] }, undefined],
  ['of all tenants', { tenants: '*' }, undefined],
])('a token %s names a sender or none', (_, { tenants }, sender) => {
  expect(senderOf({ id: 'id', tenants })).toBe(sender);
});
