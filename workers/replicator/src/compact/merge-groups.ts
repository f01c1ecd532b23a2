import type { SegmentPlace } from '../format/entry.ts';

/** Segments of one tenant that become one; a single one is copied as it is. */
export type MergeGroup = readonly [SegmentPlace, ...SegmentPlace[]];

/**
 * Which segments of a tenant become one: neighbours, as many as have `maxPlainBytes` together. A segment in parts, which is large, and one
 * without pages stay alone.
 */
export function groupsOf(places: readonly SegmentPlace[], maxPlainBytes: number): readonly MergeGroup[] {
  const groups: [SegmentPlace, ...SegmentPlace[]][] = [];
  let bytes = 0;
  for (const place of places) {
    const group = groups.at(-1);
    bytes += place.entry.plainBytes;
    if (group !== undefined && bytes <= maxPlainBytes && fits(group.at(-1)!, place)) {
      group.push(place);
    } else {
      groups.push([place]);
      bytes = place.entry.plainBytes;
    }
  }
  return groups;
}

function fits({ entry: one }: SegmentPlace, { entry: next }: SegmentPlace): boolean {
  const areBodies = one.parts === undefined && next.parts === undefined;
  const areOne =
    (one.kind === 'pages' || one.kind === 'full') && next.kind === 'pages' && next.min === one.max + 1;
  return areBodies && areOne && one.pageSize === next.pageSize;
}

/** Groups, in order, whose stored bodies are read at the same time. */
export function chunksOf(
  groups: readonly MergeGroup[],
  maxBytes: number,
): readonly (readonly MergeGroup[])[] {
  const chunks: MergeGroup[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const group of groups) {
    const size = group.reduce((sum, { entry }) => sum + entry.length, 0);
    if (bytes + size > maxBytes) {
      chunks.push([]);
      bytes = 0;
    }
    chunks.at(-1)!.push(group);
    bytes += size;
  }
  return chunks;
}
