import { OnewriterError } from '@onewriter/protocol';
import { packKey, type SegmentEntry, type SegmentPlace } from '../format/entry.ts';
import type { BodyPlace, Keyring } from '../format/keyring.ts';
import { assertBody, hashOf } from '../format/pack.ts';
import { decodeBody, type SegmentBody } from '../format/segment-body.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/** A body that lies in a pack, or a part of one that has objects of its own. */
export interface BodyRef extends SegmentPlace {
  /** Number of the part, from 0; undefined: it lies in the pack. */
  readonly part?: number | undefined;
}

/** The bodies of a segment, in order; none for one that only says something. */
export function bodiesOf(place: SegmentPlace): readonly BodyRef[] {
  const { parts, length } = place.entry;
  if (parts !== undefined) return Array.from({ length: parts.count }, (_, part) => ({ ...place, part }));
  return length === 0 ? [] : [place];
}

/** Bytes of a body as it is stored; those of a part as they are on average. */
export function bytesOf({ entry, part }: BodyRef): number {
  return part === undefined ? entry.length : Math.ceil(entry.parts!.bytes / entry.parts!.count);
}

export function partKey(prefix: string, part: number): string {
  return `${prefix}/${String(part).padStart(4, '0')}.snap`;
}

/** A body, and the hash of what is stored. */
export interface ReadBody extends SegmentBody {
  readonly ref: BodyRef;
  readonly sha256: string;
}

/**
 * Reads, checks and decodes a body: one request.
 * @throws OnewriterError REPLICA_UNAVAILABLE; REPLICA_REFUSED where it is not there, was changed, or cannot be decrypted
 */
export async function readBody(
  store: ObjectStore,
  keys: Keyring,
  ref: BodyRef,
  options?: CallOptions,
): Promise<ReadBody> {
  const { pack, entry, part } = ref;
  const { offset: from, length } = entry;
  const key = part === undefined ? packKey(pack) : partKey(entry.parts!.prefix, part);
  const range = part === undefined ? { from, length } : undefined;
  const found = await store.get(key, { ...options, range });
  if (found === undefined) throw gone(entry, key);
  if (part === undefined) assertBody(entry, found.body);
  const body = await decodeBody(await keys.open(placeOf(entry, part), entry.key, found.body));
  if (body.header.tenant !== entry.tenant || body.header.pageSize !== entry.pageSize) {
    throw new OnewriterError(
      'REPLICA_REFUSED',
      `${key} has a segment of another tenant than its index says.`,
      {
        tenant: entry.tenant,
        reason: 'damaged segment',
      },
    );
  }
  return { ...body, ref, sha256: part === undefined ? entry.sha256 : hashOf(found.body) };
}

/** What a body is encrypted for. */
export function placeOf(
  { tenant, kind, min, max }: Omit<BodyPlace, 'part'>,
  part?: number | undefined,
): BodyPlace {
  return { tenant, kind, min, max, part };
}

function gone({ tenant }: SegmentEntry, key: string): OnewriterError {
  const message = `${key} of the replica is not there: it expired meanwhile, or was deleted by others. Try again.`;
  return new OnewriterError('REPLICA_REFUSED', message, { tenant, reason: 'missing segment' });
}
