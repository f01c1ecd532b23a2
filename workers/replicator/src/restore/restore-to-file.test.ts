import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hashContent } from '@onewriter/files';
import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import type { MemoryStore } from '../../test-support/memory-store.ts';
import { ReplicaWorld } from '../../test-support/replica-world.ts';
import type { Point } from '../chain/point.ts';
import { openReplicaReader } from '../chain/replica-reader.ts';
import { packKey } from '../format/entry.ts';
import { restoreToFile } from './restore-to-file.ts';

/** A generator of numbers in [0, below) that is the same each time. */
function randomFrom(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
}

/** Changes of all sorts: rows, schemas, growth, large deletes, and files that shrink. */
function change(db: Database.Database, random: (below: number) => number, number: number): void {
  const kind = random(20);
  if (kind === 0)
    db.exec(`CREATE TABLE extra_${number}(a, b); CREATE INDEX ie_${number} ON extra_${number}(a)`);
  else if (kind === 1) db.exec('DELETE FROM t WHERE id % 3 <> 0');
  else if (kind === 2) db.exec('PRAGMA incremental_vacuum');
  else if (kind < 5)
    db.prepare('INSERT INTO t(a, b) SELECT value, hex(randomblob(300)) FROM json_each(?)').run(
      JSON.stringify(Array.from({ length: 150 }, () => random(1e6))),
    );
  else if (kind < 10) db.prepare('UPDATE t SET a = a + 1 WHERE id % 17 = ?').run(random(17));
  else db.prepare('INSERT INTO t(a, b) VALUES (?, ?)').run(random(1e6), 'x'.repeat(random(3_000)));
}

/** A history of so many commits in packs, with the hash of the content after each. */
async function makeHistory(world: ReplicaWorld, commits: number, seed: number): Promise<string[]> {
  const random = randomFrom(seed);
  const hashes = [''];
  world.commit('CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t(a)');
  while (world.pos < commits) {
    while (hashes.length <= world.pos) hashes.push(hashContent(world.db));
    if (random(3) === 0 || world.next === 1) await world.ship();
    if (random(40) === 0) world.checkpoint();
    world.commit(db => change(db, random, world.pos));
  }
  while (hashes.length <= world.pos) hashes.push(hashContent(world.db));
  await world.ship();
  return hashes;
}

const readerOf = ({ store, keys }: ReplicaWorld) => openReplicaReader(store, keys);

async function restore(world: ReplicaWorld, point: Point, tenant = world.tenant) {
  const draft = join(world.folder, `draft-${tenant}.db`);
  rmSync(draft, { force: true });
  const reader = readerOf(world);
  const plan = await reader.plan(tenant, point);
  await restoreToFile(reader, plan, draft);
  const bytes = readFileSync(draft);
  const db = new Database(draft);
  try {
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    return { plan, bytes, hash: hashContent(db) };
  } finally {
    db.close();
  }
}

it.each([
  { pageSize: 512, masterKeys: [] },
  { pageSize: 4_096, masterKeys: [randomBytes(32).toString('base64')] },
  { pageSize: 65_536, masterKeys: [] },
])(
  'restores each of 30 commits of a random history, and its end byte for byte: pages of $pageSize bytes',
  async options => {
    const world = new ReplicaWorld(options);
    world.db.pragma('journal_mode = DELETE');
    world.db.exec('PRAGMA auto_vacuum = INCREMENTAL; VACUUM; PRAGMA journal_mode = WAL');
    const hashes = await makeHistory(world, 160, options.pageSize);
    const random = randomFrom(7);
    for (const compacted of [false, true]) {
      if (compacted) await world.compact();
      for (let tries = 0; tries < 15; tries++) {
        const pos = 1 + random(world.pos);
        const ms = pos * 1_000 + random(1_000);
        const points = [
          { kind: 'pos', pos },
          { kind: 'commitSeq', commitSeq: pos },
          { kind: 'time', ms },
        ] as const satisfies Point[];
        const { plan, hash } = await restore(world, points[tries % 3]!);
        expect(plan).toMatchObject({ pos, commitSeq: pos, atMs: pos * 1_000 });
        expect(hash).toBe(hashes[pos]);
      }
      const head = await restore(world, { kind: 'newest' });
      expect(head.bytes.equals(world.bytes())).toBe(true);
      expect(head.plan.requests).toBeLessThan(compacted ? 40 : 100);
    }
  },
  120_000,
);

/** A tenant with a row in each of its commits, a pack for each. */
async function makeRows(commits: number, world = new ReplicaWorld()): Promise<ReplicaWorld> {
  world.commit('CREATE TABLE t(a)');
  await world.ship();
  while (world.pos < commits) {
    world.commit(`INSERT INTO t VALUES (${world.pos + 1})`);
    await world.ship();
  }
  return world;
}

it('names the nearest points where a commit is not addressable any more', async () => {
  const world = await makeRows(70);
  await world.compact();
  await world.expire(0, 64);
  const reader = readerOf(world);
  await expect(reader.plan('acme', { kind: 'commitSeq', commitSeq: 40 })).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
    details: { before: { commitSeq: 32 }, after: { commitSeq: 64 } },
  });
  expect(await reader.plan('acme', { kind: 'time', ms: 40_500 })).toMatchObject({ pos: 32, atMs: 32_000 });
  expect(await reader.plan('acme', { kind: 'pos', pos: 64 })).toMatchObject({ pos: 64 });
  await expect(reader.plan('acme', { kind: 'pos', pos: 71 })).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
  });
  await expect(reader.plan('acme', { kind: 'time', ms: 1 })).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
  });
  await expect(reader.plan('other', { kind: 'newest' })).rejects.toMatchObject({ code: 'POSITION_UNKNOWN' });
  const history = await reader.history('acme', 3);
  expect(history.map(({ fromSeq, toSeq, each }) => [fromSeq, toSeq, each])).toEqual([
    [70, 70, true],
    [69, 69, true],
    [68, 68, true],
  ]);
  const all = await reader.history('acme', 100);
  expect(all.at(-1)).toMatchObject({ kind: 'full', toSeq: 32 });
  expect(all.at(-2)).toMatchObject({ fromSeq: 33, toSeq: 64, each: false });
});

it('finds points before the newest full segment, in older catalogues too', async () => {
  const world = await makeRows(40);
  const skipTo = async (next: number) => {
    while (world.next < next) await world.pack([]);
  };
  await skipTo(4_090);
  world.commit('INSERT INTO t VALUES (41)');
  await world.ship();
  await skipTo(4_100);
  world.commit('INSERT INTO t VALUES (42)');
  await world.ship();
  await skipTo(8_190);
  await world.ship('full');
  world.commit('INSERT INTO t VALUES (43)');
  await world.ship();
  await skipTo(8_200);
  await world.ship('full');
  world.commit('INSERT INTO t VALUES (44)');
  await world.ship();
  await world.compact();
  for (const pos of [5, 32, 40, 41, 42, 43, 44]) {
    const { plan, bytes } = await restore(world, { kind: 'pos', pos });
    expect(plan.pos).toBe(pos);
    expect(countRows(bytes)).toBe(pos - 1);
  }
  const history = await readerOf(world).history('acme', 100);
  expect(history.map(({ toSeq }) => toSeq)).toEqual([44, 43, 41]);
}, 60_000);

function countRows(bytes: Buffer): number {
  // In WAL mode a database in memory cannot be read.
  bytes[18] = bytes[19] = 1;
  const db = new Database(bytes);
  try {
    return db.prepare<[], number>('SELECT count(*) FROM t').pluck().get()!;
  } finally {
    db.close();
  }
}

it('passes over the late pack of a former leader, also where a block is looked into', async () => {
  const world = await makeRows(31);
  world.term = 2;
  await world.pack([]);
  const stale = new ReplicaWorld({ tenant: 'acme' });
  await makeRows(31, stale);
  stale.commit('DELETE FROM t');
  stale.term = 1;
  stale.next = 33;
  await stale.ship();
  await world.store.put(
    packKey({ level: 0, number: 33 }),
    (await stale.store.get(packKey({ level: 0, number: 33 })))!.body,
  );
  world.next = 34;
  for (let number = 32; number < 70; number++) {
    world.commit(`INSERT INTO t VALUES (${number})`);
    await world.ship();
  }
  await world.compact();
  const { plan, bytes } = await restore(world, { kind: 'pos', pos: 40 });
  expect(countRows(bytes)).toBe(39);
  expect(plan.segments.map(({ pack }) => pack.number)).not.toContain(33);
});

it('passes over such a pack, too, where the block before has expired', async () => {
  const world = await makeRows(31);
  while (world.next < 4_096) await world.pack([]);
  world.term = 2;
  await world.pack([]);
  const stale = await makeRows(31);
  stale.commit('DELETE FROM t');
  stale.next = 4_097;
  await stale.ship();
  const late = packKey({ level: 0, number: 4_097 });
  await world.store.put(late, (await stale.store.get(late))!.body);
  world.next++;
  for (let number = 32; number < 50; number++) {
    world.commit(`INSERT INTO t VALUES (${number})`);
    await world.ship();
  }
  while (world.next < 4_130) await world.pack([]);
  await world.compact();
  await world.expire(1, 128);
  const { plan, bytes } = await restore(world, { kind: 'pos', pos: 40 });
  expect(countRows(bytes)).toBe(39);
  expect(plan.segments.map(({ pack }) => pack.number)).not.toContain(4_097);
}, 60_000);

it('restores a branch out of the tenant that it began as', async () => {
  const world = await makeRows(40);
  await world.compact();
  const base = { tenant: 'acme', pos: 20 };
  await world.pack([world.entry({ tenant: 'fork', kind: 'base', min: 1, max: 1, lastSeq: 20, base })]);
  expect(countRows((await restore(world, { kind: 'newest' }, 'fork')).bytes)).toBe(19);
  await world.pack([
    world.entry({ tenant: 'twig', kind: 'base', min: 1, max: 1, base: { tenant: 'fork', pos: 1 } }),
  ]);
  expect(countRows((await restore(world, { kind: 'newest' }, 'twig')).bytes)).toBe(19);
  await world.pack([
    world.entry({ tenant: 'lost', kind: 'base', min: 1, max: 1, base: { tenant: 'acme', pos: 99 } }),
  ]);
  await expect(restore(world, { kind: 'newest' }, 'lost')).rejects.toMatchObject({
    code: 'POSITION_UNKNOWN',
  });
});

it('goes back behind a deletion, and does not take a deleted tenant for a file', async () => {
  const world = await makeRows(20);
  const { pos } = world;
  await world.pack([world.entry({ kind: 'deleted', min: pos, max: pos, firstMs: 30_000, lastMs: 30_000 })]);
  for (const compacted of [false, true]) {
    if (compacted) {
      while (world.next < 66) await world.pack([]);
      await world.compact();
    }
    const reader = readerOf(world);
    await expect(reader.plan('acme', { kind: 'newest' })).rejects.toMatchObject({
      code: 'POSITION_UNKNOWN',
      message: expect.stringMatching(/was deleted/),
    });
    await expect(reader.plan('acme', { kind: 'time', ms: 31_000 })).rejects.toMatchObject({
      code: 'POSITION_UNKNOWN',
    });
    for (const point of [
      { kind: 'pos', pos },
      { kind: 'time', ms: 29_000 },
    ] as const) {
      const { plan, bytes } = await restore(world, point);
      expect(plan.pos).toBe(pos);
      expect(countRows(bytes)).toBe(19);
    }
    expect(await reader.tenants()).toMatchObject([{ tenant: 'acme', kind: 'deleted' }]);
  }
});

it('leaves no draft where a segment is damaged or not there', async () => {
  const world = await makeRows(10);
  const draft = join(world.folder, 'draft.db');
  const attempt = async () => {
    const reader = readerOf(world);
    const plan = await reader.plan('acme', { kind: 'newest' });
    await restoreToFile(reader, plan, draft);
  };
  const key = packKey({ level: 0, number: 4 });
  const { objects } = world.store as MemoryStore;
  const body = objects.get(key)!;
  body[20]! ^= 1;
  await expect(attempt()).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  body[20]! ^= 1;
  const reader = readerOf(world);
  const plan = await reader.plan('acme', { kind: 'newest' });
  const holed = { ...plan, segments: plan.segments.filter((_, index) => index !== 3) };
  await expect(restoreToFile(reader, holed, draft)).rejects.toThrow('a hole before position 5');
  objects.delete(key);
  await expect(restoreToFile(reader, plan, draft)).rejects.toMatchObject({ code: 'REPLICA_REFUSED' });
  expect(existsSync(draft)).toBe(false);
});
