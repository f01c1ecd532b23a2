import { type PackId, packKey, type SegmentEntry } from '../src/format/entry.ts';
import { encodePack, type PackedSegment } from '../src/format/pack.ts';
import type { ObjectStore } from '../src/store/object-store.ts';

/** Stores a pack with entries that have no body, or with segments. */
export async function putPack(
  store: ObjectStore,
  pack: PackId,
  segments: readonly (SegmentEntry | PackedSegment)[] = [],
  term = 1,
): Promise<void> {
  const { bytes } = encodePack(
    { ...pack, term, writtenAtMs: 0 },
    segments.map(segment => ('entry' in segment ? segment : { entry: segment })),
  );
  await store.put(packKey(pack), bytes);
}
