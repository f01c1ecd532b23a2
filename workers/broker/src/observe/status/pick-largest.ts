/**
 * The `count` items of the largest size, the largest first, in one walk; those of size 0 and less are left out. The list
 * is kept sorted by insertion: most items are smaller than its last and cost one comparison.
 */
export function pickLargest<Item>(
  items: Iterable<Item>,
  count: number,
  sizeOf: (item: Item) => number,
): readonly Item[] {
  const picked: Item[] = [];
  const sizes: number[] = [];
  for (const item of items) {
    const size = sizeOf(item);
    if (!(size > 0) || (picked.length === count && size <= sizes[count - 1]!)) continue;
    let at = picked.length < count ? picked.length : count - 1;
    for (; at > 0 && sizes[at - 1]! < size; at--) {
      picked[at] = picked[at - 1]!;
      sizes[at] = sizes[at - 1]!;
    }
    picked[at] = item;
    sizes[at] = size;
  }
  return picked;
}
