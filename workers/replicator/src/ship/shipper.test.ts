import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OnewriterError, tenantFile } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { CapturedFile } from '../../test-support/captured-file.ts';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { restored } from '../../test-support/restored.ts';
import { readWhole, TestShip, type TestShipOptions } from '../../test-support/test-ship.ts';
import { openReplicaReader } from '../chain/replica-reader.ts';
import { readState } from '../chain/replica-state.ts';
import type { Compacted } from '../compact/compact-once.ts';
import { packKey } from '../format/entry.ts';
import { Keyring } from '../format/keyring.ts';
import { restoreToFile } from '../restore/restore-to-file.ts';
import { snapshotFromStore } from '../snapshot/snapshot-from-store.ts';
import type { OpenStore } from '../store/store-watch.ts';

/** A store in memory that can be away. */
class TestStore extends MemoryStore implements OpenStore {
  isAway = false;
  /** Called before each PUT of a pack. */
  beforePut: (key: string) => Promise<void> = async () => {};

  override async get(key: string, options: Parameters<MemoryStore['get']>[1] = {}) {
    this.#assertThere();
    return super.get(key, options);
  }

  override async put(key: string, body: Uint8Array, options: Parameters<MemoryStore['put']>[2] = {}) {
    await this.beforePut(key);
    this.#assertThere();
    return super.put(key, body, options);
  }

  status() {
    return { address: this.address, ok: !this.isAway, requests: this.requests, bytesOut: 0, bytesIn: 0 };
  }

  #assertThere(): void {
    if (this.isAway) throw new OnewriterError('REPLICA_UNAVAILABLE', 'The test has put the store away.');
  }
}

let dataDir: string;
let store: TestStore;
const NO_DAMAGE = { tenants: [], packs: [] };

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-ship-'));
  store = new TestStore();
  const folder = dataDir;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

class Ship extends TestShip {
  constructor(options: Omit<TestShipOptions, 'store' | 'dataDir'> = {}) {
    super({ store, dataDir, ...options });
  }
}

/** As a restore gives it, what a branch began as included. */
async function imageOf(tenant: string): Promise<Buffer> {
  const reader = openReplicaReader(store, keysOf());
  const path = join(dataDir, `${tenant}.restored`);
  await restoreToFile(reader, await reader.plan(tenant, { kind: 'newest' }), path);
  return readFileSync(path);
}

const keysOf = () => new Keyring({ masterKeys: [], keys: 'one', store });
const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a)';
const INSERT = 'INSERT INTO t(a) VALUES (hex(randomblob(200)))';

test('stores a tenant from its first commit, and each further one, without reading its file', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  for (let round = 0; round < 5; round++) {
    acme.commit(INSERT);
    acme.commit(INSERT);
    await ship.isStored('acme');
  }
  expect(ship.fulls).toBe(0);
  await waitFor(() => ship.of('stored').at(-1)?.upTo[0]?.commitSeq === 11, { what: 'the last commit' });
  expect(ship.of('stored').at(-1)).toMatchObject({ upTo: [{ tenant: 'acme', pos: 11, epoch: 1 }] });
  await waitFor(() => ship.used === 0n, { what: 'the room to be free' });
});

test('continues after restarts of the log, closes, and a stop and a start', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  for (let round = 0; round < 4; round++) {
    acme.commit(INSERT);
    if (round % 2 === 0) acme.checkpoint();
    else acme.close();
  }
  acme.commit(INSERT);
  await ship.isStored('acme');
  acme.close();
  ship.receive({ kind: 'end', withinMs: 5_000 });
  await waitFor(() => ship.of('ended').length === 1);

  const next = new Ship();
  const again = next.file('acme');
  again.commitSeq = acme.commitSeq;
  await next.shipper.start();
  expect(next.of('started')).toEqual([{ kind: 'started', known: ['acme'], branches: [] }]);
  again.commit(INSERT);
  await next.isStored('acme');
  expect([ship.fulls, next.fulls]).toEqual([0, 0]);
});

test('reads a file whole whose segments are under a key that is not given any more', async () => {
  const [former, present] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
  let commitSeq = 0;
  const run = async (sql: string, ...masterKeys: readonly string[]) => {
    const keys = new Keyring({ masterKeys, keys: 'one', store });
    const ship = new Ship({ keys });
    await ship.shipper.start();
    const acme = ship.file('acme');
    acme.commitSeq = commitSeq++;
    acme.commit(sql);
    const isReadable = async () => {
      const { last, places } = (await readState(store)).tenants.get('acme') ?? { places: [] };
      return last?.lastSeq === commitSeq && places.every(({ entry }) => keys.has(entry.key));
    };
    await waitFor(isReadable, { what: 'a chain that can be read' });
    acme.close();
    ship.receive({ kind: 'end', withinMs: 5_000 });
    await waitFor(() => ship.of('ended').length === 1);
    return ship.fulls;
  };
  expect(await run(CREATE, former)).toBe(0);
  expect(await run(INSERT, present, former)).toBe(0);
  expect(await run(INSERT, present)).toBe(1);
});

test('continues after a kill with what is in the log', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.commit(INSERT);
  await ship.isStored('acme');
  await ship.shipper.close();
  acme.commit(INSERT);
  acme.kill();
  const next = new Ship();
  await next.shipper.start();
  next.file('acme').commit(INSERT);
  await next.isStored('acme');
  expect(next.fulls).toBe(0);
});

test('reads a file whole whose log was written back by others, and continues from there', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  acme.kill();
  const other = new Database(acme.path);
  other.exec(INSERT);
  other.close();
  acme.commit(INSERT);
  await ship.isStored('acme');
  expect(ship.fulls).toBe(1);
  acme.commit(INSERT);
  await ship.isStored('acme');
  expect(ship.fulls).toBe(1);
  await waitFor(() => ship.of('status').at(-1)?.status.gaps === 1, { what: 'the gap in the status' });
});

test('what is captured while a file is read follows on it', async () => {
  const readings: (() => void)[] = [];
  const ship: Ship = new Ship({
    readFull: async (tenant, pos) => {
      const full = await readWhole(ship.file(tenant), pos);
      await new Promise<void>(resolve => readings.push(resolve));
      return full;
    },
  });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  acme.commit(INSERT);
  ship.receive({ kind: 'replaced', tenant: 'acme' });
  await waitFor(() => readings.length === 1, { what: 'the reading' });
  for (let round = 0; round < 3; round++) {
    acme.commit(INSERT);
    acme.checkpoint();
    acme.commit(INSERT);
    acme.capture();
  }
  await waitFor(() => ship.of('status').some(({ status }) => status.lagMs > 0), { what: 'the lag' });
  readings[0]!();
  await ship.isStored('acme');
  expect(readings).toHaveLength(1);
  expect((await readState(store)).tenants.get('acme')!.places.map(({ entry }) => entry.kind)).toContain(
    'pages',
  );
});

test('a store that is away loses nothing; callers are not made to wait', async () => {
  let nowMs = 1_000_000;
  const ship = new Ship({ nowMs: () => nowMs });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  store.isAway = true;
  for (let round = 0; round < 10; round++) {
    acme.commit(INSERT);
    acme.capture(true);
    await new Promise(resolve => setImmediate(resolve));
  }
  await waitFor(() => ship.of('status').some(({ status }) => status.lagBytes > 0), { what: 'the lag' });
  expect(ship.of('available')).toEqual([]);
  nowMs += 11_000;
  await waitFor(() => ship.of('available').length === 1, { what: 'the store to count as away' });
  store.isAway = false;
  await ship.isStored('acme');
  await waitFor(() => ship.of('available').at(-1)?.available === true, { what: 'the store to be back' });
  expect(ship.fulls).toBe(0);
  await waitFor(() => ship.used === 0n);
});

test('callers are not made to wait for a store that does not give the key of a tenant', async () => {
  let nowMs = 1_000_000;
  const masterKeys = [Buffer.alloc(32, 1).toString('base64')];
  const ship = new Ship({ nowMs: () => nowMs, keys: new Keyring({ masterKeys, keys: 'tenant', store }) });
  await ship.shipper.start();
  store.isAway = true;
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.capture(true);
  await waitFor(() => ship.of('status').some(({ status }) => status.lagBytes > 0), { what: 'the lag' });
  nowMs += 11_000;
  await waitFor(() => ship.of('available').length === 1, { what: 'the store to count as away' });
  store.isAway = false;
  await waitFor(() => ship.of('available').at(-1)?.available === true, { what: 'the store to be back' });
});

test('pieces wait until the store answers at the start', async () => {
  store.isAway = true;
  const ship = new Ship();
  const started = ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.capture();
  acme.commit(INSERT);
  acme.capture();
  store.isAway = false;
  await started;
  await ship.isStored('acme');
  expect(ship.fulls).toBe(0);
});

test('a tenant that was switched off and on, replaced, or deleted', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  ship.receive({ kind: 'off', tenant: 'acme', off: true });
  acme.commit(INSERT);
  acme.capture();
  await waitFor(() => ship.used === 0n);
  const before = await restored(store, 'acme');
  expect(before?.equals(acme.image())).toBe(false);
  ship.receive({ kind: 'off', tenant: 'acme', off: false });
  await ship.isStored('acme');
  expect(ship.fulls).toBe(1);
  ship.receive({ kind: 'replaced', tenant: 'acme' });
  await waitFor(() => ship.fulls === 2);
  ship.receive({ kind: 'deleted', tenant: 'acme' });
  await waitFor(async () => (await readState(store)).tenants.get('acme')?.isAlive === false, {
    what: 'the deletion',
  });
  expect(ship.of('status').every(({ status }) => status.gaps === 0)).toBe(true);
});

test('a clock that is set back does not hold up what is to be stored', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  vi.setSystemTime(Date.now() - 3_600_000);
  acme.commit(INSERT);
  acme.capture();
  await ship.isStored('acme');
});

test('what a killed broker had not sent is stored, although its tenant is quiet since', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const [acme, calm] = [ship.file('acme'), ship.file('calm')];
  for (const file of [acme, calm]) file.commit(CREATE);
  await ship.isStored('acme');
  await ship.isStored('calm');
  calm.close();
  const note = join(dataDir, 'replica', 'closed', 'calm.json');
  await waitFor(() => existsSync(note), { what: 'the note' });
  await ship.shipper.close();
  acme.commit(INSERT);
  acme.kill();

  let nowMs = Date.now();
  const next = new Ship({ nowMs: () => nowMs });
  await next.shipper.start();
  await waitFor(() => next.of('status').length === 2, { what: 'the first look' });
  expect(next.fulls).toBe(0);
  nowMs += 31_000;
  await next.isStored('acme');
  nowMs += 31_000;
  const { length } = next.of('status');
  await waitFor(() => next.of('status').length === length + 2, { what: 'a further look' });
  expect(next.fulls).toBe(1);
  expect(next.of('status').at(-1)?.status).toMatchObject({ gaps: 0, lagMs: 0 });
});

test('what is stored of a former file is not said of the next one', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.commit(INSERT);
  await ship.isStored('acme');
  // This pack is on its way when the tenant is deleted.
  let goOn = () => {};
  let isBegun = false;
  store.beforePut = async () => {
    isBegun = true;
    await new Promise<void>(resolve => (goOn = resolve));
    store.beforePut = async () => {};
  };
  acme.commit(INSERT);
  await waitFor(() => isBegun, { what: 'the pack' });
  ship.messages.length = 0;
  ship.receive({ kind: 'deleted', tenant: 'acme', change: 5 });
  goOn();
  const said = () => ship.of('stored').flatMap(({ upTo }) => upTo);
  await waitFor(() => said().length === 2, { what: 'the deletion' });
  expect(said()).toMatchObject([
    { pos: 3, commitSeq: 3, change: undefined },
    { pos: 3, commitSeq: 0, epoch: 0, change: 5 },
  ]);
  // So does a successor, which reads it in the store.
  await ship.stop();
  const next = new Ship();
  await next.shipper.start();
  expect(next.of('stored')[0]?.upTo).toMatchObject([{ tenant: 'acme', commitSeq: 0, epoch: 0 }]);
});

test('a branch is one entry that names a stored commit, and is read whole at its first commit', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.commit(INSERT);
  await ship.isStored('acme');
  const before = acme.image();
  const { put, get } = store.requests;
  ship.receive({ kind: 'base', tenant: 'branch', from: 'acme', bytes: 8_192, request: 'r1' });
  await waitFor(() => ship.of('based').length === 1, { what: 'the branch' });
  expect([store.requests.put - put, store.requests.get - get]).toEqual([1, 0]);
  expect(ship.of('based')[0]).toMatchObject({ tenant: 'branch', at: { pos: 2, commitSeq: 2 }, bytes: 8_192 });
  acme.commit(INSERT);
  await ship.isStored('acme');
  expect((await imageOf('branch')).equals(before)).toBe(true);
  const { last } = (await readState(store)).tenants.get('branch')!;
  expect(last).toMatchObject({ kind: 'base', lastSeq: 2, epoch: 1 });
  // Its name is taken.
  ship.receive({ kind: 'base', tenant: 'branch', from: 'acme', bytes: 0, request: 'r1' });
  await waitFor(() => ship.of('based').length === 2, { what: 'the refusal' });
  expect(ship.of('based')[1]).toMatchObject({ refused: expect.stringContaining('already') });
  const branch = ship.file('branch');
  branch.commit(CREATE);
  await ship.isStored('branch');
});

test('a branch that sleeps gets a full segment out of the store, also after its parent was deleted', async () => {
  const copied: string[] = [];
  const ship = new Ship({
    copyBranch: async (tenant, pos) => {
      copied.push(tenant);
      return snapshotFromStore(openReplicaReader(store, keysOf()), tenant, pos, join(dataDir, 'copy.db'));
    },
    compact: async () => ({ packs: [], needsFull: ['branch'], isExpiryHeld: true, damaged: NO_DAMAGE }),
  });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  await ship.isStored('acme');
  const image = acme.image();
  ship.receive({ kind: 'base', tenant: 'branch', from: 'acme', bytes: 0, request: 'r1' });
  await waitFor(() => ship.of('based').length === 1, { what: 'the branch' });
  ship.receive({ kind: 'deleted', tenant: 'acme' });
  await waitFor(async () => (await readState(store)).tenants.get('branch')?.last?.kind === 'full', {
    timeoutMs: 20_000,
    what: 'its own segment',
  });
  expect([copied, ship.fulls]).toEqual([['branch'], 0]);
  expect((await restored(store, 'branch'))?.equals(image)).toBe(true);
  // More branches would keep what is old for ever.
  ship.file('bank').commit(CREATE);
  await ship.isStored('bank');
  ship.receive({ kind: 'base', tenant: 'other', from: 'bank', bytes: 0, request: 'r1' });
  await waitFor(() => ship.of('based').length === 2, { what: 'the refusal' });
  expect(ship.of('based')[1]).toMatchObject({ refused: expect.stringContaining('expires') });
});

test('a successor knows branches without pages, and reads one that was written when nothing captured it', async () => {
  const ship = new Ship();
  await ship.shipper.start();
  ship.file('acme').commit(CREATE);
  await ship.isStored('acme');
  ship.receive({ kind: 'base', tenant: 'branch', from: 'acme', bytes: 7, request: 'r1' });
  await waitFor(() => ship.of('based').length === 1, { what: 'the branch' });
  await ship.stop();
  const lost = new CapturedFile('branch', tenantFile(dataDir, 'branch', 'tenant.db'), () => {});
  lost.commit(CREATE);
  const next = new Ship();
  await next.shipper.start();
  expect(next.of('started')).toMatchObject([
    { branches: [{ tenant: 'branch', at: { commitSeq: 1 }, bytes: 7, request: 'r1' }] },
  ]);
  next.files.set('branch', lost);
  await next.isStored('branch');
});

test('a caller who waits has its pack at once', async () => {
  const ship = new Ship({ intervalMs: 60_000 });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.capture(true);
  await waitFor(() => ship.of('stored').some(({ upTo }) => upTo[0]?.commitSeq === 1), { timeoutMs: 5_000 });
});

test('an end ships what is there, and ends in time when the store is away', async () => {
  const ship = new Ship({ intervalMs: 60_000 });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.capture();
  ship.receive({ kind: 'end', withinMs: 5_000 });
  await waitFor(() => ship.of('ended').length === 1);
  await ship.isStored('acme');

  const next = new Ship({ intervalMs: 60_000 });
  await next.shipper.start();
  store.isAway = true;
  next.file('other').commit(CREATE);
  next.file('other').capture();
  const begin = performance.now();
  next.receive({ kind: 'end', withinMs: 300 });
  await waitFor(() => next.of('ended').length === 1);
  expect(performance.now() - begin).toBeLessThan(2_000);
});

test('restores tenants for a test, in turn, and not beside a file that is read whole', async () => {
  let skippedMs = 0;
  const rehearsals: { readonly tenant: string; readonly signal: AbortSignal; readonly end: () => void }[] =
    [];
  let endReading = () => {};
  const ship: Ship = new Ship({
    nowMs: () => Date.now() + skippedMs,
    verify: (tenant, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        const report = { tenant, ok: true, problems: [], pos: 1, commitSeq: 1, bytes: 1, ms: 1 };
        rehearsals.push({ tenant, signal, end: () => resolve({ ...report, sameAsFile: true }) });
      }),
    readFull: async (tenant, pos) => {
      await new Promise<void>(resolve => {
        endReading = resolve;
      });
      return readWhole(ship.file(tenant), pos);
    },
  });
  await ship.shipper.start();
  for (const tenant of ['acme', 'busy']) {
    ship.file(tenant).commit(CREATE);
    await ship.isStored(tenant);
  }
  const status = () => ship.of('status').at(-1)?.status;
  expect(rehearsals).toEqual([]);
  skippedMs += 20_000;
  await waitFor(() => rehearsals.length === 1, { what: 'the first rehearsal' });
  rehearsals[0]!.end();
  await waitFor(() => status()?.rehearsals?.sound === 1, { what: 'its result' });
  expect(status()?.rehearsals).toMatchObject({ unverified: 1, failed: [] });

  skippedMs += 20 * 60_000;
  await waitFor(() => rehearsals.length === 2, { what: 'the next rehearsal' });
  const [first, second] = rehearsals.map(({ tenant }) => tenant);
  expect(second).not.toBe(first);
  // What was found was about a file that is not there any more.
  ship.receive({ kind: 'replaced', tenant: first! });
  await waitFor(() => rehearsals[1]!.signal.aborted, { what: 'the rehearsal to make room' });
  expect(status()?.rehearsals).toMatchObject({ sound: 1 });
  skippedMs += 2 * 3_600_000;
  const looks = ship.of('status').length;
  await waitFor(() => ship.of('status').length > looks + 1, { what: 'further looks' });
  expect(status()?.rehearsals).toMatchObject({ unverified: 2 });
  expect(rehearsals).toHaveLength(2);
  endReading();
  await waitFor(() => rehearsals.length === 3, { what: 'the rehearsal after it' });
}, 30_000);

test('a newer leader fences an older one, whose packs change nothing', async () => {
  const old = new Ship();
  await old.shipper.start();
  old.file('acme').commit(CREATE);
  await old.isStored('acme');
  const next = new Ship();
  await next.shipper.start();
  old.file('acme').commit(INSERT);
  await waitFor(() => old.of('fenced').length === 1, { what: 'the older one to stop' });
  const { tenants } = await readState(store);
  expect(tenants.get('acme')).toMatchObject({ pos: 1 });
  expect([...old.fatal, ...next.fatal]).toEqual([]);
});

test.each(['segment', 'pack'])(
  'stores a tenant again whose %s the store changed, and names it',
  async what => {
    const found = {
      tenants: what === 'segment' ? ['acme'] : [],
      packs: what === 'pack' ? ['packs/0/…'] : [],
    };
    const compacted: (damaged: typeof found) => void = damaged =>
      end?.({ packs: [], needsFull: [], isExpiryHeld: false, damaged });
    let end: ((found: Compacted) => void) | undefined;
    const ship = new Ship({ compact: () => new Promise(resolve => (end = resolve)) });
    void ship.shipper.start();
    const file = ship.file('acme');
    file.commit(CREATE);
    file.commit(INSERT);
    await ship.isStored('acme');
    ship.file('beta').commit(CREATE);
    await ship.isStored('beta');
    const key = await newestPackOf('acme');
    const bytes = store.objects.get(key)!;
    (what === 'pack' ? bytes.subarray(-20) : bytes.subarray(8, 20)).fill(0);
    await waitFor(() => end !== undefined, { what: 'the compaction', timeoutMs: 15_000 });
    compacted(found);
    await ship.isStored('acme');
    await waitFor(() => ship.of('status').at(-1)?.status.damaged?.found === 1, { what: 'the status' });
    expect(ship.of('status').at(-1)!.status).toMatchObject({ damaged: { tenants: ['acme'] }, gaps: 1 });
    expect(ship.fulls).toBe(1);
    expect(ship.fatal).toEqual([]);
  },
  30_000,
);

/** The pack with the newest segment of a tenant. */
async function newestPackOf(tenant: string): Promise<string> {
  const { tenants } = await readState(store);
  return packKey(tenants.get(tenant)!.places.at(-1)!.pack);
}
