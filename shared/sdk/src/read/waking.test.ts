import { hibernatedError, OnewriterError } from '@onewriter/protocol';
import { expect, it, vi } from 'vitest';
import { Waking } from './waking.ts';

it('brings the file back and reads it', async () => {
  const wake = vi.fn(async () => {});
  const waking = new Waking(wake);
  expect([waking.isCause(hibernatedError('acme')), waking.isCause(new Error('no'))]).toEqual([true, false]);
  expect(await waking.until('acme', { timeoutMs: 5 }, () => 'row')).toBe('row');
  expect(wake.mock.calls).toEqual([['acme', { timeoutMs: 5 }]]);
});

it('follows a tenant that is hibernated again, and not for ever', async () => {
  const waking = new Waking(async () => {});
  const states = [hibernatedError('acme'), undefined];
  const read = () => {
    const error = states.shift();
    if (error !== undefined) throw error;
    return 'row';
  };
  expect(await waking.until('acme', {}, read)).toBe('row');
  const always = () => {
    throw hibernatedError('acme');
  };
  await expect(waking.until('acme', {}, always)).rejects.toMatchObject({ code: 'TENANT_WAKING' });
});

it('throws what the owner answers, and any other error of the read', async () => {
  const refused = new Waking(async () => {
    throw new OnewriterError('TIMEOUT', 'late');
  });
  await expect(refused.until('acme', {}, () => 'row')).rejects.toMatchObject({ code: 'TIMEOUT' });
  const failing = () => {
    throw new OnewriterError('SQL_ERROR', 'no such table');
  };
  await expect(new Waking(async () => {}).until('acme', {}, failing)).rejects.toMatchObject({
    code: 'SQL_ERROR',
  });
});
