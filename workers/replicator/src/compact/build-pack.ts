import assert from 'node:assert/strict';
import { isOnewriterError } from '@onewriter/protocol';
import { partKey } from '../chain/read-body.ts';
import type { PackId, SegmentParts } from '../format/entry.ts';
import { isKeyRefused, KEY_MISSING, type Keyring } from '../format/keyring.ts';
import { hashOf, type PackedSegment } from '../format/pack.ts';
import { decodeBody, type SegmentBody } from '../format/segment-body.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { mergeBodies } from './merge-bodies.ts';
import { chunksOf, type MergeGroup } from './merge-groups.ts';
import type { PackSources, ReadBodies } from './pack-sources.ts';

/** Stored bodies that are in memory at a time, beside the pack that is made. */
const MAX_CHUNK_BYTES = 32 * 1024 * 1024;
/** A larger body, and what does not go into the pack any more, is an object of its own: a pack is put as a whole. */
const MAX_INLINE_BYTES = 8 * 1024 * 1024;
const MAX_PACK_BYTES = 64 * 1024 * 1024;

export interface BuildOptions {
  readonly store: ObjectStore;
  readonly keys: Keyring;
  readonly sources: PackSources;
  readonly pack: PackId;
  readonly call: CallOptions;
  /** A segment of the tenant was changed in the store: it cannot be merged, and is copied as it is. */
  readonly onDamaged: (tenant: string) => void;
}

/** Merges and copies segments, in order; large bodies are stored here already. */
export async function buildSegments(
  groups: readonly MergeGroup[],
  options: BuildOptions,
): Promise<readonly PackedSegment[]> {
  const segments: PackedSegment[] = [];
  let bytes = 0;
  for (const chunk of chunksOf(groups, MAX_CHUNK_BYTES)) {
    const stored = await options.sources.readBodies(chunk.flat());
    for (const group of chunk) {
      for (const segment of await mergeGroup(group, stored, options)) {
        const size = segment.body?.length ?? 0;
        const isInline = size <= MAX_INLINE_BYTES && bytes + size <= MAX_PACK_BYTES;
        segments.push(isInline ? segment : await storeApart(segment, options));
        if (isInline) bytes += size;
      }
    }
  }
  return segments;
}

async function mergeGroup(
  group: MergeGroup,
  stored: ReadBodies,
  { keys, onDamaged }: BuildOptions,
): Promise<readonly PackedSegment[]> {
  const [{ entry: first }] = group;
  const isDamaged = group.some(place => stored.damaged.has(place));
  if (isDamaged) onDamaged(first.tenant);
  const opened = isDamaged || group.length === 1 ? 'unreadable' : await openBodies(group, stored, keys);
  if (opened === 'damaged') onDamaged(first.tenant);
  if (typeof opened === 'string') return asStored(group, stored);
  const merged = await mergeBodies(
    group.map(({ entry }) => entry),
    opened,
  );
  try {
    // History gets no key that its tenant does not have.
    const { body, key } = await keys.seal(merged.entry, merged.body, false);
    return [{ entry: { ...merged.entry, key }, body }];
  } catch (error) {
    if (!isKeyRefused(error)) throw error;
    return asStored(group, stored);
  }
}

function asStored(group: MergeGroup, { bodies }: ReadBodies): readonly PackedSegment[] {
  return group.map(place => ({
    entry: place.entry,
    body: bodies.get(place),
    sha256: place.entry.sha256,
  }));
}

/** 'unreadable': the tenant's key was erased, or is not given. */
async function openBodies(
  group: MergeGroup,
  { bodies: stored }: ReadBodies,
  keys: Keyring,
): Promise<readonly SegmentBody[] | 'unreadable' | 'damaged'> {
  const bodies: SegmentBody[] = [];
  for (const place of group) {
    const { entry } = place;
    try {
      bodies.push(await decodeBody(await keys.open(entry, entry.key, stored.get(place)!)));
    } catch (error) {
      if (!isOnewriterError(error, 'REPLICA_REFUSED')) throw error;
      return error.details.reason === KEY_MISSING ? 'unreadable' : 'damaged';
    }
  }
  return bodies;
}

async function storeApart(
  { entry, body }: PackedSegment,
  { store, pack, call }: BuildOptions,
): Promise<PackedSegment> {
  assert(body, 'Only a body is stored apart.');
  const { tenant, max } = entry;
  // Encrypted again it has other bytes, which must not take the place of those that a stored pack refers to.
  const hash = hashOf(body);
  const prefix = `snapshots/${tenant}/${max}-l${pack.level}b${pack.number}-${hash.slice(0, 16)}`;
  await store.put(partKey(prefix, 0), body, call);
  const parts: SegmentParts = {
    prefix,
    count: 1,
    bytes: body.length,
    sha256: hashOf(Buffer.from(hash)),
  };
  return { entry: { ...entry, parts } };
}
