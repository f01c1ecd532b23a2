import { numbersOf } from '../chain/blocks.ts';
import type { ChainState } from '../format/chain-state.ts';
import type { SegmentPlace } from '../format/entry.ts';
import type { MergeGroup } from './merge-groups.ts';

/** Bytes of bodies that one pack of level 3 takes over. Packs expire as fast as they are made, so this is spread over many. */
const MAX_CARRIED_BYTES = 32 * 1024 * 1024;

/** Whether a segment lies in a pack that is kept for chains alone. */
export function isExpired({ pack }: SegmentPlace, keptFrom: number): boolean {
  return pack.level === 3 && numbersOf(pack).last < keptFrom;
}

/**
 * Full segments that a new pack of level 3 takes over from expired ones, so that those need not be kept for them; the oldest first.
 * @param keptFrom the first number that is not expired
 * @param inBlock tenants with segments of their own in the new pack
 */
export function chooseCarried(
  tenants: ReadonlyMap<string, ChainState>,
  keptFrom: number,
  inBlock: ReadonlyMap<string, unknown>,
): readonly MergeGroup[] {
  const found: SegmentPlace[] = [];
  for (const [tenant, { places, isAlive }] of tenants) {
    const [full] = places;
    const isAlone = places.length === 1 && full?.entry.kind === 'full';
    if (isAlive && isAlone && isExpired(full, keptFrom) && !inBlock.has(tenant)) found.push(full);
  }
  found.sort(({ pack: one }, { pack: other }) => one.number - other.number);
  let bytes = 0;
  return found
    .filter(({ entry }) => {
      bytes += entry.length;
      return bytes <= MAX_CARRIED_BYTES;
    })
    .map(full => [full]);
}

/** Tenants whose chains lie in expired packs and cannot be taken over as they are: a new full segment frees those. */
export function tenantsOnExpired(
  tenants: ReadonlyMap<string, ChainState>,
  keptFrom: number,
): readonly string[] {
  return [...tenants]
    .filter(([, { places }]) => places.length > 1 && places.some(place => isExpired(place, keptFrom)))
    .map(([tenant]) => tenant);
}
