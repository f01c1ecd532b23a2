import { type HistoryPoint, namesOfWriteKinds } from '@onewriter/protocol';
import type { SegmentPlace } from '../format/entry.ts';
import { numbersOf } from './blocks.ts';
import type { Catalog } from './catalog.ts';
import type { CatalogRef } from './head.ts';
import type { ReplicaState } from './replica-state.ts';

/** The history of a tenant, the newest first: of its chain, then of those that older catalogues have. */
export async function historyOf(
  state: ReplicaState,
  tenant: string,
  limit: number,
  read: (ref: CatalogRef) => Promise<Catalog | undefined>,
): Promise<readonly HistoryPoint[]> {
  const points: HistoryPoint[] = [];
  const chain = state.tenants.get(tenant);
  if (chain?.last?.kind === 'deleted')
    points.push(pointOf(state, { pack: { level: 0, number: 0 }, entry: chain.last }));
  /** Before this number of level 0 there is more. */
  let before = Number.POSITIVE_INFINITY;
  const add = (places: readonly SegmentPlace[]) => {
    if (places[0] !== undefined) before = numbersOf(places[0].pack).first;
    for (const place of places.toReversed()) {
      const oldest = points.at(-1);
      const isNew = oldest === undefined || place.entry.max < oldest.fromPos || oldest.kind === 'deleted';
      if (points.length < limit && isNew) points.push(pointOf(state, place));
    }
  };
  add(chain?.places ?? []);
  for (const ref of state.head.catalogs.toReversed()) {
    if (points.length >= limit) break;
    // Its chain begins with the same full segment; there are hundreds of catalogues, and each has all tenants.
    if (ref.to >= before) continue;
    const then = (await read(ref))?.tenants.get(tenant);
    // Those before it do not know the tenant, either.
    if (then === undefined) break;
    add(then.places);
  }
  return points;
}

function pointOf({ head }: ReplicaState, { pack, entry }: SegmentPlace): HistoryPoint {
  return {
    fromPos: entry.min,
    toPos: entry.max,
    fromSeq: entry.firstSeq,
    toSeq: entry.lastSeq,
    fromMs: entry.firstMs,
    toMs: entry.lastMs,
    bytes: entry.parts?.bytes ?? entry.length,
    each: entry.min === entry.max || pack.level === 0 || head.kept[0] <= numbersOf(pack).first,
    kind: entry.kind,
    written: entry.writes && {
      writes: entry.writes.writes,
      kinds: namesOfWriteKinds(entry.writes.kinds),
      by: entry.writes.by.map(([who, writes]) => ({ who, writes })),
    },
  };
}
