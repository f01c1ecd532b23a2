import { createHash, randomBytes } from 'node:crypto';
import { OnewriterError } from '@onewriter/protocol';
import { readAhead } from '../chain/read-ahead.ts';
import { partKey, placeOf } from '../chain/read-body.ts';
import type { SegmentEntry } from '../format/entry.ts';
import type { Keyring } from '../format/keyring.ts';
import { hashOf, type PackedSegment } from '../format/pack.ts';
import { encodeBody, type PageSource } from '../format/segment-body.ts';
import { lockPageOf } from '../restore/page-file.ts';
import type { ObjectStore } from '../store/object-store.ts';

/** Up to here a full segment lies in a pack, among others, in bytes before compression. */
export const MAX_INLINE_BYTES = 1024 * 1024;
/** Pages of one part, in bytes before compression. */
const PART_BYTES = 16 * 1024 * 1024;
/** Parts that are compressed and sent at the same time: each takes some times its size. */
const PARTS_AT_A_TIME = 3;

/** All pages of a database that does not change meanwhile. */
export interface FullSource {
  readonly pageSize: number;
  readonly pages: number;
  /** @param first number of the first page, from 1 @param into whole pages */
  readonly read: (first: number, into: Buffer) => void;
}

/** What is known of the state that the pages make. */
export interface FullState extends Pick<SegmentEntry, 'tenant' | 'epoch' | 'incarnation' | 'end'> {
  readonly pos: number;
  readonly commitSeq: number;
  readonly atMs: number;
}

/**
 * Stores all pages of a database: as parts that are objects of their own, or as a body for the next pack where they are few. Nothing
 * refers to the parts until the segment is in a pack.
 * @throws OnewriterError REPLICA_UNAVAILABLE, REPLICA_REFUSED
 */
export async function storeFull(
  store: ObjectStore,
  keys: Keyring,
  source: FullSource,
  state: FullState,
  signal?: AbortSignal | undefined,
): Promise<PackedSegment> {
  const { pageSize, pages } = source;
  const { tenant, pos, commitSeq, atMs, epoch, incarnation, end } = state;
  const entry: PackedSegment['entry'] = {
    tenant,
    kind: 'full',
    ...{ min: pos, max: pos, key: '' },
    ...{ firstSeq: commitSeq, lastSeq: commitSeq, firstMs: atMs, lastMs: atMs },
    ...{ epoch, pageSize, pages, incarnation, end },
    commits: 1,
    plainBytes: pages * pageSize,
  };
  const make = async (first: number, count: number, part?: number) => {
    const chunk = readPages(source, first, count);
    const commit = { pos, commitSeq, atMs, epoch, pages, frames: chunk.length };
    const plain = await encodeBody({ v: 1, tenant, pageSize, commits: [commit] }, chunk);
    return keys.seal(placeOf(entry, part), plain);
  };
  if (pages * pageSize <= MAX_INLINE_BYTES) {
    const { body, key } = await make(1, pages);
    return { entry: { ...entry, key }, body };
  }
  const prefix = `snapshots/${tenant}/${pos}-${randomBytes(8).toString('hex')}`;
  const inPart = Math.floor(PART_BYTES / pageSize);
  const parts = Array.from({ length: Math.ceil(pages / inPart) }, (_, part) => part);
  const hashes = createHash('sha256');
  const found = new Set<string>();
  let bytes = 0;
  const bounds = { calls: PARTS_AT_A_TIME, bytes: Number.POSITIVE_INFINITY, bytesOf: () => 0 };
  const stored = readAhead(parts, bounds, async (part, given) => {
    const first = part * inPart + 1;
    const { body, key } = await make(first, Math.min(inPart, pages - first + 1), part);
    const either = signal === undefined ? given : AbortSignal.any([signal, given]);
    await store.put(partKey(prefix, part), body, { signal: either });
    return { key, length: body.length, sha256: hashOf(body) };
  });
  for await (const { key, length, sha256 } of stored) {
    found.add(key);
    bytes += length;
    hashes.update(sha256);
  }
  const [key] = found;
  if (found.size !== 1 || key === undefined) {
    const message = `The key of tenant ${tenant} was changed while its pages were stored. Try again.`;
    throw new OnewriterError('REPLICA_REFUSED', message, { tenant, reason: 'key changed' });
  }
  return {
    entry: { ...entry, key, parts: { prefix, count: parts.length, bytes, sha256: hashes.digest('hex') } },
  };
}

/** Without the page of the lock byte, which is in no segment. */
function readPages({ pageSize, read }: FullSource, first: number, count: number): PageSource[] {
  const bytes = Buffer.allocUnsafe(count * pageSize);
  read(first, bytes);
  const pages: PageSource[] = [];
  for (let index = 0; index < count; index++) {
    if (first + index === lockPageOf(pageSize)) continue;
    pages.push({ number: first + index, bytes: bytes.subarray(index * pageSize, (index + 1) * pageSize) });
  }
  return pages;
}
