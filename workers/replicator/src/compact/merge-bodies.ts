import { mergeSummaries } from '@onewriter/protocol';
import type { SegmentEntry } from '../format/entry.ts';
import { encodeBody, type PageSource, type SegmentBody } from '../format/segment-body.ts';

/** An entry whose place is not known yet. */
export type UnplacedEntry = Omit<SegmentEntry, 'offset' | 'length' | 'sha256' | 'key'>;

/**
 * Makes one segment of several that follow each other: the newest page of each number, without those behind the end of the file.
 * @param entries one for each body, the first `pages` or `full`
 */
export async function mergeBodies(
  entries: readonly SegmentEntry[],
  bodies: readonly SegmentBody[],
): Promise<{ readonly entry: UnplacedEntry; readonly body: Buffer }> {
  const pages = newestPages(bodies, entries.at(-1)!.pages);
  const entry = mergeEntries(entries, pages.length);
  const { tenant, pageSize, max: pos, lastSeq: commitSeq, lastMs: atMs, epoch } = entry;
  const commit = { pos, commitSeq, atMs, epoch, pages: entry.pages, frames: pages.length };
  return { entry, body: await encodeBody({ v: 1, tenant, pageSize, commits: [commit] }, pages) };
}

function newestPages(bodies: readonly SegmentBody[], size: number): readonly PageSource[] {
  const newest = new Map<number, Buffer>();
  for (const { header, numbers, pages } of bodies) {
    for (const [index, number] of numbers.entries()) {
      newest.set(number, pages.subarray(index * header.pageSize, (index + 1) * header.pageSize));
    }
  }
  return [...newest]
    .filter(([number]) => number <= size)
    .sort(([one], [other]) => one - other)
    .map(([number, bytes]) => ({ number, bytes }));
}

function mergeEntries(entries: readonly SegmentEntry[], pages: number): UnplacedEntry {
  const first = entries[0]!;
  const { offset, length, sha256, key, parts, ...last } = entries.at(-1)!;
  const plainBytes = pages * last.pageSize;
  const writes = mergeSummaries(entries.map(entry => entry.writes));
  if (first.kind === 'full') {
    const { max: min, lastSeq: firstSeq, lastMs: firstMs } = last;
    return { ...last, kind: 'full', min, firstSeq, firstMs, commits: 1, plainBytes, writes };
  }
  const { min, firstSeq, firstMs } = first;
  const commits = entries.reduce((sum, entry) => sum + entry.commits, 0);
  return { ...last, kind: 'pages', min, firstSeq, firstMs, commits, plainBytes, writes };
}
