import { describe, expect, it } from 'vitest';
import { dropDeadLetters, parseLimit, retryDeadLetters } from './dead-letters.ts';

describe('parseLimit', () => {
  it.each([
    [undefined, 50],
    ['1', 1],
    ['999999', 999_999],
  ])('takes %s', (text, limit) => {
    expect(parseLimit(text)).toBe(limit);
  });

  it.each(['0', '-1', '1.5', 'all', ''])('refuses "%s"', text => {
    expect(() => parseLimit(text)).toThrow('--limit');
  });
});

describe.each([retryDeadLetters, dropDeadLetters])('%o', change => {
  it.each([
    ['neither ids nor --all', [], {}],
    ['a tenant without --all', [], { tenant: 'acme' }],
    ['ids and --all', ['dl-1'], { all: true }],
    ['ids and a tenant', ['dl-1'], { tenant: 'acme' }],
  ])('refuses %s', async (_, ids, options) => {
    await expect(change(ids, options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
