import { beforeEach, expect, it } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { putPack } from '../../test-support/put-pack.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { ChainState } from '../format/chain-state.ts';
import { packKey } from '../format/entry.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { catalogKey, encodeCatalog } from './catalog.ts';
import { FIRST_HEAD, HEAD_KEY, type Head } from './head.ts';
import { readState } from './replica-state.ts';

let store: MemoryStore;

beforeEach(() => {
  store = new MemoryStore();
});

const full = (pos: number) => testEntry({ kind: 'full', min: pos, max: pos });
const pages = (min: number, max = min) => testEntry({ kind: 'pages', min, max });
const L0 = (number: number) => ({ level: 0, number }) as const;
const putHead = (head: Partial<Head>, to: ObjectStore = store) =>
  to.put(HEAD_KEY, Buffer.from(JSON.stringify({ ...FIRST_HEAD, ...head })));

/** Packs 1 to `last` of one tenant with a commit in each, as far as `levels` were made of them. */
async function putCommits(last: number, from = 1): Promise<void> {
  for (let number = from; number <= last; number++)
    await putPack(store, L0(number), [number === 1 ? full(1) : pages(number)]);
}

it('reads an empty store', async () => {
  expect(await readState(store)).toMatchObject({ head: FIRST_HEAD, next: 1, term: 0, catalog: undefined });
});

it('reads packs up to the first that is missing, where nothing was compacted', async () => {
  await putCommits(70);
  store.objects.delete(packKey(L0(66)));
  const { next, tenants, term } = await readState(store);
  expect({ next, term, pos: tenants.get('acme')?.pos }).toEqual({ next: 66, term: 1, pos: 65 });
});

it('passes over the late pack of a former leader, and over what does not go on', async () => {
  await putCommits(2);
  await putPack(store, L0(3), [], 2);
  await putPack(store, L0(4), [pages(3)], 1);
  await putPack(store, L0(5), [pages(3)], 2);
  await putPack(store, L0(6), [pages(7)], 2);
  const { next, tenants, term } = await readState(store);
  expect({ next, term }).toEqual({ next: 7, term: 2 });
  expect(tenants.get('acme')).toMatchObject({ pos: 3, ignored: 1 });
  expect(tenants.get('acme')?.places.map(({ pack }) => pack.number)).toEqual([1, 2, 5]);
});

/** A catalogue up to 4,096 with term 3, then a pack of level 2, two of level 1, and three of level 0. */
async function putLevels(): Promise<void> {
  const place = { pack: { level: 3, number: 1 }, entry: full(4_000) } as const;
  const gone = new ChainState([], testEntry({ tenant: 'gone', kind: 'deleted', min: 9, max: 9 }));
  const tenants = new Map([
    ['acme', new ChainState([place])],
    ['gone', gone],
  ]);
  const key = catalogKey(4_096);
  await store.put(key, await encodeCatalog({ to: 4_096, term: 3, atMs: 5, tenants }));
  await putPack(store, { level: 2, number: 9 }, [pages(4_001, 4_512)], 3);
  await putPack(store, { level: 1, number: 145 }, [pages(4_513, 4_544)], 3);
  await putPack(store, { level: 1, number: 146 }, [pages(4_545, 4_576)], 3);
  for (const pos of [4_577, 4_578, 4_579]) await putPack(store, L0(pos + 96), [pages(pos)], 3);
  const covered = { 1: 4_672, 2: 4_608, 3: 4_096 };
  await putHead({ compacted: covered, catalogs: [{ to: 4_096, atMs: 5, key }] });
}

it('reads the newest catalogue, the highest packs behind it, and the rest, with few requests', async () => {
  await putLevels();
  const { next, tenants, catalog } = await readState(store);
  expect({ next, catalog }).toEqual({ next: 4_676, catalog: { to: 4_096, term: 3, atMs: 5 } });
  expect(tenants.get('acme')).toMatchObject({ pos: 4_579, ignored: 0 });
  expect(tenants.get('acme')?.places.map(({ pack }) => pack.level)).toEqual([3, 2, 1, 1, 0, 0, 0]);
  expect(tenants.get('gone')).toMatchObject({ pos: 9, isAlive: false });
  expect(store.requests).toMatchObject({ list: 0 });
  expect(store.requests.get).toBeLessThan(15);
});

it('passes over a late pack whose term is lower than that of the catalogue', async () => {
  await putLevels();
  await putPack(store, L0(4_676), [pages(4_580)], 2);
  const { next, tenants } = await readState(store);
  expect({ next, pos: tenants.get('acme')?.pos }).toEqual({ next: 4_677, pos: 4_579 });
});

it('reads the packs that one was made of, where it is not there', async () => {
  await putLevels();
  store.objects.delete(packKey({ level: 1, number: 146 }));
  for (let number = 4_641; number <= 4_672; number++)
    await putPack(store, L0(number), [pages(number - 96)], 3);
  const { tenants } = await readState(store);
  expect(tenants.get('acme')).toMatchObject({ pos: 4_579, ignored: 0 });
});

it('begins again where packs expired meanwhile, and says so where they are gone', async () => {
  await putCommits(40);
  const expired = new Proxy(store, {
    get: (target, name) =>
      name !== 'get'
        ? Reflect.get(target, name)
        : async (key: string, options: object) => {
            // Between the head and the first pack, 32 packs are put together, and go.
            if (key === packKey(L0(1)) && store.objects.delete(key)) {
              await putPack(store, { level: 1, number: 1 }, [full(1), pages(2, 32)]);
              await putHead({ compacted: { 1: 32, 2: 0, 3: 0 } });
            }
            return store.get(key, options);
          },
  });
  const { next, tenants } = await readState(expired);
  expect({ next, pos: tenants.get('acme')?.pos }).toEqual({ next: 41, pos: 40 });
  store.objects.delete(packKey({ level: 1, number: 1 }));
  await expect(readState(store)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});

it('reads a newer head where the catalogue of the former one expired meanwhile', async () => {
  await putLevels();
  const former = catalogKey(4_096);
  const catalog = store.objects.get(former)!;
  store.objects.delete(former);
  let heads = 0;
  const renewed = new Proxy(store, {
    get: (target, name) =>
      name !== 'get'
        ? Reflect.get(target, name)
        : async (key: string, options: object) => {
            if (key === HEAD_KEY && ++heads === 2) {
              const ref = { to: 4_096, atMs: 5, key: 'catalogs/newer.cat' };
              store.objects.set(ref.key, catalog);
              await putHead({ compacted: { 1: 4_672, 2: 4_608, 3: 4_096 }, catalogs: [ref] });
            }
            return store.get(key, options);
          },
  });
  expect((await readState(renewed)).tenants.get('acme')?.pos).toBe(4_579);
});

it('refuses a store of a newer version, or whose head is damaged', async () => {
  await putHead({ format: 2 as never });
  await expect(readState(store)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  await store.put(HEAD_KEY, Buffer.from('{"format":1,"ter'));
  await expect(readState(store)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
});
