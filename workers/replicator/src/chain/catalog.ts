import { promisify } from 'node:util';
import { deflateRaw, inflateRaw } from 'node:zlib';
import { OnewriterError } from '@onewriter/protocol';
import { ChainState } from '../format/chain-state.ts';
import type { SegmentEntry, SegmentPlace } from '../format/entry.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/*
 * A catalogue: the chains of all tenants as they were when the packs up to a number had been read. So not all packs have to be read to
 * know them. Deflated JSON.
 */

const compress = promisify(deflateRaw);
const expand = promisify(inflateRaw);
const MAX_CATALOG_BYTES = 1024 * 1024 * 1024;

export interface Catalog {
  /** The last number of level 0 that it covers. */
  readonly to: number;
  /** The highest of all packs up to there: a pack behind it with a lower one is void. */
  readonly term: number;
  readonly atMs: number;
  readonly tenants: ReadonlyMap<string, ChainState>;
}

interface StoredCatalog {
  readonly v: 1;
  readonly to: number;
  readonly term: number;
  readonly atMs: number;
  readonly tenants: readonly {
    readonly places: readonly SegmentPlace[];
    /** Where it is not that of the last place: of a deleted tenant. */
    readonly last?: SegmentEntry | undefined;
  }[];
}

export function catalogKey(to: number): string {
  return `catalogs/${String(to).padStart(12, '0')}.cat`;
}

export async function encodeCatalog({ to, term, atMs, tenants }: Catalog): Promise<Buffer> {
  const stored: StoredCatalog = {
    v: 1,
    ...{ to, term, atMs },
    tenants: [...tenants.values()].map(({ places, last, isAlive }) =>
      isAlive ? { places } : { places, last },
    ),
  };
  return compress(Buffer.from(JSON.stringify(stored)), { level: 6 });
}

/**
 * @returns undefined where it is not there any more.
 * @throws OnewriterError REPLICA_REFUSED where it is damaged, or of a newer version.
 */
export async function readCatalog(
  store: ObjectStore,
  key: string,
  options?: CallOptions,
): Promise<Catalog | undefined> {
  const found = await store.get(key, options);
  if (found === undefined) return undefined;
  const { v, to, term, atMs, tenants } = await parse(key, found.body);
  if (v !== 1) throw damaged(key, `has version ${String(v)}`);
  const chains = new Map<string, ChainState>();
  for (const { places, last } of tenants) {
    const chain = new ChainState(places, last);
    if (chain.last !== undefined) chains.set(chain.last.tenant, chain);
  }
  return { to, term, atMs, tenants: chains };
}

async function parse(key: string, body: Buffer): Promise<StoredCatalog> {
  try {
    return JSON.parse(
      (await expand(body, { maxOutputLength: MAX_CATALOG_BYTES })).toString(),
    ) as StoredCatalog;
  } catch (error) {
    throw damaged(key, `cannot be read (${(error as Error).message})`);
  }
}

function damaged(key: string, what: string): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `The catalogue ${key} of the replica ${what}: it is damaged, or of a newer version.`,
    { reason: 'damaged catalogue' },
  );
}
