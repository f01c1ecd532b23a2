import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { CompactWorld } from '../../test-support/compact-world.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { HEAD_KEY } from '../chain/head.ts';
import { readBody } from '../chain/read-body.ts';
import { readState } from '../chain/replica-state.ts';
import { hashOf, type PackedSegment } from '../format/pack.ts';
import { encodeBody } from '../format/segment-body.ts';
import type { ObjectStore } from '../store/object-store.ts';

const PAGE_BYTES = 65_536;
/** With pages that cannot be compressed: too large to lie in a pack. */
const PAGES = 144;

/** Commit 1 of a tenant is all pages, each other one page. */
async function segmentOf({ keys }: CompactWorld, pos: number): Promise<PackedSegment> {
  const count = pos === 1 ? PAGES : 1;
  const pages = Array.from({ length: count }, (_, index) => ({
    number: index + 1,
    bytes: randomBytes(PAGE_BYTES),
  }));
  const commit = { pos, commitSeq: pos, atMs: 0, epoch: 1, pages: PAGES, frames: count };
  const header = { v: 1, tenant: 'acme', pageSize: PAGE_BYTES, commits: [commit] } as const;
  const kind = pos === 1 ? 'full' : 'pages';
  const entry = testEntry({ kind, min: pos, max: pos, pages: PAGES, pageSize: PAGE_BYTES });
  const { body, key } = await keys.seal(entry, await encodeBody(header, pages));
  return { entry: { ...entry, key, plainBytes: count * PAGE_BYTES }, body };
}

async function encryptedWorld(): Promise<CompactWorld> {
  const world = new CompactWorld([randomBytes(32).toString('base64')]);
  for (let pos = 1; pos <= 2; pos++) await world.ship([await segmentOf(world, pos)]);
  while (world.next <= 32) await world.ship([]);
  return world;
}

/** The store, where `before` is done first at each PUT. */
function withPut({ store }: CompactWorld, before: (key: string) => Promise<void>): ObjectStore {
  return {
    address: store.address,
    get: store.get.bind(store),
    put: async (key, body, options) => {
      await before(key);
      return store.put(key, body, options);
    },
    delete: store.delete.bind(store),
    list: store.list.bind(store),
    close: async () => {},
  };
}

async function expectSound({ store, keys }: CompactWorld): Promise<void> {
  const [place, ...rest] = (await readState(store)).tenants.get('acme')!.places;
  expect(rest).toEqual([]);
  expect(place).toMatchObject({ pack: { level: 1 }, entry: { max: 2, parts: { count: 1 } } });
  const { sha256, numbers } = await readBody(store, keys, { ...place!, part: 0 });
  expect(hashOf(Buffer.from(sha256))).toBe(place!.entry.parts!.sha256);
  expect(numbers.length).toBe(PAGES);
}

const apart = ({ store }: CompactWorld) =>
  [...store.objects.keys()].filter(key => key.startsWith('snapshots/'));

test('stores a large body once, where a run failed before it had changed the head', async () => {
  const world = await encryptedWorld();
  const failing = withPut(world, async key => {
    if (key === HEAD_KEY) throw new Error('away');
  });
  await expect(world.compact(failing)).rejects.toThrow('away');
  await world.compact();
  await expectSound(world);
  expect(apart(world)).toHaveLength(1);
});

test('leaves a large body as it is that another run has stored meanwhile', async () => {
  const world = await encryptedWorld();
  let isFirst = true;
  const overtaken = withPut(world, async key => {
    if (!key.startsWith('snapshots/') || !isFirst) return;
    isFirst = false;
    await world.compact();
  });
  await world.compact(overtaken);
  expect(apart(world)).toHaveLength(2);
  await expectSound(world);
});

test('leaves segments as they are where no key of their tenant can be used for what they are merged into', async () => {
  const world = new CompactWorld([randomBytes(32).toString('base64')], 'tenant');
  const commit = { writes: [[1, 7]], size: 1 } as const;
  for (const tenant of ['acme', 'bank'])
    await world.ship([await world.full(tenant), await world.pages(tenant, [commit])]);
  while (world.next <= 32) await world.ship([]);
  const stored = JSON.parse(world.store.objects.get('keys/acme.json')!.toString());
  const keys = [...stored.keys, { id: 't2', master: 'm2', wrapped: '' }];
  world.store.objects.set('keys/acme.json', Buffer.from(JSON.stringify({ ...stored, keys })));
  world.keys.forget('acme');
  expect(await world.compact()).toMatchObject({ damaged: { tenants: [] } });
  const { tenants } = await readState(world.store);
  const inPacks = ['acme', 'bank'].map(tenant => tenants.get(tenant)!.places.map(({ pack }) => pack.level));
  expect(inPacks).toEqual([[1, 1], [1]]);
  expect(await world.contents()).toEqual(world.expected());
});

test('finds the tenant of a damaged key, and compacts all others', async () => {
  const world = new CompactWorld([randomBytes(32).toString('base64')], 'tenant');
  const commit = { writes: [[1, 7]], size: 1 } as const;
  for (const tenant of ['acme', 'bank'])
    await world.ship([await world.full(tenant), await world.pages(tenant, [commit])]);
  while (world.next <= 32) await world.ship([]);
  world.store.objects.set('keys/acme.json', Buffer.from('{'));
  world.keys.forget('acme');
  expect(await world.compact()).toMatchObject({ damaged: { tenants: ['acme'] } });
  const { tenants } = await readState(world.store);
  expect(tenants.get('bank')!.places).toMatchObject([{ pack: { level: 1 } }]);
});
