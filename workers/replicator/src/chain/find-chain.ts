import type { ChainState } from '../format/chain-state.ts';
import type { PackId, SegmentPlace } from '../format/entry.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { childrenOf, numbersOf } from './blocks.ts';
import { coverOf, type Point } from './point.ts';
import { readAhead } from './read-ahead.ts';
import { readIndexOrEmpty } from './read-index.ts';
import { readBlock } from './replica-state.ts';

/*
 * The segments that lead to a point: as large ones as possible, then smaller ones.
 *
 *   a segment at or before the point       is taken
 *   one with the point inside, merged      the packs that its pack was made of are looked at instead, while they are there
 *   one with the point inside, of level 0  is cut at the commit
 *   one behind the point                   ends the search; unless it may have taken the place of others in its pack
 */

/** Indexes that are read at the same time. */
const WINDOW = { calls: 32, bytes: Number.POSITIVE_INFINITY, bytesOf: () => 0 };

/** What was found on the way to a point. */
export interface FoundChain {
  readonly chain: ChainState;
  /** The segment of level 0 that has the point inside: it follows the chain. */
  readonly cut?: SegmentPlace | undefined;
  /** The first behind the point, for people. */
  readonly after?: SegmentPlace | undefined;
}

export interface ChainSearch {
  readonly store: ObjectStore;
  readonly tenant: string;
  readonly point: Point;
  /** The highest term up to a number of level 0, where a catalogue ends there; 0: none does. */
  readonly termAt: (number: number) => Promise<number>;
  readonly options: CallOptions;
}

/** Takes places in order, up to the point. @param chain what is there before them; it grows */
export async function followPlaces(
  search: ChainSearch,
  chain: ChainState,
  places: Iterable<SegmentPlace>,
): Promise<FoundChain | undefined> {
  for (const place of places) {
    const { pack, entry } = place;
    const cover = coverOf(entry, search.point);
    if (cover === 'within') {
      chain.add(place);
      continue;
    }
    const goesOn = entry.kind === 'pages' && entry.min === chain.pos + 1 && chain.isAlive;
    if (pack.level === 0)
      return { chain, cut: cover === 'partly' && goesOn ? place : undefined, after: place };
    // A merged full segment, or a deletion, has taken the place of the commits before it.
    if (cover === 'beyond' && entry.kind === 'pages') return { chain, after: place };
    const below = await followPacks(search, chain, childrenOf(pack), await termBefore(search, pack));
    return { chain, after: place, ...below };
  }
  return undefined;
}

/**
 * Reads packs in order, up to the point.
 * @param term the highest before them: a pack of level 0 with a lower one is void
 * @returns undefined where the point is behind all of them; also where they are not there any more
 */
export async function followPacks(
  search: ChainSearch,
  chain: ChainState,
  packs: readonly PackId[],
  term = 0,
): Promise<FoundChain | undefined> {
  let highest = term;
  const { store, tenant, options } = search;
  const blocks = readAhead(packs, WINDOW, (pack, signal) => {
    const either = options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]);
    return readBlock(store, pack, { ...options, signal: either });
  });
  for await (const indexes of blocks) {
    if (indexes === undefined) return undefined;
    for (const index of indexes) {
      if (index.term < highest) continue;
      highest = index.term;
      const pack = { level: index.level, number: index.number };
      const entries = index.entries.filter(entry => entry.tenant === tenant);
      const found = await followPlaces(
        search,
        chain,
        entries.map(entry => ({ pack, entry })),
      );
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** Only packs of level 0 may be void, and which is shows the highest term before them. */
async function termBefore({ store, termAt, options }: ChainSearch, pack: PackId): Promise<number> {
  if (pack.level !== 1 || pack.number === 1) return 0;
  const before = await readIndexOrEmpty(store, { level: 1, number: pack.number - 1 }, options);
  // What expired ends with a catalogue.
  return before?.term || termAt(numbersOf(pack).first - 1);
}
