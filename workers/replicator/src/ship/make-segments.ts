import { setImmediate as turn } from 'node:timers/promises';
import { mergeSummaries, type OnewriterError } from '@onewriter/protocol';
import { isKeyRefused, type Keyring } from '../format/keyring.ts';
import type { PackedSegment } from '../format/pack.ts';
import { encodeBody, type PageSource, type SegmentCommit } from '../format/segment-body.ts';
import { FRAME_HEADER_BYTES } from './continues.ts';
import { type DeflateBudget, isWorthDeflating } from './deflate-budget.ts';
import type { FirstItem, PackItem, PagesItem, UnplacedEntry } from './pack-item.ts';

/** Pieces are put together into segments up to this size, in bytes of pages. */
export const MAX_SEGMENT_BYTES = 64 * 1024 * 1024;
/** Tenants whose bodies are made at the same time: each deflate holds 300 KiB of its own. */
const CONCURRENT = 8;
const TENANTS_AT_ONCE = 32;

export interface SegmentMaking {
  readonly keys: Keyring;
  readonly budget: DeflateBudget;
  readonly nowMs: () => number;
}

/** What one tenant puts into a pack, in the order of its commits. */
export interface TenantItems {
  readonly tenant: string;
  readonly items: readonly PackItem[];
}

export interface MadeSegments<T extends TenantItems> {
  readonly segments: readonly PackedSegment[];
  /** The tenants that have them, with the key of the newest full segment of each. */
  readonly packed: readonly (T & { readonly fullKey: string | undefined })[];
  /** Tenants that have none of them, as their key cannot be used. */
  readonly refused: ReadonlyMap<T, OnewriterError>;
}

/**
 * Makes the segments of a pack: one for all pieces of a tenant that follow on each other.
 * @throws OnewriterError REPLICA_UNAVAILABLE, REPLICA_REFUSED where the key of a tenant has to be read from the store
 */
export async function makeSegments<T extends TenantItems>(
  tenants: readonly T[],
  making: SegmentMaking,
): Promise<MadeSegments<T>> {
  const made = new Map<T, readonly PackedSegment[]>();
  const refused = new Map<T, OnewriterError>();
  const left = [...tenants];
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      try {
        made.set(next, await makeForTenant(next, making));
      } catch (error) {
        if (!isKeyRefused(error)) throw error;
        refused.set(next, error);
      }
      // Small bodies are made without a wait: what comes meanwhile has its turn.
      if (made.size % TENANTS_AT_ONCE === 0) await turn();
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENT, tenants.length) }, work));
  const kept = tenants.filter(each => made.has(each));
  const packed = kept.map(each => ({ ...each, fullKey: fullKeyOf(made.get(each)!) }));
  return { segments: kept.flatMap(each => made.get(each)!), packed, refused };
}

function fullKeyOf(segments: readonly PackedSegment[]): string | undefined {
  return segments.findLast(({ entry }) => entry.kind === 'full')?.entry.key;
}

async function makeForTenant(
  { tenant, items }: TenantItems,
  making: SegmentMaking,
): Promise<readonly PackedSegment[]> {
  const segments: PackedSegment[] = [];
  let pieces: PagesItem[] = [];
  let bytes = 0;
  const endSegment = async () => {
    if (pieces.length > 0) segments.push(await makePages(tenant, pieces, making));
    pieces = [];
    bytes = 0;
  };
  for (const item of items) {
    if (item.kind === 'pages') {
      if (bytes + item.frames.byteLength > MAX_SEGMENT_BYTES || pieces[0]?.pageSize !== item.pageSize) {
        await endSegment();
      }
      pieces.push(item);
      bytes += item.frames.byteLength;
      continue;
    }
    await endSegment();
    if (item.kind === 'first') segments.push(await makeFirst(tenant, item, making));
    else segments.push({ entry: item.entry, body: item.body });
  }
  await endSegment();
  return segments;
}

function makePages(
  tenant: string,
  pieces: readonly PagesItem[],
  making: SegmentMaking,
): Promise<PackedSegment> {
  const commits: SegmentCommit[] = [];
  const pages: PageSource[] = [];
  for (const piece of pieces) {
    const before = pages.length;
    for (const commit of piece.commits) commits.push({ ...commit, frames: before + commit.frames });
    addFrames(pages, piece.frames, piece.pageSize, piece.skip, piece.skip + piece.commits.at(-1)!.frames);
  }
  const [first, last] = [commits[0]!, commits.at(-1)!];
  const { end, incarnation, pageSize } = pieces.at(-1)!;
  const entry: Omit<UnplacedEntry, 'plainBytes' | 'key'> = {
    ...{ tenant, kind: 'pages', min: first.pos, max: last.pos, commits: commits.length },
    ...{ firstSeq: first.commitSeq, lastSeq: last.commitSeq, firstMs: first.atMs, lastMs: last.atMs },
    ...{ epoch: last.epoch, pages: last.pages, end, incarnation, pageSize },
    writes: mergeSummaries(pieces.map(({ writes }) => writes)),
  };
  return seal(entry, commits, pages, making);
}

/** A full segment out of a log that has every page: the newest of each, in order. */
function makeFirst(tenant: string, item: FirstItem, making: SegmentMaking): Promise<PackedSegment> {
  // That of a tenant of its name before may be erased.
  making.keys.forget(tenant);
  const { commit, pageSize, firstSeq, firstMs, end, incarnation, writes } = item;
  const frames: PageSource[] = [];
  addFrames(frames, item.frames, pageSize, 0, item.count);
  const newest = new Map(frames.map(page => [page.number, page]));
  const pages = Array.from({ length: commit.pages }, (_, index) => newest.get(index + 1)!);
  const entry: Omit<UnplacedEntry, 'plainBytes' | 'key'> = {
    ...{ tenant, kind: 'full', min: commit.pos, max: commit.pos, commits: item.commits },
    ...{ firstSeq, lastSeq: commit.commitSeq, firstMs, lastMs: commit.atMs },
    ...{ epoch: commit.epoch, pages: commit.pages, end, incarnation, pageSize, writes },
  };
  return seal(entry, [{ ...commit, frames: pages.length }], pages, making);
}

async function seal(
  entry: Omit<UnplacedEntry, 'plainBytes' | 'key'>,
  commits: readonly SegmentCommit[],
  pages: readonly PageSource[],
  { keys, budget, nowMs }: SegmentMaking,
): Promise<PackedSegment> {
  const { tenant, pageSize } = entry;
  const plainBytes = pages.length * pageSize;
  const mayDeflate = (bytes: Buffer) => isWorthDeflating(bytes) && budget.take(bytes.length, nowMs());
  const plain = await encodeBody({ v: 1, tenant, pageSize, commits }, pages, mayDeflate);
  const { body, key } = await keys.seal(entry, plain);
  return { entry: { ...entry, plainBytes, key }, body };
}

/** The pages of frames `from` to `to`, where they are. */
function addFrames(
  pages: PageSource[],
  frames: ArrayBuffer,
  pageSize: number,
  from: number,
  to: number,
): void {
  const bytes = Buffer.from(frames);
  for (let frame = from; frame < to; frame++) {
    const at = frame * (FRAME_HEADER_BYTES + pageSize);
    const page = at + FRAME_HEADER_BYTES;
    pages.push({ number: bytes.readUInt32BE(at), bytes: bytes.subarray(page, page + pageSize) });
  }
}
