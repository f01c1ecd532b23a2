import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startS3, type TestS3, waitFor } from '@onewriter/testkit';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { TestShip } from '../../test-support/test-ship.ts';
import { openReplicaReader } from '../chain/replica-reader.ts';
import { Keyring } from '../format/keyring.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { openStore } from '../store/open-store.ts';
import type { OpenStore } from '../store/store-watch.ts';

let dataDir: string;

beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-faults-'));
  dataDir = folder;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a)';
const INSERT = 'INSERT INTO t(a) VALUES (hex(randomblob(300)))';

async function openS3(s3: TestS3): Promise<OpenStore> {
  const store = await openStore(s3.url, s3.env);
  onTestFinished(() => store.close());
  return store;
}

let restores = 0;

/** The newest file of a tenant, restored as people do it. */
async function restore(store: ObjectStore, tenant: string): Promise<Buffer> {
  const reader = openReplicaReader(store, new Keyring({ masterKeys: [], keys: 'one', store }));
  const draft = join(dataDir, `restored-${++restores}`);
  await restoreToFile(reader, await reader.plan(tenant, { kind: 'newest' }), draft);
  return readFileSync(draft);
}

async function isRestorable(store: ObjectStore, ship: TestShip, tenant: string): Promise<void> {
  await waitFor(async () => (await restore(store, tenant)).equals(ship.file(tenant).image()), {
    what: `${tenant} to be as its file`,
  });
}

test('a bucket that fails, drops replies and is slow loses nothing, and makes no one read a file', async () => {
  await using s3 = await startS3();
  const store = await openS3(s3);
  const ship = new TestShip({ store, dataDir });
  await s3.setFaults({ failRate: 0.1, dropRate: 0.1, loseRate: 0.02, latencyMs: 5, seed: 7 });
  await ship.shipper.start();
  const tenants = ['one', 'two', 'three'];
  for (const tenant of tenants) ship.file(tenant).commit(CREATE);
  for (let round = 0; round < 60; round++) {
    const file = ship.file(tenants[round % 3]!);
    file.commit(INSERT);
    if (round % 7 === 0) file.capture(true);
    if (round % 11 === 0) file.checkpoint();
    if (round % 13 === 0) file.close();
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  await s3.setFaults({});
  const sound = await openS3(s3);
  for (const tenant of tenants) await isRestorable(sound, ship, tenant);
  expect(ship.fulls).toBe(0);
  expect([...ship.fatal, ...ship.of('fenced')]).toEqual([]);
  expect((await s3.counts()).list).toBe(0);
});

test('a bucket that is away for a while gets all when it is back', async () => {
  await using s3 = await startS3();
  const store = await openS3(s3);
  const ship = new TestShip({ store, dataDir });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await isRestorable(store, ship, 'acme');
  await s3.setFaults({ down: true });
  for (let round = 0; round < 20; round++) {
    acme.commit(INSERT);
    acme.capture();
  }
  await waitFor(() => ship.of('status').at(-1)?.status.stores[0]?.ok === false, {
    what: 'the failure in the status',
  });
  await s3.setFaults({});
  await isRestorable(await openS3(s3), ship, 'acme');
  expect(ship.fulls).toBe(0);
});

/** Conditions on each PUT of a pack; ends all work after so many of them. */
class DyingStore extends MemoryStore implements OpenStore {
  left = Number.POSITIVE_INFINITY;
  /** The last one is done, but its reply never comes. */
  doesLast = false;
  isDead = false;

  override async put(key: string, body: Uint8Array, options: Parameters<MemoryStore['put']>[2] = {}) {
    if (key.startsWith('packs/')) expect(options.condition).toEqual({ kind: 'new' });
    if (this.isDead || this.left-- <= 0) {
      if (!this.isDead && this.doesLast) await super.put(key, body, options);
      this.isDead = true;
      // As for a process that was killed: nothing comes back.
      return new Promise<never>(() => {});
    }
    return super.put(key, body, options);
  }

  status() {
    return { address: this.address, ok: true, requests: this.requests, bytesOut: 0, bytesIn: 0 };
  }
}

test('a kill between any two PUTs leaves what can be restored and continued', {
  timeout: 60_000,
}, async () => {
  for (let puts = 0; puts < 16; puts++) {
    for (const doesLast of [false, true]) {
      const folder = join(dataDir, `${puts}-${doesLast}`);
      const store = new DyingStore();
      const ship = new TestShip({ store, dataDir: folder, intervalMs: 4 });
      store.left = puts;
      store.doesLast = doesLast;
      void ship.shipper.start();
      const acme = ship.file('acme');
      acme.commit(CREATE);
      while (!store.isDead) {
        acme.commit(INSERT);
        acme.capture(true);
        await new Promise(resolve => setImmediate(resolve));
      }
      void ship.shipper.close();
      acme.kill();
      store.left = Number.POSITIVE_INFINITY;
      store.isDead = false;
      const next = new TestShip({ store, dataDir: folder, intervalMs: 4 });
      await next.shipper.start();
      next.file('acme').commit(INSERT);
      await isRestorable(store, next, 'acme');
      expect(next.fulls).toBe(0);
      await next.shipper.close();
    }
  }
});

test('of leaders that race one continues; no pack is overwritten, and nothing that was confirmed is lost', {
  timeout: 60_000,
}, async () => {
  await using s3 = await startS3();
  for (let round = 0; round < 20; round++) {
    const url = `${s3.url}/${round}`;
    const stores = await Promise.all([1, 2].map(() => openStore(url, s3.env)));
    await s3.setFaults({ latencyMs: round % 4, dropRate: 0.05, seed: round + 1 });
    const ships = stores.map(
      (store, index) => new TestShip({ store, dataDir: join(dataDir, `${round}-${index}`), intervalMs: 4 }),
    );
    const [one, two] = ships as [TestShip, TestShip];
    const starts = [one.shipper.start()];
    if (round % 2 === 0) await starts[0];
    const tenants = ['one', 'two'];
    for (const [index, ship] of ships.entries()) {
      ship.file(tenants[index]!).commit(CREATE);
      ship.file(tenants[index]!).capture(true);
    }
    starts.push(two.shipper.start());
    await Promise.all(starts);
    for (let writes = 0; writes < 5; writes++) {
      for (const [index, ship] of ships.entries()) {
        ship.file(tenants[index]!).commit(INSERT);
        ship.file(tenants[index]!).capture(true);
      }
      await new Promise(resolve => setTimeout(resolve, 2));
    }
    await waitFor(() => ships.filter(ship => ship.of('fenced').length === 1).length === 1, {
      what: 'one to be fenced',
    });
    await s3.setFaults({});
    const store = await openStore(url, s3.env);
    for (const [index, ship] of ships.entries()) {
      const tenant = tenants[index]!;
      if (ship.of('fenced').length === 0) await isRestorable(store, ship, tenant);
      const confirmed = ship.of('stored').flatMap(({ upTo }) => upTo.filter(each => each.tenant === tenant));
      if (confirmed.length === 0) continue;
      const reader = openReplicaReader(store, new Keyring({ masterKeys: [], keys: 'one', store }));
      const plan = await reader.plan(tenant, { kind: 'newest' });
      expect(plan.commitSeq).toBeGreaterThanOrEqual(Math.max(...confirmed.map(({ commitSeq }) => commitSeq)));
    }
    for (const ship of ships) {
      expect(ship.fatal).toEqual([]);
      await ship.stop();
    }
    await store.close();
  }
});

test('a leader that stood still, and sends its PUT when another leads, is fenced and changes nothing', async () => {
  const store = new DyingStore();
  let go = () => {};
  const held = new Promise<void>(resolve => {
    go = resolve;
  });
  const slow = new DyingStore();
  Object.assign(slow, { objects: store.objects });
  let isHeld = false;
  slow.put = async (key, body, options) => {
    if (isHeld) await held;
    return MemoryStore.prototype.put.call(slow, key, body, options) as ReturnType<DyingStore['put']>;
  };
  const old = new TestShip({ store: slow, dataDir });
  await old.shipper.start();
  old.file('acme').commit(CREATE);
  await isRestorable(store, old, 'acme');
  const before = await restore(store, 'acme');
  isHeld = true;
  for (let round = 0; round < 6; round++) {
    old.file('acme').commit(INSERT);
    old.file('acme').capture(true);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  const next = new TestShip({ store, dataDir: join(dataDir, 'next') });
  await next.shipper.start();
  go();
  await waitFor(() => old.of('fenced').length === 1, { what: 'the old one to be fenced' });
  expect((await restore(store, 'acme')).equals(before)).toBe(true);
  expect(old.of('stored').at(-1)!.upTo).toMatchObject([{ pos: 1 }]);
});
