import type { Covered } from '../chain/blocks.ts';
import { PACKS_OF_LEVEL, type PackId } from '../format/entry.ts';

/** The pack that is made next: the highest level whose packs below are there, so that few indexes have to be read at a start. */
export function nextBlock(compacted: Covered): PackId & { readonly level: 1 | 2 | 3 } {
  for (const level of [3, 2] as const) {
    const below = compacted[(level - 1) as 1 | 2];
    const last = compacted[level] + PACKS_OF_LEVEL[level];
    if (below >= last) return { level, number: last / PACKS_OF_LEVEL[level] };
  }
  return { level: 1, number: compacted[1] / PACKS_OF_LEVEL[1] + 1 };
}
