import { expect, test } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import { ChainState } from '../format/chain-state.ts';
import type { SegmentEntry } from '../format/entry.ts';
import { needsFull } from './chain-limits.ts';

const MIB = 1024 * 1024;

function chainOf(...entries: readonly SegmentEntry[]): ChainState {
  const chain = new ChainState();
  for (const entry of entries) chain.add({ pack: { level: 1, number: 1 }, entry });
  return chain;
}
const full = (length: number) => testEntry({ kind: 'full', min: 1, max: 1, length });
const pages = (count: number, length: number) =>
  Array.from({ length: count }, (_, index) =>
    testEntry({ kind: 'pages', min: index + 2, max: index + 2, length }),
  );

const isLong = (chain: ChainState) => needsFull(chain, 0);

test('is so for more than 64 segments, and for more than half of the full one', () => {
  expect(isLong(chainOf(full(10), ...pages(64, 1)))).toBe(false);
  expect(isLong(chainOf(full(10), ...pages(65, 1)))).toBe(true);
  expect(isLong(chainOf(full(10), ...pages(2, MIB / 2)))).toBe(false);
  expect(isLong(chainOf(full(10), ...pages(2, MIB / 2 + 1)))).toBe(true);
  expect(isLong(chainOf(full(10 * MIB), ...pages(5, MIB)))).toBe(false);
  expect(isLong(chainOf(full(10 * MIB), ...pages(6, MIB)))).toBe(true);
});

test('is so for a branch after half a day, and never for a deleted tenant', () => {
  const base = testEntry({ kind: 'base', min: 1, max: 1, base: { tenant: 'beta', pos: 1 } });
  expect([isLong(chainOf(base)), needsFull(chainOf(base), base.firstMs + 13 * 3_600_000)]).toEqual([
    false,
    true,
  ]);
  expect(isLong(chainOf(base, testEntry({ kind: 'deleted', min: 1, max: 1 })))).toBe(false);
  expect(isLong(new ChainState())).toBe(false);
});
