import { createHash } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { isOnewriterError, OnewriterError } from '@onewriter/protocol';
import type { PackIndex, SegmentEntry } from './entry.ts';

/*
 * A pack: segments of many tenants in one object, with an index at its end, which is read without the rest.
 *
 *   'OWPK' u8 version, 3 zeros ▸ bodies ▸ index (JSON, deflated) ▸
 *   u64 place of the index ▸ u32 its length ▸ 12 bytes of its SHA-256 ▸ 'OWPKEND1'
 */

const MAGIC = Buffer.from('OWPK\x01\0\0\0', 'latin1');
const VERSION_AT = 4;
const END = Buffer.from('OWPKEND1', 'latin1');
const FOOTER_BYTES = 32;
const HASH_BYTES = 12;
const DAMAGED = 'damaged pack';
/** Read first: the index of a pack with some hundred tenants is in it. */
export const INDEX_READ_BYTES = 64 * 1024;
const MAX_INDEX_BYTES = 256 * 1024 * 1024;

/** A segment to be put into a pack. */
export interface PackedSegment {
  /** `offset` and `length` are filled in. */
  readonly entry: Omit<SegmentEntry, 'offset' | 'length' | 'sha256'>;
  /** As it is to be stored, encrypted or not; undefined where it has none, or has it in parts. */
  readonly body?: Buffer | undefined;
  /** Of a body that is copied: the hash that it was stored with first. So what was changed in the store since stays recognizable. */
  readonly sha256?: string | undefined;
}

/** @returns the bytes of the object, and its index. */
export function encodePack(
  head: Omit<PackIndex, 'v' | 'entries'>,
  segments: readonly PackedSegment[],
): { readonly bytes: Buffer; readonly index: PackIndex } {
  const bodies: Buffer[] = [MAGIC];
  let offset = MAGIC.length;
  const entries = segments.map(({ entry, body, sha256 }): SegmentEntry => {
    if (body === undefined) return { ...entry, offset: 0, length: 0, sha256: '' };
    bodies.push(body);
    const placed = { ...entry, offset, length: body.length, sha256: sha256 ?? hashOf(body) };
    offset += body.length;
    return placed;
  });
  const index: PackIndex = { v: 1, ...head, entries };
  const text = deflateRawSync(Buffer.from(JSON.stringify(index)));
  const footer = Buffer.alloc(FOOTER_BYTES);
  footer.writeBigUInt64LE(BigInt(offset), 0);
  footer.writeUInt32LE(text.length, 8);
  createHash('sha256').update(text).digest().copy(footer, 12, 0, HASH_BYTES);
  END.copy(footer, 24);
  return { bytes: Buffer.concat([...bodies, text, footer]), index };
}

/**
 * Reads the index out of the last bytes of a pack.
 * @param size of the whole pack
 * @returns the index; or how many of the last bytes are needed for it
 * @throws OnewriterError REPLICA_REFUSED where it is no pack.
 */
export function decodeIndex(last: Buffer, size: number): PackIndex | { readonly needs: number } {
  if (last.length < FOOTER_BYTES) throw damaged('is too short');
  const footer = last.subarray(last.length - FOOTER_BYTES);
  if (!footer.subarray(24).equals(END)) throw damaged('has no end');
  const at = Number(footer.readBigUInt64LE(0));
  const length = footer.readUInt32LE(8);
  const needs = size - at;
  if (length > MAX_INDEX_BYTES || needs !== length + FOOTER_BYTES)
    throw damaged('has an index of another length');
  if (last.length < needs) return { needs };
  const text = last.subarray(last.length - needs, last.length - FOOTER_BYTES);
  const hash = createHash('sha256').update(text).digest();
  if (!hash.subarray(0, HASH_BYTES).equals(footer.subarray(12, 12 + HASH_BYTES)))
    throw damaged('has an index that was changed');
  const index = JSON.parse(
    inflateRawSync(text, { maxOutputLength: MAX_INDEX_BYTES }).toString(),
  ) as PackIndex;
  if (index.v !== 1) throw newer();
  return index;
}

/** @param pack all of its bytes @throws OnewriterError REPLICA_REFUSED where a newer version made it, so that it is not damaged */
export function assertVersion(pack: Buffer): void {
  const isPack =
    pack.length > VERSION_AT && pack.subarray(0, VERSION_AT).equals(MAGIC.subarray(0, VERSION_AT));
  if (isPack && pack[VERSION_AT]! > MAGIC[VERSION_AT]!) throw newer();
}

/** Whether a pack cannot be read because its bytes are not those that were stored. */
export function isDamagedPack(error: unknown): boolean {
  return isOnewriterError(error, 'REPLICA_REFUSED') && error.details.reason === DAMAGED;
}

/** @throws OnewriterError REPLICA_REFUSED where a body is not the one that was stored. */
export function assertBody(entry: Pick<SegmentEntry, 'tenant' | 'sha256'>, body: Buffer): void {
  if (hashOf(body) === entry.sha256) return;
  throw new OnewriterError('REPLICA_REFUSED', 'A segment of the replica was changed in the store.', {
    tenant: entry.tenant,
    reason: 'damaged segment',
  });
}

export function hashOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex');
}

function newer(): OnewriterError {
  return new OnewriterError('REPLICA_REFUSED', 'A pack of the replica is of a newer version.', {
    reason: 'unknown format',
  });
}

function damaged(what: string): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `A pack of the replica ${what}: it is damaged, or of a newer version.`,
    {
      reason: DAMAGED,
    },
  );
}
