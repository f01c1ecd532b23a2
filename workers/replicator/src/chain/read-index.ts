import { type PackId, type PackIndex, packKey } from '../format/entry.ts';
import { assertVersion, decodeIndex, INDEX_READ_BYTES, isDamagedPack } from '../format/pack.ts';
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

/**
 * As {@link readIndex}; a pack that cannot be read counts as empty: one damaged object must not end the work for all tenants.
 * @throws OnewriterError REPLICA_UNAVAILABLE; REPLICA_REFUSED where a newer version made it
 */
export async function readIndexOrEmpty(
  store: ObjectStore,
  pack: PackId,
  options?: CallOptions,
): Promise<PackIndex | undefined> {
  try {
    return await readIndex(store, pack, options);
  } catch (error) {
    if (!isDamagedPack(error)) throw error;
  }
  // Only this answer may have been wrong.
  const whole = await store.get(packKey(pack), options);
  if (whole === undefined) return undefined;
  assertVersion(whole.body);
  try {
    return decodeIndex(whole.body, whole.body.length) as PackIndex;
  } catch (error) {
    if (!isDamagedPack(error)) throw error;
    return { v: 1, ...pack, term: 0, writtenAtMs: 0, entries: [], damaged: true };
  }
}
