import { describe, expect, it } from 'vitest';
import { parseBrokers } from './up.ts';

describe('parseBrokers', () => {
  it.each([
    [undefined, 1],
    ['1', 1],
    ['4', 4],
  ])('takes %s', (text, count) => {
    expect(parseBrokers(text)).toBe(count);
  });

  it.each(['0', '5', '-1', '2.0', 'two', ''])('refuses "%s"', text => {
    expect(() => parseBrokers(text)).toThrow('--brokers is a number from 1 to 4.');
  });
});
