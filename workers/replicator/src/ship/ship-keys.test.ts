import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '@onewriter/testkit';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { restored } from '../../test-support/restored.ts';
import { readWhole, TestShip } from '../../test-support/test-ship.ts';
import { Keyring } from '../format/keyring.ts';
import type { OpenStore } from '../store/store-watch.ts';

const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a)';
const INSERT = 'INSERT INTO t(a) VALUES (hex(randomblob(300)))';
const [FORMER, NEWEST] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')] as const;

class TestStore extends MemoryStore implements OpenStore {
  /** Called before each PUT of a pack. */
  beforePack = async () => {};

  override async put(key: string, body: Uint8Array, options: Parameters<MemoryStore['put']>[2] = {}) {
    if (key.startsWith('packs/')) await this.beforePack();
    return super.put(key, body, options);
  }

  status() {
    return { address: this.address, ok: true, requests: this.requests, bytesOut: 0, bytesIn: 0 };
  }
}

let store: TestStore;
let dataDir: string;

beforeEach(() => {
  store = new TestStore();
  const folder = mkdtempSync(join(tmpdir(), 'onewriter-ship-keys-'));
  dataDir = folder;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

const keyring = (...masterKeys: readonly string[]) => new Keyring({ masterKeys, keys: 'tenant', store });

/** A shipper with keys of tenants; a file is read as by a process of its own. */
function shipWith(...masterKeys: readonly string[]): TestShip {
  const keys = keyring(...masterKeys);
  const ship: TestShip = new TestShip({
    ...{ store, dataDir, keys },
    readFull: async (tenant, pos) => {
      const { entry, body, mark } = await readWhole(ship.file(tenant), pos);
      const sealed = await keyring(...masterKeys).seal(entry, body);
      keys.forget(tenant);
      return { entry: { ...entry, key: sealed.key }, body: sealed.body, mark };
    },
  });
  return ship;
}

async function isStored(ship: TestShip, tenant: string, ...masterKeys: readonly string[]): Promise<void> {
  const image = ship.file(tenant).image();
  await waitFor(
    async () => {
      const stored = await restored(store, tenant, keyring(...masterKeys)).catch(() => undefined);
      return stored?.equals(image);
    },
    { what: `${tenant} to be stored` },
  );
}

/** acme and bank are stored under the former master key; their files stay. */
async function storeBoth(): Promise<void> {
  const ship = shipWith(FORMER);
  await ship.shipper.start();
  for (const tenant of ['acme', 'bank']) ship.file(tenant).commit(CREATE);
  for (const tenant of ['acme', 'bank']) await isStored(ship, tenant, FORMER);
  await ship.stop();
}

async function expectGoesOn(masterKey: string): Promise<void> {
  const ship = shipWith(masterKey);
  await ship.shipper.start();
  for (const tenant of ['acme', 'bank']) ship.file(tenant).commit(INSERT);
  for (const tenant of ['acme', 'bank']) await isStored(ship, tenant, masterKey);
  // It continues on what it began with.
  ship.file('acme').commit(INSERT);
  await isStored(ship, 'acme', masterKey);
  expect(ship.fatal).toEqual([]);
  expect(ship.of('available')).toEqual([]);
  await waitFor(
    () =>
      ship
        .of('status')
        .at(-1)
        ?.status.failures?.some(({ tenant }) => tenant === 'acme'),
    {
      what: 'the failure in the status',
    },
  );
  expect(ship.of('status').at(-1)?.status.failures).toEqual([
    expect.objectContaining({ tenant: 'acme', message: expect.stringMatching(/key|keys\/acme/) }),
  ]);
}

test('a key that was changed in the store stops no tenant, and its own begins with another', async () => {
  for (const damage of [
    (stored: string) => stored.slice(0, -9),
    (stored: string) => stored.replace(/"wrapped":"....../, '"wrapped":"AAAAAA'),
  ]) {
    store = new TestStore();
    dataDir = join(dataDir, 'next');
    await storeBoth();
    const stored = store.objects.get('keys/acme.json')!.toString();
    store.objects.set('keys/acme.json', Buffer.from(damage(stored)));
    await expectGoesOn(FORMER);
  }
});

test('a key under a master key that is not given stops no tenant, and is kept', async () => {
  await storeBoth();
  await keyring(NEWEST, FORMER).rewrap('bank');
  await expectGoesOn(NEWEST);
  const { keys } = JSON.parse(store.objects.get('keys/acme.json')!.toString());
  expect(new Set(keys.map(({ master }: { master: string }) => master)).size).toBe(2);
  // All of it can be read with both.
  expect(await keyring(NEWEST, FORMER).rewrap('acme')).toBe(true);
});

test('a tenant that came while one of its name was erased begins with another key', async () => {
  const ship = shipWith(FORMER);
  await ship.shipper.start();
  let erased = false;
  store.beforePack = async () => {
    if (erased) return;
    erased = true;
    // The store has nothing of the tenant yet.
    await keyring(FORMER).erase('acme', 5, async () => {});
  };
  ship.file('acme').commit(CREATE);
  await isStored(ship, 'acme', FORMER);
  ship.file('acme').commit(INSERT);
  await isStored(ship, 'acme', FORMER);
  expect(ship.fatal).toEqual([]);
});
