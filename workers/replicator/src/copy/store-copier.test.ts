import { OnewriterError } from '@onewriter/protocol';
import { createRandom, waitFor } from '@onewriter/testkit';
import { describe, expect, it } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { catalogKey, encodeCatalog } from '../chain/catalog.ts';
import { FIRST_HEAD, HEAD_KEY, readHead } from '../chain/head.ts';
import { readIndex } from '../chain/read-index.ts';
import { readState } from '../chain/replica-state.ts';
import type { CompactHead } from '../compact/compact-head.ts';
import { ChainState } from '../format/chain-state.ts';
import { packKey, type SegmentEntry } from '../format/entry.ts';
import { encodePack } from '../format/pack.ts';
import { LEADER_KEY } from '../ship/take-lead.ts';
import { StoreCopier } from './store-copier.ts';

/** A first store that is written to. */
class Source {
  readonly store = new MemoryStore();
  head: CompactHead = FIRST_HEAD;
  next = 1;
  #pos = 0;

  constructor() {
    this.store.objects.set(LEADER_KEY, Buffer.from('{}'));
  }

  pack(more: Partial<SegmentEntry> = {}): Buffer {
    const number = this.next++;
    this.#pos++;
    const kind = this.#pos === 1 || more.parts !== undefined ? 'full' : 'pages';
    const entry = testEntry({ kind, min: this.#pos, max: this.#pos, ...more });
    const { bytes } = encodePack({ level: 0, number, term: 1, writtenAtMs: number }, [
      { entry, body: Buffer.from(`body ${number}`) },
    ]);
    this.store.objects.set(packKey({ level: 0, number }), bytes);
    return bytes;
  }

  /** Packs of level 1 for all blocks that are full. */
  compact(): void {
    for (let block = this.head.compacted[1] / 32 + 1; block * 32 < this.next; block++) {
      const [min, max] = [block * 32 - 31, block * 32];
      const kind = block === 1 ? 'full' : 'pages';
      // As of a body that is too large for a pack.
      const prefix = `snapshots/acme/${max}-l1b${block}`;
      const parts = { prefix, count: 1, bytes: 4, sha256: '' };
      const entry = testEntry({ kind, min: kind === 'full' ? max : min, max, parts });
      const { bytes } = encodePack({ level: 1, number: block, term: 1, writtenAtMs: max }, [{ entry }]);
      this.store.objects.set(`${prefix}/0000.snap`, Buffer.from('part'));
      this.store.objects.set(packKey({ level: 1, number: block }), bytes);
      this.setHead({ compacted: { ...this.head.compacted, 1: max } });
    }
  }

  /** Of all that is compacted. */
  async catalog(): Promise<void> {
    const to = this.head.compacted[1];
    if (to <= (this.head.catalogs.at(-1)?.to ?? 0)) return;
    const chain = new ChainState();
    for (let number = 1; number * 32 <= to; number++) {
      const pack = { level: 1, number } as const;
      const index = (await readIndex(this.store, pack))!;
      for (const entry of index.entries) chain.add({ pack, entry });
    }
    const key = catalogKey(to);
    const tenants = new Map([['acme', chain]]);
    this.store.objects.set(key, await encodeCatalog({ to, term: 1, atMs: 5, tenants }));
    this.setHead({ catalogs: [...this.head.catalogs, { to, atMs: 5, key }] });
  }

  /** Only what a catalogue covers expires, in two steps. */
  expire(before: number): void {
    const { dropping, kept } = this.head;
    if (dropping !== undefined) {
      for (let number = dropping.from[0]; number < kept[0]; number++)
        this.store.objects.delete(packKey({ level: 0, number }));
      this.setHead({ dropping: undefined });
    } else if (before > kept[0] && before <= (this.head.catalogs.at(-1)?.to ?? 0)) {
      this.setHead({ kept: { ...kept, 0: before }, dropping: { leftMs: 1, from: kept, catalogs: [] } });
    }
  }

  setHead(more: Partial<CompactHead>): void {
    this.head = { ...this.head, ...more };
    this.store.objects.set(HEAD_KEY, Buffer.from(JSON.stringify(this.head)));
  }
}

const copierOf = (from: MemoryStore, to: MemoryStore) => {
  let nowMs = 0;
  const copier = new StoreCopier({
    ...{ from, to, signal: new AbortController().signal },
    // Each look at the clock is a minute later: `head.json` is looked at each time.
    nowMs: () => {
      nowMs += 60_000;
      return nowMs;
    },
  });
  return copier;
};

const chainsOf = async (store: MemoryStore) => {
  const { tenants, next } = await readState(store);
  for (const { entry } of [...tenants.values()].flatMap(({ places }) => places)) {
    if (entry.parts !== undefined)
      expect([...store.objects.keys()]).toContain(`${entry.parts.prefix}/0000.snap`);
  }
  return { next, tenants: [...tenants].map(([tenant, { places, pos }]) => ({ tenant, places, pos })) };
};

describe('StoreCopier', () => {
  it('copies packs as they are stored, their parts and the keys of tenants before them', async () => {
    const source = new Source();
    const to = new MemoryStore();
    const copier = copierOf(source.store, to);
    source.store.objects.set('snapshots/acme/1-a/0000.snap', Buffer.from('part'));
    source.store.objects.set('keys/acme.json', Buffer.from('wrapped'));
    source.pack({ parts: { prefix: 'snapshots/acme/1-a', count: 1, bytes: 4, sha256: '' }, key: 't1' });
    const order: string[] = [];
    const put = to.put.bind(to);
    to.put = (key, body, options) => {
      order.push(key);
      return put(key, body, options);
    };
    await copier.copy();
    source.pack();
    await copier.copy();
    expect(await chainsOf(to)).toEqual(await chainsOf(source.store));
    const pack = order.indexOf(packKey({ level: 0, number: 1 }));
    expect(order.indexOf('snapshots/acme/1-a/0000.snap')).toBeLessThan(pack);
    expect(order.indexOf('keys/acme.json')).toBeLessThan(pack);
  });

  it('brings no key back that is erased, or put under another master key, while it is copied', async () => {
    const KEY = 'keys/acme.json';
    for (const isErased of [true, false]) {
      const source = new Source();
      const to = new MemoryStore();
      source.store.objects.set(KEY, Buffer.from('former'));
      if (isErased) to.objects.set(KEY, Buffer.from('former, in the copy'));
      source.pack({ key: 't1' });
      const get = source.store.get.bind(source.store);
      source.store.get = async (key, options) => {
        const found = await get(key, options);
        if (key === KEY && found?.body.toString() === 'former') {
          for (const store of [source.store, to])
            if (store.objects.has(KEY)) store.objects.set(KEY, Buffer.from('now'));
        }
        return found;
      };
      const states: (string | undefined)[] = [];
      const put = to.put.bind(to);
      to.put = (key, body, options) => {
        const done = put(key, body, options);
        if (key === KEY) states.push(to.objects.get(KEY)?.toString());
        return done;
      };
      await copierOf(source.store, to).copy();
      // Not for a moment, where the copy has it erased already.
      expect(states).toEqual(isErased ? ['now'] : ['former', 'now']);
    }
  });

  it('gives up for now where a key does not stay as it is', async () => {
    const source = new Source();
    source.pack({ key: 't1' });
    const get = source.store.get.bind(source.store);
    let state = 0;
    source.store.get = async (key, options) => {
      if (key.startsWith('keys/')) source.store.objects.set(key, Buffer.from(`state ${++state}`));
      return get(key, options);
    };
    await expect(copierOf(source.store, new MemoryStore()).copy()).rejects.toMatchObject({
      code: 'REPLICA_UNAVAILABLE',
    });
  });

  it('copies what merging stored beside a pack, and no part a second time', async () => {
    const source = new Source();
    const to = new MemoryStore();
    const copier = copierOf(source.store, to);
    for (let count = 0; count < 32; count++) source.pack();
    await copier.copy();
    source.compact();
    await copier.copy();
    expect(await chainsOf(to)).toEqual(await chainsOf(source.store));
    const before = to.requests.put;
    await copierOf(source.store, to).copy();
    expect(to.requests.put - before).toBeLessThan(3);
  });

  it('reads no pack that it was given', async () => {
    const source = new Source();
    const copier = copierOf(source.store, new MemoryStore());
    await copier.copy();
    const before = source.store.requests.get;
    for (let number = 1; number <= 20; number++) copier.noteStored(number, source.pack());
    expect(copier.behind).toBe(20);
    await copier.copy();
    expect(copier.behind).toBe(0);
    expect(source.store.requests.get - before).toBeLessThan(5);
  });

  it('catches up with a store whose packs expired while it was away, and forgets what that store forgot', async () => {
    const source = new Source();
    const to = new MemoryStore();
    const copier = copierOf(source.store, to);
    for (let count = 0; count < 40; count++) source.pack();
    await copier.copy();
    for (let count = 0; count < 200; count++) source.pack();
    source.compact();
    await source.catalog();
    for (let count = 0; count < 50; count++) source.pack();
    source.compact();
    source.expire(200);
    source.expire(200);
    await copier.copy();
    await copier.copy();
    expect(await chainsOf(to)).toEqual(await chainsOf(source.store));
    expect(to.objects.has(packKey({ level: 0, number: 5 }))).toBe(false);
    expect([...to.objects.keys()].filter(key => !source.store.objects.has(key))).toEqual(['copied.json']);
  });

  it('says how far it is behind, and why', async () => {
    const source = new Source();
    source.pack();
    const to = new MemoryStore();
    const put = to.put.bind(to);
    to.put = () => Promise.reject(new OnewriterError('REPLICA_UNAVAILABLE', 'No rights.'));
    const stop = new AbortController();
    let nowMs = 1_000;
    const copier = new StoreCopier({
      ...{ from: source.store, to, newest: 1, signal: stop.signal, nowMs: () => nowMs },
    });
    const running = copier.run();
    await waitFor(() => copier.status().error !== undefined, { what: 'the failure' });
    nowMs += 5_000;
    expect(copier.status()).toEqual({ behindPacks: 1, behindMs: 5_000, error: 'No rights.' });
    to.put = put;
    await waitFor(() => copier.status().error === undefined, { what: 'the copy' });
    expect(copier.status()).toEqual({ behindPacks: 0, behindMs: 0, error: undefined });
    copier.noteStored(2, source.pack());
    await waitFor(() => copier.behind === 0, { what: 'the next pack' });
    stop.abort();
    await running;
  });

  it('is sound at every moment, whenever it is killed and begins again', async () => {
    const random = createRandom(7);
    const source = new Source();
    const to = new MemoryStore();
    const [get, put] = [to.get.bind(to), to.put.bind(to)];
    let callsLeft = 0;
    const killable = <Result>(call: () => Promise<Result>): Promise<Result> => {
      if (callsLeft-- <= 0) return Promise.reject(new Error('killed'));
      return call();
    };
    let copier = copierOf(source.store, to);
    for (let step = 0; step < 300; step++) {
      for (let packs = random.between(0, 12); packs > 0; packs--) {
        const bytes = source.pack();
        if (random.oneIn(2)) copier.noteStored(source.next - 1, bytes);
      }
      if (random.oneIn(4)) source.compact();
      if (random.oneIn(8)) await source.catalog();
      if (random.oneIn(8)) source.expire(Math.max(1, source.head.compacted[1] - random.between(0, 40)));
      callsLeft = random.between(0, 40);
      to.get = (key, options) => killable(() => get(key, options));
      to.put = (key, body, options) => killable(() => put(key, body, options));
      await copier.copy().catch((error: Error) => {
        expect(error.message).toBe('killed');
        copier = copierOf(source.store, to);
      });
      [to.get, to.put] = [get, put];
      if (to.objects.has(HEAD_KEY)) await readState(to);
    }
    copier = copierOf(source.store, to);
    await copier.copy();
    await copier.copy();
    expect(await chainsOf(to)).toEqual(await chainsOf(source.store));
    expect([...to.objects.keys()].filter(key => !source.store.objects.has(key))).toEqual(['copied.json']);
  });

  it('does not put an older head.json over what another copier wrote while it stood still', async () => {
    const source = new Source();
    const to = new MemoryStore();
    for (let count = 0; count < 40; count++) source.pack();
    source.compact();
    const slow = copierOf(source.store, to);
    await slow.copy();
    for (let count = 0; count < 40; count++) source.pack();
    source.compact();
    const put = to.put.bind(to);
    to.put = async (key, body, options) => {
      if (key === HEAD_KEY) {
        to.put = put;
        // The broker that leads by now.
        for (let count = 0; count < 40; count++) source.pack();
        source.compact();
        await copierOf(source.store, to).copy();
      }
      return put(key, body, options);
    };
    await expect(slow.copy()).rejects.toMatchObject({ code: 'REPLICA_UNAVAILABLE' });
    expect((await readHead(to)).head.compacted).toEqual(source.head.compacted);
    await slow.copy();
    expect(await chainsOf(to)).toEqual(await chainsOf(source.store));
  });

  it('copies nothing over a store of its own, or over another copy', async () => {
    const source = new Source();
    source.pack();
    await expect(copierOf(source.store, new Source().store).copy()).rejects.toMatchObject({
      code: 'REPLICA_REFUSED',
    });
    const to = new MemoryStore();
    await copierOf(source.store, to).copy();
    const other = new Source();
    other.pack({ tenant: 'other' });
    other.pack();
    await expect(copierOf(other.store, to).copy()).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  });
});
