import { OnewriterError } from '@onewriter/protocol';
import { LEADER_KEY } from '../ship/take-lead.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/** In a copy: how far it is. A store without it that has a leader of its own is no copy. */
const MARK_KEY = 'copied.json';

export interface CopyMark {
  readonly format: 1;
  /** The store that it is a copy of, without secrets. */
  readonly of: string;
  /** Numbers of level 0 before it are there, or in a pack of a higher level. */
  readonly next: number;
  /** `head.json` of the other store, as it was copied. */
  readonly headEtag: string;
}

/**
 * @returns undefined for a store that nothing was copied to yet.
 * @throws OnewriterError REPLICA_REFUSED where it has packs of its own.
 */
export async function readMark(store: ObjectStore, options: CallOptions): Promise<CopyMark | undefined> {
  const found = await store.get(MARK_KEY, options);
  if (found !== undefined) return JSON.parse(found.body.toString()) as CopyMark;
  if ((await store.get(LEADER_KEY, options)) === undefined) return undefined;
  throw new OnewriterError(
    'REPLICA_REFUSED',
    `${store.address} is a store of its own, which a broker wrote to: nothing is copied over it. Name an empty one in ONEWRITER_REPLICA_URL.`,
    { reason: 'not a copy' },
  );
}

export async function writeMark(store: ObjectStore, mark: CopyMark, options: CallOptions): Promise<void> {
  await store.put(MARK_KEY, Buffer.from(JSON.stringify(mark)), options);
}
