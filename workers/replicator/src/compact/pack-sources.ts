import { OnewriterError } from '@onewriter/protocol';
import { readAhead } from '../chain/read-ahead.ts';
import { readBlock } from '../chain/replica-state.ts';
import { type PackId, type PackIndex, packKey, type SegmentPlace } from '../format/entry.ts';
import { decodeIndex, hashOf, isDamagedPack } from '../format/pack.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';

/** A pack of at most this size is read whole with its index: one request. 32 of them are kept. */
const TAIL_BYTES = 512 * 1024;
/** Bodies with less between them are read by one request. */
const MAX_GAP_BYTES = 1024 * 1024;
const WINDOW = { calls: 8, bytes: 64 * 1024 * 1024 };

interface Range {
  readonly pack: PackId;
  readonly from: number;
  to: number;
  readonly places: SegmentPlace[];
}

/** What {@link PackSources.readBodies} found. */
export interface ReadBodies {
  readonly bodies: ReadonlyMap<SegmentPlace, Buffer>;
  readonly damaged: ReadonlySet<SegmentPlace>;
}

/** The packs that a block is made of. */
export class PackSources {
  readonly #store: ObjectStore;
  readonly #options: CallOptions;
  /** Small packs, by key. */
  readonly #whole = new Map<string, Buffer>();

  constructor(store: ObjectStore, options: CallOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** The indexes of the packs, or of those that a damaged one was made of; undefined where one of them is not there. */
  async readIndexes(packs: readonly PackId[]): Promise<readonly PackIndex[] | undefined> {
    const indexes: PackIndex[] = [];
    const bounds = { ...WINDOW, bytesOf: () => TAIL_BYTES };
    for await (const found of readAhead(packs, bounds, pack => this.#readBlock(pack))) {
      if (found === undefined) return undefined;
      indexes.push(...found);
    }
    return indexes;
  }

  async #readBlock(pack: PackId): Promise<readonly PackIndex[] | undefined> {
    try {
      const index = await this.#readIndex(pack);
      return index && [index];
    } catch (error) {
      if (!isDamagedPack(error)) throw error;
      return readBlock(this.#store, pack, this.#options);
    }
  }

  /**
   * The stored bodies of segments. Those without one in their pack have none here.
   * @returns `damaged`: those whose bytes are not the ones that were stored
   * @throws OnewriterError REPLICA_REFUSED where a pack is gone
   */
  async readBodies(places: readonly SegmentPlace[]): Promise<ReadBodies> {
    const bodies = new Map<SegmentPlace, Buffer>();
    const damaged = new Set<SegmentPlace>();
    const ranges = rangesOf(places.filter(({ entry }) => entry.length > 0));
    const bounds = { ...WINDOW, bytesOf: ({ from, to }: Range) => to - from };
    for await (const { range, bytes } of readAhead(ranges, bounds, range => this.#readRange(range))) {
      for (const place of range.places) {
        const at = place.entry.offset - range.from;
        // A copy, so that the rest of the range does not stay in memory.
        const body = Buffer.from(bytes.subarray(at, at + place.entry.length));
        bodies.set(place, body);
        if (hashOf(body) !== place.entry.sha256) damaged.add(place);
      }
    }
    return { bodies, damaged };
  }

  async #readIndex(pack: PackId): Promise<PackIndex | undefined> {
    const key = packKey(pack);
    for (let last = TAIL_BYTES; ; ) {
      const found = await this.#store.get(key, { ...this.#options, range: { last } });
      if (found === undefined) return undefined;
      const index = decodeIndex(found.body, found.size);
      if (!('needs' in index)) {
        if (found.body.length === found.size && found.size <= TAIL_BYTES) this.#whole.set(key, found.body);
        return index;
      }
      last = index.needs;
    }
  }

  async #readRange(range: Range): Promise<{ readonly range: Range; readonly bytes: Buffer }> {
    const { pack, from, to } = range;
    const key = packKey(pack);
    const whole = this.#whole.get(key);
    if (whole !== undefined) return { range, bytes: whole.subarray(from, to) };
    const found = await this.#store.get(key, { ...this.#options, range: { from, length: to - from } });
    if (found !== undefined) return { range, bytes: found.body };
    throw new OnewriterError(
      'REPLICA_REFUSED',
      `${key} of the replica is not there: it was deleted by others.`,
      {
        reason: 'missing pack',
      },
    );
  }
}

/** The fewest requests for the bodies, without reading much that is not asked for. */
function rangesOf(places: readonly SegmentPlace[]): readonly Range[] {
  const sorted = places.toSorted(
    ({ pack: one, entry: a }, { pack: other, entry: b }) =>
      one.level - other.level || one.number - other.number || a.offset - b.offset,
  );
  const ranges: Range[] = [];
  for (const place of sorted) {
    const { pack, entry } = place;
    const last = ranges.at(-1);
    const isSame = last?.pack.level === pack.level && last.pack.number === pack.number;
    if (last !== undefined && isSame && entry.offset - last.to <= MAX_GAP_BYTES) {
      last.to = Math.max(last.to, entry.offset + entry.length);
      last.places.push(place);
    } else {
      ranges.push({ pack, from: entry.offset, to: entry.offset + entry.length, places: [place] });
    }
  }
  return ranges;
}
