import { ChainState } from '../format/chain-state.ts';
import type { PackIndex, SegmentParts, SegmentPlace } from '../format/entry.ts';

/** What is known before a block. */
export interface StateBefore {
  readonly term: number;
  readonly tenants: ReadonlyMap<string, ChainState>;
}

export type Parts = Pick<SegmentParts, 'prefix' | 'count'>;

/** What a block's packs say, without what later ones of them have made useless. */
export interface BlockContents {
  /** The highest of its packs. */
  readonly term: number;
  readonly writtenAtMs: number;
  /** In the order of the tenants' names; of each the segments in order: those on top of the last that begins again. */
  readonly tenants: ReadonlyMap<string, readonly SegmentPlace[]>;
  /** Parts that no segment in {@link tenants} has. */
  readonly superseded: readonly Parts[];
}

/**
 * Reads the indexes of a block, in order.
 * @param before undefined: all segments go on from what is before them, as in packs of a level above 0
 */
export function readContents(indexes: readonly PackIndex[], before: StateBefore | undefined): BlockContents {
  let term = before?.term ?? 0;
  const found = new Map<string, SegmentPlace[]>();
  const chains = new Map<string, ChainState>();
  const parts = new Map<string, Parts>();
  const accepts = (place: SegmentPlace): boolean => {
    if (before === undefined) return true;
    const { tenant } = place.entry;
    const chain = chains.get(tenant) ?? copyOf(before.tenants.get(tenant));
    chains.set(tenant, chain);
    return chain.add(place);
  };
  for (const index of indexes) {
    for (const { prefix, count } of index.superseded ?? []) parts.set(prefix, { prefix, count });
    const isVoid = index.term < term;
    if (!isVoid) term = index.term;
    for (const entry of index.entries) {
      if (entry.parts !== undefined) parts.set(entry.parts.prefix, entry.parts);
      const place = { pack: { level: index.level, number: index.number }, entry };
      if (isVoid || !accepts(place)) continue;
      const places = found.get(entry.tenant);
      if (entry.kind === 'pages' && places !== undefined) places.push(place);
      else found.set(entry.tenant, [place]);
    }
  }
  const kept = [...found.values(), ...[...chains.values()].map(({ places }) => places)].flat();
  for (const { entry } of kept) if (entry.parts !== undefined) parts.delete(entry.parts.prefix);
  return {
    term,
    writtenAtMs: Math.max(0, ...indexes.map(({ writtenAtMs }) => writtenAtMs)),
    tenants: new Map([...found].sort(([one], [other]) => (one < other ? -1 : 1))),
    superseded: [...parts.values()].map(({ prefix, count }) => ({ prefix, count })),
  };
}

function copyOf(chain: ChainState | undefined): ChainState {
  return new ChainState(chain?.places, chain?.last);
}
