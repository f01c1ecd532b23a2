import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished } from 'vitest';
import type { MemoryStore } from '../../test-support/memory-store.ts';
import { ReplicaWorld } from '../../test-support/replica-world.ts';
import { readBody } from '../chain/read-body.ts';
import { openReplicaReader } from '../chain/replica-reader.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import { withLiveSnapshot } from './live-snapshot.ts';
import { snapshotFromStore } from './snapshot-from-store.ts';
import { type FullSource, storeFull } from './store-full.ts';

const BIG = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
  INSERT INTO t SELECT randomblob(1000000) FROM n`;

const stateOf = (world: ReplicaWorld, fields = {}) => ({
  tenant: world.tenant,
  pos: world.pos,
  commitSeq: world.pos,
  atMs: world.pos * 1_000,
  epoch: 1,
  incarnation: '',
  end: { salts: '', frame: 0, checksum: '' },
  ...fields,
});

const objectsOf = ({ store }: ReplicaWorld) => (store as MemoryStore).objects;

async function restoreNewest(world: ReplicaWorld): Promise<Buffer> {
  const draft = join(world.folder, `draft-${randomBytes(4).toString('hex')}.db`);
  const reader = openReplicaReader(world.store, world.keys);
  await restoreToFile(reader, await reader.plan(world.tenant, { kind: 'newest' }), draft);
  return readFileSync(draft);
}

it.each([
  ['a few pages as a body for a pack', 'INSERT INTO t VALUES (1)', undefined],
  ['many pages as parts', BIG, 3],
])('stores %s, as they were when it began, and restores them', async (_, rows, parts) => {
  const world = new ReplicaWorld({ masterKeys: [randomBytes(32).toString('base64')] });
  world.commit('CREATE TABLE t(a)');
  world.commit(rows);
  const segment = await withLiveSnapshot(world.file, 0, async snapshot => {
    // What comes meanwhile is not in it.
    world.commit('DELETE FROM t');
    return storeFull(world.store, world.keys, snapshot, stateOf(world, { pos: 7, end: snapshot.position }));
  });
  expect(segment.entry).toMatchObject({ kind: 'full', min: 7, max: 7 });
  expect(segment.entry.parts?.count).toBe(parts);
  expect(segment.body === undefined).toBe(parts !== undefined);
  expect([...objectsOf(world).keys()].filter(key => key.startsWith('snapshots/acme/7-'))).toHaveLength(
    parts ?? 0,
  );
  await world.pack([segment]);
  const bytes = await restoreNewest(world);
  bytes[18] = bytes[19] = 1; // no log: a database in memory has none
  const db = new Database(bytes);
  onTestFinished(() => void db.close());
  expect(db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(parts === undefined ? 1 : 40);
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
});

it('says where in the log it is from, as the log itself has it', async () => {
  const world = new ReplicaWorld();
  const frameAt = (frame: number, from: number, to: number) => {
    const log = readFileSync(`${world.file}-wal`);
    const at = 32 + (frame - 1) * (24 + world.pageSize);
    return log.toString('hex', at + from, at + to);
  };
  const position = () => withLiveSnapshot(world.file, 0, ({ position }) => position);
  world.commit('CREATE TABLE t(a)');
  for (const turn of ['all in the log', 'written back', 'begun again']) {
    const { salts, frame, checksum } = await position();
    expect(frame, turn).toBeGreaterThan(0);
    expect({ salts, checksum }, turn).toEqual({
      salts: frameAt(frame, 8, 16),
      checksum: frameAt(frame, 16, 24),
    });
    if (turn === 'all in the log') world.db.pragma('wal_checkpoint(PASSIVE)');
    else world.commit('INSERT INTO t VALUES (1)');
  }
  world.db.pragma('wal_checkpoint(TRUNCATE)');
  const empty = await position();
  expect(empty).toMatchObject({ frame: 0, checksum: '' });
  world.commit('INSERT INTO t VALUES (2)');
  expect(frameAt(1, 8, 16)).toBe(empty.salts);
});

it('does not count where the index of the log went meanwhile, so that the moment was not held', async () => {
  const world = new ReplicaWorld();
  world.commit('CREATE TABLE t(a)');
  const taken = withLiveSnapshot(world.file, 0, () => rmSync(`${world.file}-shm`));
  await expect(taken).rejects.toMatchObject({ code: 'SNAPSHOT_ENDED' });
});

it('refuses parts of which one was exchanged', async () => {
  const world = new ReplicaWorld();
  world.commit('CREATE TABLE t(a)');
  world.commit(BIG);
  await world.pack([
    await withLiveSnapshot(world.file, 0, snapshot =>
      storeFull(world.store, world.keys, snapshot, stateOf(world)),
    ),
  ]);
  const keys = [...objectsOf(world).keys()].filter(key => key.endsWith('0001.snap'));
  world.commit('UPDATE t SET a = zeroblob(1000000)');
  await withLiveSnapshot(world.file, 0, snapshot =>
    storeFull(world.store, world.keys, snapshot, stateOf(world)),
  );
  const [other] = [...objectsOf(world).keys()].filter(
    key => key.endsWith('0001.snap') && !keys.includes(key),
  );
  objectsOf(world).set(keys[0]!, objectsOf(world).get(other!)!);
  await expect(restoreNewest(world)).rejects.toThrow('was changed in the store');
});

it('makes a full segment out of what the store has', async () => {
  const world = new ReplicaWorld();
  world.commit('CREATE TABLE t(a)');
  await world.ship();
  for (let row = 0; row < 20; row++) {
    world.commit(`INSERT INTO t VALUES (randomblob(${row * 5_000}))`);
    await world.ship();
  }
  const reader = openReplicaReader(world.store, world.keys);
  const segment = await snapshotFromStore(reader, 'acme', 21, join(world.folder, 'scratch.db'));
  expect(segment.entry).toMatchObject({ kind: 'full', min: 21, max: 21, lastSeq: 21, lastMs: 21_000 });
  await world.pack([segment]);
  world.commit('DELETE FROM t WHERE rowid % 2 = 0');
  await world.ship();
  const plan = await openReplicaReader(world.store, world.keys).plan('acme', { kind: 'newest' });
  expect(plan.segments).toHaveLength(2);
  expect((await restoreNewest(world)).equals(world.bytes())).toBe(true);
});

it('leaves out the page of the lock byte', async () => {
  const world = new ReplicaWorld({ pageSize: 65_536 });
  const lockPage = 16_385;
  const read: number[] = [];
  const source: FullSource = {
    pageSize: 65_536,
    pages: lockPage + 1,
    read: (first, into) => {
      for (let index = 0; index < into.length / 65_536; index++) read.push(first + index);
      into.fill(0);
    },
  };
  const { entry } = await storeFull(world.store, world.keys, source, stateOf(world));
  expect(read).toHaveLength(lockPage + 1);
  expect(entry.parts).toMatchObject({ count: 65 });
  const place = {
    pack: { level: 0, number: 1 },
    entry: { ...entry, offset: 0, length: 0, sha256: '' },
  } as const;
  const last = await readBody(world.store, world.keys, { ...place, part: 64 });
  expect([...last.numbers]).toEqual([lockPage + 1]);
}, 60_000);
