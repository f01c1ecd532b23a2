import { readState } from '../src/chain/replica-state.ts';
import { compactOnce } from '../src/compact/compact-once.ts';
import { type PackId, packKey, type SegmentPlace } from '../src/format/entry.ts';
import { Keyring } from '../src/format/keyring.ts';
import { encodePack, type PackedSegment } from '../src/format/pack.ts';
import { decodeBody, encodeBody, type PageSource } from '../src/format/segment-body.ts';
import type { ObjectStore } from '../src/store/object-store.ts';
import { MemoryStore } from './memory-store.ts';
import { testEntry } from './test-entry.ts';

export const PAGE_SIZE = 512;
export const DAY_MS = 24 * 3_600_000;

/** A file of a tenant, as page numbers and one byte that fills each page. */
interface Model {
  pos: number;
  size: number;
  alive: boolean;
  readonly pages: Map<number, number>;
}

/** A commit: pages that it writes, and the size after it. */
export interface Commit {
  readonly writes: readonly (readonly [page: number, fill: number])[];
  readonly size: number;
}

/** Packs of tenants whose contents are known, without files. */
export class CompactWorld {
  readonly store = new MemoryStore();
  readonly keys: Keyring;
  readonly models = new Map<string, Model>();
  next = 1;
  term = 1;
  nowMs = 0;
  /** When the last compaction ended well. */
  #compactedMs = 0;
  #snapshots = 0;

  constructor(masterKeys: readonly string[] = [], keys: 'one' | 'tenant' = 'one') {
    this.keys = new Keyring({ masterKeys, keys, store: this.store });
  }

  model(tenant: string): Model {
    const model = this.models.get(tenant) ?? { pos: 0, size: 0, alive: false, pages: new Map() };
    this.models.set(tenant, model);
    return model;
  }

  /** Some commits, as one segment; the model follows unless it is not to count. */
  async pages(tenant: string, commits: readonly Commit[], counts = true): Promise<PackedSegment> {
    const model = this.model(tenant);
    const min = model.pos + 1;
    const max = model.pos + commits.length;
    const pages = commits.flatMap(({ writes }) => writes.map(([number, fill]) => pageOf(number, fill)));
    let frames = 0;
    const header = commits.map(({ writes, size }, index) => {
      frames += writes.length;
      return { pos: min + index, commitSeq: min + index, atMs: this.nowMs, epoch: 1, pages: size, frames };
    });
    if (counts) {
      for (const { writes, size } of commits) {
        for (const [number, fill] of writes) model.pages.set(number, fill);
        resize(model, size);
      }
      model.pos = max;
    }
    return this.#segment(tenant, 'pages', min, max, commits.at(-1)!.size, header, pages);
  }

  /** All pages; `apart`: as two parts. */
  async full(tenant: string, apart = false): Promise<PackedSegment> {
    const model = this.model(tenant);
    if (!model.alive) {
      model.pos++;
      model.alive = true;
      if (model.size === 0) resize(model, 1);
    }
    for (let number = 1; number <= model.size; number++) {
      if (!model.pages.has(number)) model.pages.set(number, 0);
    }
    const { pos, size } = model;
    const all = [...model.pages]
      .sort(([one], [other]) => one - other)
      .map(([number, fill]) => pageOf(number, fill));
    const commit = (frames: number) => [
      { pos, commitSeq: pos, atMs: this.nowMs, epoch: 1, pages: size, frames },
    ];
    if (!apart) return this.#segment(tenant, 'full', pos, pos, size, commit(all.length), all);
    const prefix = `snapshots/${tenant}/${pos}-${++this.#snapshots}`;
    const half = Math.ceil(all.length / 2);
    let bytes = 0;
    for (const [part, pages] of [all.slice(0, half), all.slice(half)].entries()) {
      const { body } = await this.#segment(tenant, 'full', pos, pos, size, commit(pages.length), pages);
      await this.store.put(`${prefix}/000${part}.snap`, body!);
      bytes += body!.length;
    }
    const { entry } = await this.#segment(tenant, 'full', pos, pos, size, commit(0), []);
    return { entry: { ...entry, parts: { prefix, count: 2, bytes, sha256: '' } as never } };
  }

  deleted(tenant: string): PackedSegment {
    const model = this.model(tenant);
    model.alive = false;
    model.pages.clear();
    model.size = 0;
    return { entry: testEntry({ tenant, kind: 'deleted', min: model.pos, max: model.pos }) };
  }

  async ship(segments: readonly PackedSegment[], term = this.term): Promise<void> {
    await this.put({ level: 0, number: this.next++ }, segments, term);
  }

  async put(pack: PackId, segments: readonly PackedSegment[], term = this.term): Promise<void> {
    const { bytes } = encodePack({ ...pack, term, writtenAtMs: this.nowMs }, segments);
    await this.store.put(packKey(pack), bytes);
  }

  async compact(store: ObjectStore = this.store, retentionMs = 30 * DAY_MS) {
    const { keys, term, nowMs } = this;
    const elapsedMs = nowMs - this.#compactedMs;
    const compacted = await compactOnce({ store, keys, term, retentionMs, nowMs, elapsedMs });
    this.#compactedMs = nowMs;
    return compacted;
  }

  /** What a restore of each tenant would find. */
  async contents(): Promise<Record<string, unknown>> {
    const { tenants } = await readState(this.store);
    const found: Record<string, unknown> = {};
    for (const [tenant, { places, pos, isAlive }] of [...tenants].sort()) {
      found[tenant] = { pos, isAlive, pages: await this.#pagesOf(places) };
    }
    return found;
  }

  /** The same, as it should be. */
  expected(): Record<string, unknown> {
    const models = [...this.models].filter(([, { pos }]) => pos > 0).sort();
    return Object.fromEntries(
      models.map(([tenant, { pos, alive, pages }]) => [
        tenant,
        { pos, isAlive: alive, pages: Object.fromEntries([...pages].sort(([one], [other]) => one - other)) },
      ]),
    );
  }

  async #pagesOf(places: readonly SegmentPlace[]): Promise<Record<number, number>> {
    const pages = new Map<number, number>();
    for (const { pack, entry } of places) {
      const { parts, offset: from, length } = entry;
      const bodies =
        parts === undefined
          ? [await this.store.get(packKey(pack), { range: { from, length } })]
          : await Promise.all(
              Array.from({ length: parts.count }, (_, part) =>
                this.store.get(`${parts.prefix}/000${part}.snap`),
              ),
            );
      for (const body of bodies) {
        const { numbers, pages: bytes } = await decodeBody(
          await this.keys.open(entry, entry.key, body!.body),
        );
        for (const [index, number] of numbers.entries()) pages.set(number, bytes[index * PAGE_SIZE]!);
      }
      for (const number of pages.keys()) if (number > entry.pages) pages.delete(number);
    }
    return Object.fromEntries([...pages].sort(([one], [other]) => one - other));
  }

  async #segment(
    tenant: string,
    kind: 'pages' | 'full',
    min: number,
    max: number,
    size: number,
    commits: Parameters<typeof encodeBody>[0]['commits'],
    pages: readonly PageSource[],
  ): Promise<PackedSegment> {
    const plain = await encodeBody({ v: 1, tenant, pageSize: PAGE_SIZE, commits }, pages, () => false);
    const entry = testEntry({ tenant, kind, min, max, pages: size, pageSize: PAGE_SIZE });
    const { body, key } = await this.keys.seal(entry, plain);
    return { entry: { ...entry, key, plainBytes: pages.length * PAGE_SIZE }, body };
  }
}

/** A store that ends in the middle: before or after it has done a call. */
export function endingStore(store: MemoryStore, calls: number, does: boolean): ObjectStore {
  let left = calls;
  const limited = <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      if (left-- > 0) return call(...args);
      if (does && left === -1) await call(...args);
      throw new Error('killed');
    };
  };
  return {
    address: store.address,
    get: limited(store.get.bind(store)),
    put: limited(store.put.bind(store)),
    delete: limited(store.delete.bind(store)),
    list: store.list.bind(store),
    close: async () => {},
  };
}

function pageOf(number: number, fill: number): PageSource {
  return { number, bytes: Buffer.alloc(PAGE_SIZE, fill) };
}

function resize(model: Model, size: number): void {
  model.size = size;
  for (const number of model.pages.keys()) if (number > size) model.pages.delete(number);
}
