import type { PackItem } from './pack-item.ts';
import type { PackedTenant } from './ship-state.ts';
import type { TenantLine } from './tenant-line.ts';

/** A pack is not made larger than this by a further piece. */
export const MAX_PACK_BYTES = 64 * 1024 * 1024;

/** Takes what the next pack has; lines without more are removed from `ready`. @returns whether that is all that could be taken */
export function takeItems(
  ready: Set<TenantLine>,
  maxBytes = MAX_PACK_BYTES,
): { readonly pack: readonly PackedTenant[]; readonly isAll: boolean } {
  const pack: PackedTenant[] = [];
  let bytes = 0;
  let isFull = false;
  for (const line of ready) {
    const items: PackItem[] = [];
    for (;;) {
      const [item] = line.items;
      if (item === undefined || (item.kind !== 'entry' && item.unflushed !== undefined)) break;
      const size = sizeOf(item);
      isFull = bytes > 0 && bytes + size > maxBytes;
      if (isFull) break;
      items.push(line.take());
      bytes += size;
    }
    if (items.length > 0) pack.push({ line, items });
    if (line.items.length === 0) ready.delete(line);
    if (isFull) break;
  }
  return { pack, isAll: !isFull };
}

function sizeOf(item: PackItem): number {
  return item.kind === 'entry' ? (item.body?.length ?? 0) : item.frames.byteLength;
}
