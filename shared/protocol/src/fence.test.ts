import { expect, it } from 'vitest';
import { fenced, isFenced } from './fence.ts';
import { fromWireError, OnewriterError, toWireError } from './onewriter-error.ts';

it('names what has seen a newer leader, and the epoch, also across a boundary', () => {
  expect(fenced('file', 7)).toMatchObject({ code: 'FENCED', details: { fileEpoch: 7 } });
  const error = fenced('queue', 8, 'acme');
  expect(error.message).toBe('A newer broker has taken over this queue.');
  expect(error.details).toMatchObject({ tenant: 'acme', fileEpoch: 8 });
  expect(isFenced(fromWireError(toWireError(error)))).toBe(true);
});

it('does not take an epoch from a file that no broker had', () => {
  expect(fenced('file', 2 ** 40).code).toBe('FENCED');
  for (const fileEpoch of [2 ** 40 + 1, Number.MAX_SAFE_INTEGER, 2 ** 63, Number.POSITIVE_INFINITY]) {
    const error = fenced('file', fileEpoch);
    expect([error.code, isFenced(error)]).toEqual(['TENANT_UNAVAILABLE', false]);
  }
});

it('is no other error', () => {
  for (const other of [new OnewriterError('DATABASE_BUSY', 'busy'), new Error('FENCED'), undefined]) {
    expect(isFenced(other)).toBe(false);
  }
});
