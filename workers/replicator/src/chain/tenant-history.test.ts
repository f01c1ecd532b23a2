import { expect, it } from 'vitest';
import { testEntry } from '../../test-support/test-entry.ts';
import { ChainState } from '../format/chain-state.ts';
import type { SegmentPlace } from '../format/entry.ts';
import { type Catalog, catalogKey } from './catalog.ts';
import { FIRST_HEAD } from './head.ts';
import { historyOf } from './tenant-history.ts';

const BLOCKS = 200;
/** The tenant begins in this block, and has a full segment in each tenth. */
const FIRST = 101;

/** One commit in each block of level 3. */
function placeIn(block: number): SegmentPlace {
  const pos = block - FIRST + 1;
  const kind = (block - FIRST) % 10 === 0 ? 'full' : 'pages';
  const writes = pos === 100 ? { writes: 3, kinds: 5, by: [['c-1', 2]] as const } : undefined;
  return { pack: { level: 3, number: block }, entry: testEntry({ kind, min: pos, max: pos, writes }) };
}

function chainAt(block: number): ReadonlyMap<string, ChainState> {
  const chain = new ChainState();
  for (let number = FIRST; number <= block; number++) chain.add(placeIn(number));
  return new Map(chain.last === undefined ? [] : [['acme', chain]]);
}

it('finds the whole history, and reads only the catalogues that have more of it', async () => {
  const catalogs = Array.from({ length: BLOCKS }, (_, index) => {
    const to = (index + 1) * 4_096;
    return { to, atMs: to, key: catalogKey(to) };
  });
  const next = BLOCKS * 4_096 + 1;
  const state = {
    ...{ next, term: 1, catalog: undefined, tenants: chainAt(BLOCKS), damaged: [] },
    head: { ...FIRST_HEAD, catalogs, kept: { ...FIRST_HEAD.kept, 0: next } },
  };
  const read: number[] = [];
  const points = await historyOf(state, 'acme', 1_000, async ({ to, atMs }): Promise<Catalog> => {
    read.push(to / 4_096);
    return { to, atMs, term: 1, tenants: chainAt(to / 4_096) };
  });
  expect(points.map(({ toPos }) => toPos)).toEqual(Array.from({ length: 100 }, (_, index) => 100 - index));
  expect(points[0]!.written).toEqual({
    ...{ writes: 3, kinds: ['INSERT', 'DELETE'], by: [{ who: 'c-1', writes: 2 }] },
  });
  expect(points[1]!.written).toBeUndefined();
  expect(read).toEqual([190, 180, 170, 160, 150, 140, 130, 120, 110, 100]);
});
