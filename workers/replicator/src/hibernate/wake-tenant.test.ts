import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  findDatabaseFile,
  isHibernated,
  noteFormerDatabase,
  noteHibernated,
  tenantFile,
} from '@onewriter/protocol';
import { addLedgerNote, takeEpoch } from '@onewriter/writer';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { ReplicaWorld } from '../../test-support/replica-world.ts';
import { openReplicaReader } from '../chain/replica-reader.ts';
import type { OpenReplica } from '../jobs/replica-access.ts';
import { CloseNotes } from '../ship/close-notes.ts';
import { withLiveSnapshot } from '../snapshot/live-snapshot.ts';
import { storeFull } from '../snapshot/store-full.ts';
import { openStore } from '../store/open-store.ts';
import type { OpenStore } from '../store/store-watch.ts';
import { placeOf } from './hibernated-place.ts';
import { proveStored } from './prove-stored.ts';
import { wakeTenant } from './wake-tenant.ts';

let place: { dataDir: string; group: string; dbFile: string; busyTimeoutMs: number };
let world: ReplicaWorld;
let replica: OpenReplica;
let url: string;
const path = () => tenantFile(place.dataDir, 'acme', 'tenant.db');

beforeEach(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-wake-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  place = { dataDir: join(folder, 'data'), group: 'test', dbFile: 'tenant.db', busyTimeoutMs: 1_000 };
  mkdirSync(join(folder, 'store'));
  mkdirSync(dirname(path()), { recursive: true });
  url = pathToFileURL(join(folder, 'store')).href;
  const store = await openStore(url);
  world = new ReplicaWorld({ tenant: 'acme', store, file: path() });
  replica = { store, keys: world.keys };
  world.direct(db => void takeEpoch(db, 1));
  await world.ship('full');
  await addRow(1);
});

async function addRow(row: number): Promise<void> {
  world.commit(db => {
    db.exec('CREATE TABLE IF NOT EXISTS t(a)');
    db.prepare('INSERT INTO t VALUES (?)').run(row);
    addLedgerNote(db, { id: row, jobId: `job-${row}`, commitSeq: world.pos + 1, committedAtMs: row });
  });
  await world.ship('pages');
}

/** The file goes, and a note of what is stored now says so. @returns its bytes */
async function hibernate(more: object = {}): Promise<Buffer> {
  const bytes = world.bytes();
  world.db.close();
  const plan = await openReplicaReader(replica.store, replica.keys).plan('acme', { kind: 'newest' });
  noteFormerDatabase(place.dataDir, 'acme');
  const note = { commitSeq: plan.commitSeq, bytes: bytes.length, since: 'then', who: 'a test' };
  noteHibernated(place.dataDir, 'acme', { ...note, place: placeOf(plan), ...more });
  rmSync(path());
  return bytes;
}

const read = () => readFileSync(findDatabaseFile(path())!.path);
const wake = (storedPos: number | undefined = world.pos) =>
  wakeTenant(replica, place, { tenant: 'acme', storedPos });

it('puts the very file in place that went, under a name of its own, and notes where it continues', async () => {
  const bytes = await hibernate();
  expect(await wake()).toMatchObject({ tenant: 'acme', bytes: bytes.length, requests: 2 });
  expect(read().equals(bytes)).toBe(true);
  expect(findDatabaseFile(path())?.incarnation).toMatch(/^[0-9a-f]{20}$/);
  expect(isHibernated(place.dataDir, 'acme')).toBe(false);
  expect(new CloseNotes(place.dataDir).read('acme')).toMatchObject({ pos: world.pos });
  // Again: it is here.
  expect(await wake()).toBeUndefined();
});

it('takes a newer commit that the store has, whatever the note says', async () => {
  const note = await openReplicaReader(replica.store, replica.keys).plan('acme', { kind: 'newest' });
  await addRow(2);
  const bytes = await hibernate({ commitSeq: note.commitSeq, place: placeOf(note) });
  await wake();
  expect(read().equals(bytes)).toBe(true);
});

it('searches where segments were merged meanwhile', async () => {
  const bytes = await hibernate();
  const gone = Object.assign(Object.create(replica.store) as OpenStore, {
    get: async (key: string, options?: Parameters<OpenStore['get']>[1]) =>
      // As long as the note is followed: a range of a pack.
      options?.range !== undefined && tries++ < 2 ? undefined : replica.store.get(key, options),
  });
  let tries = 0;
  await wakeTenant({ ...replica, store: gone }, place, { tenant: 'acme', storedPos: world.pos });
  expect(tries).toBeGreaterThan(1);
  expect(read().equals(bytes)).toBe(true);
});

it('puts no older file in place where the store lost commits', async () => {
  await hibernate({ commitSeq: 99, place: undefined });
  for (const storedPos of [world.pos, undefined])
    await expect(wake(storedPos)).rejects.toMatchObject({ code: 'DATABASE_CORRUPT' });
  expect([existsSync(path()), isHibernated(place.dataDir, 'acme')]).toEqual([false, true]);
});

it('removes what an ended thread of this process left', async () => {
  await hibernate();
  writeFileSync(`${path()}.restoring-${process.pid}-1`, 'half of it');
  await wake();
  expect(readdirSync(dirname(path())).filter(name => name.includes('restoring'))).toEqual([]);
});

it('leaves it hibernated where the store fails or has another commit, and nothing beside', async () => {
  await hibernate({ commitSeq: 99 });
  await expect(wake()).rejects.toMatchObject({ code: 'DATABASE_CORRUPT' });
  const failing = Object.assign(Object.create(replica.store) as OpenStore, {
    get: async () => {
      throw new Error('away');
    },
  });
  await expect(
    wakeTenant({ ...replica, store: failing }, place, { tenant: 'acme', storedPos: world.pos }),
  ).rejects.toThrow('away');
  expect([existsSync(path()), isHibernated(place.dataDir, 'acme')]).toEqual([false, true]);
  expect(readdirSync(dirname(path()))).toEqual([]);
});

it('puts nothing in place where others changed the tenant meanwhile', async () => {
  await hibernate();
  const late = Object.assign(Object.create(replica.store) as OpenStore, {
    get: async (key: string, options?: Parameters<OpenStore['get']>[1]) => {
      await noteHibernated(place.dataDir, 'acme', { commitSeq: 2, bytes: 1, since: 'later', who: 'another' });
      return replica.store.get(key, options);
    },
  });
  const waking = wakeTenant({ ...replica, store: late }, place, { tenant: 'acme', storedPos: world.pos });
  await expect(waking).rejects.toMatchObject({ code: 'TENANT_UNAVAILABLE' });
  expect(existsSync(path())).toBe(false);
});

it('wakes nothing that is not hibernated', async () => {
  await hibernate();
  rmSync(join(place.dataDir, 'hibernated/acme'));
  await expect(wake()).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
});

it('proves that the store gives the file back, byte for byte', async () => {
  const prove = (storedWithinMs = 0) =>
    proveStored({ place, tenant: 'acme' }, { url, keys: 'one', storedWithinMs, wholeWithinMs: 0 });
  world.checkpoint();
  expect(await prove()).toMatchObject({ bytes: readFileSync(path()).length, place: { pos: world.pos } });
  // A page that no commit wrote.
  const bytes = readFileSync(path());
  const other = Buffer.from(bytes);
  other[other.length - 1]! ^= 1;
  world.db.close();
  writeFileSync(path(), other);
  await expect(prove()).rejects.toMatchObject({
    code: 'REPLICA_REFUSED',
    details: { reason: 'not the file' },
  });
  writeFileSync(path(), bytes);
  expect(await prove()).toMatchObject({ bytes: bytes.length });
});

it('writes back the log that an ended broker left beside a file that is held, if the store has all of it', async () => {
  const prove = (isHeld: boolean) =>
    proveStored({ place, tenant: 'acme' }, { url, keys: 'one', storedWithinMs: 0, wholeWithinMs: 0, isHeld });
  const notTheFile = { code: 'REPLICA_REFUSED', details: { reason: 'not the file' } };
  // The store knows of another log.
  await expect(prove(true)).rejects.toMatchObject(notTheFile);
  const pos = world.pos + 1;
  const numbers = { tenant: 'acme', pos, commitSeq: world.pos, atMs: 1, epoch: 1, incarnation: '' };
  const stored = await withLiveSnapshot(path(), 0, snapshot =>
    storeFull(world.store, world.keys, snapshot, { ...numbers, end: snapshot.position }),
  );
  await world.pack([stored]);
  await expect(prove(false)).rejects.toMatchObject(notTheFile);
  const { marks, bytes } = await prove(true);
  expect([marks[0]?.size, marks[1]]).toEqual([bytes, undefined]);
  expect(new CloseNotes(place.dataDir).read('acme')).toMatchObject({ pos, mark: marks[0] });
});

it('waits for a commit that is not stored, and says so where it does not come', async () => {
  world.commit('CREATE TABLE IF NOT EXISTS u(a)');
  world.commit(db => addLedgerNote(db, { id: 50, jobId: 'job-50', commitSeq: 50, committedAtMs: 50 }));
  world.checkpoint();
  const proof = proveStored(
    { place, tenant: 'acme' },
    { url, keys: 'one', storedWithinMs: 600, wholeWithinMs: 0 },
  );
  await expect(proof).rejects.toMatchObject({
    code: 'REPLICA_UNAVAILABLE',
    details: { reason: 'not stored yet' },
  });
});
