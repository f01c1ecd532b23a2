import { promisify } from 'node:util';
import { deflateRaw, inflateRaw } from 'node:zlib';
import { OnewriterError } from '@onewriter/protocol';
import { ChainState } from '../format/chain-state.ts';
import type { SegmentEntry, SegmentPlace } from '../format/entry.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/*
 * A catalogue: the chains of all tenants as they were when the packs up to a number had been read. So not all packs have to be read to
 * know them. Deflated JSON, a line for each tenant: one text of all of them takes as much memory again as the chains (infra/adr/0066).
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

interface StoredHead extends Omit<Catalog, 'tenants'> {
  readonly v: 1;
}

interface StoredTenant {
  readonly places: readonly SegmentPlace[];
  /** Where it is not that of the last place: of a deleted tenant. */
  readonly last?: SegmentEntry | undefined;
}

export function catalogKey(to: number): string {
  return `catalogs/${String(to).padStart(12, '0')}.cat`;
}

export async function encodeCatalog({ to, term, atMs, tenants }: Catalog): Promise<Buffer> {
  const lines = [lineOf({ v: 1, to, term, atMs } satisfies StoredHead)];
  for (const { places, last, isAlive } of tenants.values())
    lines.push(lineOf((isAlive ? { places } : { places, last }) satisfies StoredTenant));
  return compress(Buffer.concat(lines), { level: 6 });
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
  const chains = new Map<string, ChainState>();
  let head: StoredHead | undefined;
  try {
    for (const line of linesOf(await expand(found.body, { maxOutputLength: MAX_CATALOG_BYTES }))) {
      if (head === undefined) {
        head = JSON.parse(line) as StoredHead;
        if (head.v !== 1) break;
        continue;
      }
      const { places, last } = JSON.parse(line) as StoredTenant;
      const chain = new ChainState(places, last);
      if (chain.last !== undefined) chains.set(chain.last.tenant, chain);
    }
  } catch (error) {
    throw damaged(key, `cannot be read (${(error as Error).message})`);
  }
  if (head?.v !== 1) throw damaged(key, `has version ${String(head?.v)}`);
  const { to, term, atMs } = head;
  return { to, term, atMs, tenants: chains };
}

function lineOf(value: StoredHead | StoredTenant): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function* linesOf(text: Buffer): Iterable<string> {
  for (let from = 0; from < text.length; ) {
    const end = text.indexOf('\n', from);
    const to = end === -1 ? text.length : end;
    yield text.toString('utf8', from, to);
    from = to + 1;
  }
}

function damaged(key: string, what: string): OnewriterError {
  return new OnewriterError(
    'REPLICA_REFUSED',
    `The catalogue ${key} of the replica ${what}: it is damaged, or of a newer version.`,
    { reason: 'damaged catalogue' },
  );
}
