import assert from 'node:assert/strict';
import { packsWithin } from '../chain/blocks.ts';
import { type Catalog, readCatalog } from '../chain/catalog.ts';
import { partKey } from '../chain/read-body.ts';
import { readIndexOrEmpty } from '../chain/read-index.ts';
import { type PackId, packKey } from '../format/entry.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import type { Parts } from './block-contents.ts';
import type { CompactHead, Dropping } from './compact-head.ts';

const BATCH = 1_000;

/**
 * Deletes what the head no longer names. It may be ended anywhere and repeated: what a pack says is deleted before the pack.
 * @returns the numbers of packs of level 3 that stay, because chains need them
 */
export async function deleteDropped(
  store: ObjectStore,
  head: CompactHead,
  dropping: Pick<Dropping, 'from' | 'catalogs'>,
  call: CallOptions,
): Promise<readonly number[]> {
  const [oldest] = head.catalogs;
  assert(oldest, 'Only a catalogue lets anything expire.');
  const catalog = await readCatalog(store, oldest.key, call);
  assert(catalog, 'The oldest catalogue is there as long as the head names it.');
  const needed = neededBy(catalog);

  for (const pack of packsWithin(3, dropping.from[2], head.kept[2] - 1)) {
    const index = await readIndexOrEmpty(store, pack, call);
    await deleteParts(store, index?.superseded ?? [], needed, call);
  }
  const gone = [...packsWithin(3, dropping.from[3], head.kept[3] - 1)].map(({ number }) => number);
  const candidates = [...(head.pinned ?? []), ...gone];
  for (const number of candidates.filter(candidate => !needed.packs.has(candidate))) {
    const pack: PackId = { level: 3, number };
    const index = await readIndexOrEmpty(store, pack, call);
    const parts = (index?.entries ?? []).flatMap(({ parts }) => parts ?? []);
    await deleteParts(store, parts, needed, call);
    await store.delete([packKey(pack)], call);
  }
  for (const level of [2, 1, 0] as const) {
    await deleteAll(store, packsWithin(level, dropping.from[level], head.kept[level] - 1), call);
  }
  const keys = dropping.catalogs.map(({ key }) => key);
  if (keys.length > 0) await store.delete(keys, call);
  return candidates.filter(candidate => needed.packs.has(candidate));
}

interface Needed {
  /** Numbers of packs of level 3. */
  readonly packs: ReadonlySet<number>;
  readonly prefixes: ReadonlySet<string>;
}

/** What the chains of the oldest catalogue lie in. Chains of later ones lie in the same or in later packs. */
function neededBy({ tenants }: Catalog): Needed {
  const places = [...tenants.values()].flatMap(chain => chain.places);
  return {
    packs: new Set(places.map(({ pack }) => pack.number)),
    prefixes: new Set(places.flatMap(({ entry }) => entry.parts?.prefix ?? [])),
  };
}

async function deleteParts(
  store: ObjectStore,
  parts: readonly Parts[],
  needed: Needed,
  call: CallOptions,
): Promise<void> {
  const keys = parts
    .filter(({ prefix }) => !needed.prefixes.has(prefix))
    .flatMap(({ prefix, count }) => Array.from({ length: count }, (_, part) => partKey(prefix, part)));
  for (let from = 0; from < keys.length; from += BATCH) {
    await store.delete(keys.slice(from, from + BATCH), call);
  }
}

async function deleteAll(store: ObjectStore, packs: Iterable<PackId>, call: CallOptions): Promise<void> {
  let keys: string[] = [];
  for (const pack of packs) {
    keys.push(packKey(pack));
    if (keys.length < BATCH) continue;
    await store.delete(keys, call);
    keys = [];
  }
  if (keys.length > 0) await store.delete(keys, call);
}
