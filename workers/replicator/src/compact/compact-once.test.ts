import { randomBytes } from 'node:crypto';
import { createRandom } from '@onewriter/testkit';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Commit, CompactWorld, endingStore } from '../../test-support/compact-world.ts';
import { testEntry } from '../../test-support/test-entry.ts';
import { HEAD_KEY, readHead } from '../chain/head.ts';
import { readBody } from '../chain/read-body.ts';
import { readIndex } from '../chain/read-index.ts';
import { readState } from '../chain/replica-state.ts';
import { packKey } from '../format/entry.ts';
import type { ObjectStore } from '../store/object-store.ts';

const TENANTS = ['acme', 'beta', 'ceta', 'delta'];

/** A pack of some tenants: commits, full segments, deletions, what is sent twice or too early, packs of a former leader. */
async function shipRandomly(world: CompactWorld, random: ReturnType<typeof createRandom>): Promise<void> {
  const commits = (tenant: string): Commit[] => {
    let { size } = world.model(tenant);
    return Array.from({ length: random.between(1, 3) }, () => {
      const before = size;
      size = random.between(1, 12);
      const chosen = Array.from({ length: random.between(1, 4) }, () => random.between(1, size));
      // A file that grows has all of its new pages in the commit.
      const grown = Array.from({ length: Math.max(0, size - before) }, (_, index) => before + index + 1);
      return { size, writes: [...chosen, ...grown].map(page => [page, random.integer(256)] as const) };
    });
  };
  if (random.oneIn(25)) {
    // Of a former leader, which a pack of the present one precedes.
    const tenant = random.pick(TENANTS);
    await world.ship([await world.pages(tenant, commits(tenant), false)], world.term - 1);
    return;
  }
  if (random.oneIn(40)) world.term++;
  const segments = [];
  for (const tenant of TENANTS.filter(() => random.oneIn(3))) {
    const model = world.model(tenant);
    const repeats = random.oneIn(10) && model.alive && model.pos > 1;
    if (!model.alive || random.oneIn(30)) segments.push(await world.full(tenant, random.oneIn(2)));
    else if (random.oneIn(60)) segments.push(world.deleted(tenant));
    else {
      const segment = await world.pages(tenant, commits(tenant));
      segments.push(segment);
      if (repeats) segments.push(segment);
      // A hole before it: sent again later.
      if (random.oneIn(10)) {
        const early = await world.pages(tenant, commits(tenant), false);
        segments.push({
          ...early,
          entry: { ...early.entry, min: early.entry.min + 5, max: early.entry.max + 5 },
        });
      }
    }
  }
  await world.ship(segments);
}

test('gives the same state as the packs alone, wherever it is ended and repeated', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 90 }), fc.boolean()), { maxLength: 25 }),
      fc.boolean(),
      async (seed, ends, encrypts) => {
        const random = createRandom(seed);
        const world = new CompactWorld(encrypts ? [randomBytes(32).toString('base64')] : []);
        const pending = [...ends];
        const total = random.pick([40, 200, 560]);
        for (let pack = 1; pack <= total; pack++) {
          await shipRandomly(world, random);
          const end = random.oneIn(20) ? pending.shift() : undefined;
          if (end === undefined) continue;
          const [calls, does] = end;
          await world.compact(endingStore(world.store, calls, does)).catch((error: Error) => {
            expect(error.message).toBe('killed');
          });
        }
        await world.compact();
        const { head } = await readHead(world.store);
        expect(head.compacted[1]).toBe(Math.floor(total / 32) * 32);
        expect(head.compacted[2]).toBe(Math.floor(total / 512) * 512);
        expect(await world.contents()).toEqual(world.expected());
        // The packs of level 0 alone.
        for (const key of [...world.store.objects.keys()]) {
          if (key === HEAD_KEY || /^packs\/[12]\//.test(key)) world.store.objects.delete(key);
        }
        expect(await world.contents()).toEqual(world.expected());
      },
    ),
    { numRuns: 25 },
  );
}, 120_000);

test('makes one segment of a tenant, with the newest of each page', async () => {
  const world = new CompactWorld();
  await world.ship([await world.full('acme')]);
  for (let pack = 2; pack <= 64; pack++) {
    await world.ship([await world.pages('acme', [{ size: 3, writes: [[1 + (pack % 3), pack]] }])]);
  }
  const { packs } = await world.compact();
  expect(packs).toEqual([
    { level: 1, number: 1 },
    { level: 1, number: 2 },
  ]);
  const [one, two] = [await readIndex(world.store, packs[0]!), await readIndex(world.store, packs[1]!)];
  // What follows a small full segment becomes a part of it.
  expect(one!.entries).toMatchObject([{ kind: 'full', min: 32, max: 32, pages: 3, plainBytes: 3 * 512 }]);
  expect(two!.entries).toMatchObject([{ kind: 'pages', min: 33, max: 64, commits: 32, plainBytes: 3 * 512 }]);
  expect(await world.contents()).toEqual(world.expected());
});

test('copies a single segment as it is, and notes parts that are no longer needed', async () => {
  const world = new CompactWorld();
  const first = await world.full('acme', true);
  await world.ship([first]);
  const segment = await world.pages('beta', [{ size: 1, writes: [[1, 7]] }]);
  await world.ship([await world.full('beta')]);
  const second = await world.full('acme', true);
  await world.ship([second]);
  for (let pack = 4; pack <= 32; pack++) await world.ship([]);
  await world.compact();
  const index = await readIndex(world.store, { level: 1, number: 1 });
  expect(index!.entries.map(({ tenant, kind }) => `${tenant} ${kind}`)).toEqual(['acme full', 'beta full']);
  expect(index!.entries[0]!.parts).toEqual(second.entry.parts);
  expect(index!.superseded).toEqual([{ prefix: first.entry.parts!.prefix, count: 2 }]);
  expect(segment.body).toBeDefined();
  expect(index!.entries[1]!.sha256).toBe(
    (await readIndex(world.store, { level: 0, number: 2 }))!.entries[0]!.sha256,
  );
});

test('makes 512 packs of level 0 to one of level 2, with one request for each small pack', async () => {
  const world = new CompactWorld();
  await world.ship([await world.full('acme')]);
  for (let pack = 2; pack <= 512; pack++) {
    await world.ship([await world.pages('acme', [{ size: 9, writes: [[pack % 9 || 9, pack % 256]] }])]);
  }
  const before = { ...world.store.requests };
  const { packs } = await world.compact();
  expect(packs.at(-1)).toEqual({ level: 2, number: 1 });
  // A look at the newest of each block and at what is made of it, its packs, those of level 1, and the one that they make; the head and
  // the block that is not there.
  expect(world.store.requests.get - before.get).toBeLessThanOrEqual(17 + 512 + 16 + 16 + 3);
  expect(world.store.requests.put - before.put).toBe(2 * 17);
  expect(world.store.requests.list).toBe(0);
  const requests = world.store.requests.get;
  expect(await world.contents()).toEqual(world.expected());
  expect(world.store.requests.get - requests).toBeLessThan(20);
});

test('waits for a block with a hole, and stops where a newer leader compacts', async () => {
  const world = new CompactWorld();
  for (let pack = 1; pack <= 32; pack++) await world.ship([]);
  const hole = packKey({ level: 0, number: 7 });
  const bytes = world.store.objects.get(hole)!;
  world.store.objects.delete(hole);
  expect((await world.compact()).packs).toEqual([]);
  world.store.objects.set(hole, bytes);
  world.term = 2;
  expect((await world.compact()).packs).toHaveLength(1);
  world.term = 1;
  await expect(world.compact()).rejects.toMatchObject({ code: 'REPLICA_FENCED' });
});

const NOTHING = { tenants: [], packs: [] };

test.each([
  ['plain', []],
  ['encrypted', [randomBytes(32).toString('base64')]],
])(
  'names the tenant of a segment that the store changed (%s), and compacts all others',
  async (_, masterKeys) => {
    const world = new CompactWorld(masterKeys);
    await world.ship([await world.full('acme'), await world.full('beta')]);
    for (let pack = 2; pack <= 512; pack++) {
      const commit: Commit = { size: 1, writes: [[1, pack % 256]] };
      await world.ship([await world.pages('beta', [commit]), await world.pages('acme', [commit])]);
    }
    const index = (await readIndex(world.store, { level: 0, number: 5 }))!;
    const { offset, length } = index.entries.find(({ tenant }) => tenant === 'acme')!;
    world.store.objects.get(packKey(index))![offset + length - 1]! ^= 1;
    const { packs, damaged } = await world.compact();
    expect(packs.at(-1)).toEqual({ level: 2, number: 1 });
    expect(damaged).toEqual({ tenants: ['acme'], packs: [] });
    const { tenants } = await readState(world.store);
    expect(tenants.get('beta')!.places).toHaveLength(1);
    // It stays recognizable at all levels, and is no part of what begins behind it.
    const refused = { code: 'REPLICA_REFUSED', details: { reason: 'damaged segment' } };
    const bodies = tenants.get('acme')!.places.map(place => readBody(world.store, world.keys, place));
    await expect(Promise.all(bodies)).rejects.toMatchObject(refused);
    await world.ship([await world.full('acme')]);
    expect(await world.contents()).toEqual(world.expected());
    expect((await world.compact()).damaged).toEqual(NOTHING);
  },
);

test('takes a pack that cannot be read for empty, and says so once', async () => {
  const world = new CompactWorld();
  await world.ship([await world.full('acme'), await world.full('beta')]);
  await world.ship([await world.pages('acme', [{ size: 1, writes: [[1, 2]] }])]);
  for (let pack = 3; pack <= 32; pack++) {
    await world.ship([await world.pages('beta', [{ size: 1, writes: [[1, pack]] }])]);
  }
  const key = packKey({ level: 0, number: 2 });
  world.store.objects.get(key)!.subarray(-20).fill(0);
  const { packs, damaged } = await world.compact();
  expect(packs).toHaveLength(1);
  expect(damaged).toEqual({ tenants: [], packs: [key] });
  const { acme, beta } = (await world.contents()) as Record<string, { pos: number }>;
  expect(acme).toMatchObject({ pos: 1 });
  expect(beta).toEqual(world.expected()['beta']);
  expect((await world.compact()).damaged).toEqual(NOTHING);
});

test('names damage once, also where a run was ended at any call', async () => {
  const world = new CompactWorld();
  await world.ship([await world.full('acme'), await world.full('beta')]);
  for (let pack = 2; pack <= 32; pack++) {
    const commit: Commit = { size: 1, writes: [[1, pack]] };
    await world.ship([await world.pages('acme', [commit]), await world.pages('beta', [commit])]);
  }
  const index = (await readIndex(world.store, { level: 0, number: 5 }))!;
  const { offset } = index.entries.find(({ tenant }) => tenant === 'acme')!;
  world.store.objects.get(packKey(index))![offset]! ^= 1;
  const lost = packKey({ level: 0, number: 32 });
  world.store.objects.get(lost)!.subarray(-20).fill(0);
  const stored = new Map(world.store.objects);
  for (let [calls, isKilled] = [0, true]; isKilled; calls++) {
    world.store.objects.clear();
    for (const [key, bytes] of stored) world.store.objects.set(key, bytes);
    isKilled = false;
    const { damaged } = await world.compact(endingStore(world.store, calls, false)).catch((error: Error) => {
      expect(error.message).toBe('killed');
      isKilled = true;
      return world.compact();
    });
    expect(damaged).toEqual({ tenants: ['acme'], packs: [lost] });
  }
  expect((await world.compact()).damaged).toEqual(NOTHING);
});

test('does not take a pack of a newer version for empty', async () => {
  const world = new CompactWorld();
  for (let pack = 1; pack <= 32; pack++) await world.ship([]);
  const newer = world.store.objects.get(packKey({ level: 0, number: 2 }))!;
  newer[4] = 2;
  newer.write('OWPKEND2', newer.length - 8);
  await expect(world.compact()).rejects.toMatchObject({ details: { reason: 'unknown format' } });
});

test('reads what a damaged pack was made of, and makes one again that no head names', async () => {
  const world = new CompactWorld();
  await world.ship([await world.full('acme')]);
  for (let pack = 2; pack <= 32; pack++) {
    await world.ship([await world.pages('acme', [{ size: 1, writes: [[1, pack]] }])]);
  }
  await world.compact();
  const key = packKey({ level: 1, number: 1 });
  world.store.objects.get(key)!.subarray(-20).fill(0);
  expect(await world.contents()).toEqual(world.expected());
  world.store.objects.delete(HEAD_KEY);
  await world.compact();
  expect(await readIndex(world.store, { level: 1, number: 1 })).toMatchObject({ entries: [{ max: 32 }] });
  expect(await world.contents()).toEqual(world.expected());
});

test('takes a pack that is there already, as another run made it, and its own change of the head whose answer was lost', async () => {
  const world = new CompactWorld();
  await world.ship([await world.full('acme')]);
  for (let pack = 2; pack <= 32; pack++) await world.ship([]);
  await world.compact();
  const key = packKey({ level: 1, number: 1 });
  const made = world.store.objects.get(key);
  world.store.objects.delete(HEAD_KEY);
  world.nowMs++;
  const { store } = world;
  const loses: ObjectStore = {
    address: store.address,
    get: store.get.bind(store),
    put: async (name, body, options) => {
      const put = await store.put(name, body, options);
      return name === HEAD_KEY ? { kind: 'exists' } : put;
    },
    delete: store.delete.bind(store),
    list: store.list.bind(store),
    close: store.close.bind(store),
  };
  expect((await world.compact(loses)).packs).toEqual([{ level: 1, number: 1 }]);
  expect(world.store.objects.get(key)).toBe(made);
  expect(await world.contents()).toEqual(world.expected());
});

test('names an old branch until it has a full segment of its own', async () => {
  const world = new CompactWorld();
  const { entry } = await world.full('acme');
  const base = testEntry({
    tenant: 'branch',
    kind: 'base',
    min: 1,
    max: 1,
    base: { tenant: 'acme', pos: 1 },
  });
  await world.ship([{ entry }, { entry: base }]);
  for (let pack = 2; pack <= 32; pack++) await world.ship([]);
  expect((await world.compact()).needsFull).toEqual([]);
  world.nowMs += 13 * 3_600_000;
  expect(await world.compact()).toMatchObject({ needsFull: ['branch'], isExpiryHeld: false });
  await world.ship([{ entry: testEntry({ tenant: 'branch', kind: 'full', min: 1, max: 1 }) }]);
  for (let pack = 34; pack <= 64; pack++) await world.ship([]);
  expect((await world.compact()).needsFull).toEqual([]);
});
