import { expect, it } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import { ChainState } from './chain-state.ts';
import type { SegmentEntry } from './entry.ts';

const place = (kind: SegmentEntry['kind'], min: number, max = min) => ({
  pack: { level: 0, number: max } as const,
  entry: testEntry({ kind, min, max }),
});

const chainOf = (...places: ReturnType<typeof place>[]) => {
  const chain = new ChainState();
  for (const each of places) chain.add(each);
  return chain;
};

it('begins with a full segment, and goes on without a hole', () => {
  const chain = chainOf(place('full', 1), place('pages', 2, 5), place('pages', 6));
  expect(chain).toMatchObject({ pos: 6, isAlive: true, ignored: 0 });
  expect(chain.places).toHaveLength(3);
});

it('ignores pages that do not go on from what is there', () => {
  expect(chainOf(place('pages', 1))).toMatchObject({ pos: 0, isAlive: false, ignored: 1 });
  const chain = chainOf(place('full', 1), place('pages', 3), place('pages', 2), place('pages', 2));
  expect(chain).toMatchObject({ pos: 2, ignored: 2 });
});

it('begins again with a newer full segment, or one of the same commit, not with an older one', () => {
  const chain = chainOf(place('full', 1), place('pages', 2, 5), place('full', 5));
  expect(chain).toMatchObject({ pos: 5, ignored: 0 });
  expect(chain.places).toHaveLength(1);
  expect(chain.add(place('full', 4))).toBe(false);
});

it('ends with a deletion, and begins again with a higher number', () => {
  const chain = chainOf(place('full', 1), place('deleted', 1));
  expect(chain).toMatchObject({ pos: 1, isAlive: false, places: [] });
  expect(chain.add(place('pages', 2))).toBe(false);
  expect(chain.add(place('full', 2))).toBe(true);
  expect(chain).toMatchObject({ pos: 2, isAlive: true });
});

it('knows the number of a tenant of which only its deletion is left', () => {
  const chain = chainOf(place('deleted', 7), place('deleted', 7));
  expect(chain).toMatchObject({ pos: 7, isAlive: false, places: [], ignored: 1 });
});

it('keeps its number over a copy without segments', () => {
  const deleted = chainOf(place('full', 3), place('deleted', 3));
  const copy = new ChainState(deleted.places, deleted.last);
  expect(copy).toMatchObject({ pos: 3, isAlive: false });
});
