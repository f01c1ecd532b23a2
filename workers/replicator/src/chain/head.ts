import { OnewriterError } from '@onewriter/protocol';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import type { Covered } from './blocks.ts';

/** What says what must be in a store; changed by compare-and-set only, by the one that compacts. */
export const HEAD_KEY = 'head.json';

export interface CatalogRef {
  /** The last number of level 0 that it covers. */
  readonly to: number;
  /** When it was made, ms since the epoch; no commit in it is newer. */
  readonly atMs: number;
  readonly key: string;
}

export interface Head {
  readonly format: 1;
  /** Of the replicator that compacts. */
  readonly term: number;
  readonly compacted: Covered;
  /** From the oldest to the newest. */
  readonly catalogs: readonly CatalogRef[];
  /** The first number of level 0 of which each level still has a pack; those before may be gone. */
  readonly kept: Readonly<Record<0 | 1 | 2 | 3, number>>;
}

/** Of a store in which nothing was compacted yet. */
export const FIRST_HEAD: Head = Object.freeze({
  format: 1,
  term: 0,
  compacted: { 1: 0, 2: 0, 3: 0 },
  catalogs: [],
  kept: { 0: 1, 1: 1, 2: 1, 3: 1 },
});

/**
 * @returns the head, and its etag where there is one.
 * @throws OnewriterError REPLICA_REFUSED where it is damaged, or a newer version wrote it.
 */
export async function readHead(
  store: ObjectStore,
  options?: CallOptions,
): Promise<{ readonly head: Head; readonly etag: string | undefined }> {
  const found = await store.get(HEAD_KEY, options);
  if (found === undefined) return { head: FIRST_HEAD, etag: undefined };
  return { head: parseHead(found.body), etag: found.etag };
}

function parseHead(body: Buffer): Head {
  let head: Partial<Head> | null;
  try {
    head = JSON.parse(body.toString()) as Partial<Head> | null;
  } catch {
    head = null;
  }
  if (head?.format === 1) return head as Head;
  const message = `${HEAD_KEY} of the replica is damaged, or of a newer version: use the version that wrote it.`;
  throw new OnewriterError('REPLICA_REFUSED', message, { reason: 'unknown format' });
}
