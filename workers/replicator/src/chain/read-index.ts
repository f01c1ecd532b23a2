import { type PackId, type PackIndex, packKey } from '../format/entry.ts';
import { decodeIndex, INDEX_READ_BYTES } from '../format/pack.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/**
 * Reads the index of a pack: one request, two where many tenants are in it.
 * @returns undefined where the pack is not there
 * @throws OnewriterError REPLICA_UNAVAILABLE, REPLICA_REFUSED
 */
export async function readIndex(
  store: ObjectStore,
  pack: PackId,
  options?: CallOptions,
): Promise<PackIndex | undefined> {
  let last = INDEX_READ_BYTES;
  for (;;) {
    const found = await store.get(packKey(pack), { ...options, range: { last } });
    if (found === undefined) return undefined;
    const index = decodeIndex(found.body, found.size);
    if (!('needs' in index)) return index;
    last = index.needs;
  }
}
