import { expect, it } from 'vitest';
import { mayRenew } from './may-renew.ts';

const MIB = 1024 * 1024;

it('reads small files at any time, and large ones a minute after their last commit', () => {
  expect(mayRenew(100_000, 100_000, () => 64 * MIB)).toBe(true);
  expect(mayRenew(100_000, 100_000, () => 65 * MIB)).toBe(false);
  expect(mayRenew(100_000, 160_000, () => 65 * MIB)).toBe(false);
  expect(mayRenew(100_000, 160_001, () => 65 * MIB)).toBe(true);
});
