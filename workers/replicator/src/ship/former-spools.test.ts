import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OnewriterError } from '@onewriter/protocol';
import { waitFor } from '@onewriter/testkit';
import {
  type CapturedLog,
  type CaptureMessage,
  CaptureRoom,
  encodeRecord,
  newMark,
  readMessage,
  readRecords,
  spoolsFolder,
} from '@onewriter/writer';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { MemoryStore } from '../../test-support/memory-store.ts';
import { restored } from '../../test-support/restored.ts';
import { TestShip } from '../../test-support/test-ship.ts';
import type { OpenStore } from '../store/store-watch.ts';
import { Failures } from './failures.ts';
import { FormerSpools } from './former-spools.ts';
import type { TenantLine } from './tenant-line.ts';

/* What a killed process has captured, whose logs are overwritten, and what the next one makes of it. */

const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, a)';
/** More pages than the commits of a test have: none of its pieces has the whole file. */
const FILL = `WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200)
  INSERT INTO t(a) SELECT hex(randomblob(200)) FROM n`;
const INSERT = 'INSERT INTO t(a) VALUES (hex(randomblob(200)))';

class TestStore extends MemoryStore implements OpenStore {
  isAway = false;

  override async put(key: string, body: Uint8Array, options: Parameters<MemoryStore['put']>[2] = {}) {
    if (this.isAway) throw new OnewriterError('REPLICA_UNAVAILABLE', 'The test has put the store away.');
    return super.put(key, body, options);
  }

  status() {
    return { address: this.address, ok: !this.isAway, requests: this.requests, bytesOut: 0, bytesIn: 0 };
  }
}

let dataDir: string;
let store: TestStore;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-spools-'));
  store = new TestStore();
  const folder = dataDir;
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
});

const spools = () => (existsSync(spoolsFolder(dataDir)) ? readdirSync(spoolsFolder(dataDir)) : []);

/** A process that stores a tenant, loses its store, overwrites the log of the tenant several times, and is killed. */
async function runUntilKilled(): Promise<void> {
  const ship = new TestShip({ store, dataDir, spooled: true });
  await ship.shipper.start();
  const acme = ship.file('acme');
  acme.commit(CREATE);
  acme.commit(FILL);
  acme.checkpoint();
  await ship.isStored('acme');
  store.isAway = true;
  for (let round = 0; round < 4; round++) {
    acme.commit(INSERT);
    acme.commit(INSERT);
    acme.checkpoint();
  }
  acme.commit(INSERT);
  acme.capture();
  expect(readdirSync(ship.spool)).not.toEqual([]);
  await ship.stop();
  store.isAway = false;
}

async function start(options: { readonly spooled?: boolean } = {}): Promise<TestShip> {
  const ship = new TestShip({ store, dataDir, ...options });
  await ship.shipper.start();
  return ship;
}

test('is stored first, and its tenant continues without a new snapshot', async () => {
  await runUntilKilled();
  const ship = await start();
  await waitFor(() => spools().length === 0, { what: 'the spool to be stored' });
  const acme = ship.file('acme');
  expect((await restored(store, 'acme'))?.equals(acme.image())).toBe(true);
  acme.commit(INSERT);
  await ship.isStored('acme');
  expect(ship.fulls).toBe(0);
  await waitFor(() => ship.used === 0n, { what: 'the room to be free' });
});

test('stays until it is stored: a second kill loses nothing either', async () => {
  await runUntilKilled();
  const [name] = spools();
  const second: TestShip = new TestShip({
    ...{ store, dataDir, spooled: true },
    // Before it stores anything.
    post: ({ kind }) => {
      if (kind === 'started') store.isAway = true;
    },
  });
  await second.shipper.start();
  const acme = second.file('acme');
  acme.commit(INSERT);
  acme.checkpoint();
  acme.commit(INSERT);
  acme.checkpoint();
  acme.commit(INSERT);
  acme.capture();
  expect(spools()).toContain(name);
  await second.stop();
  store.isAway = false;
  const third = await start();
  third.file('acme').commit(INSERT);
  await third.isStored('acme');
  expect(third.fulls).toBe(0);
  await waitFor(() => spools().length === 0, { what: 'the spools to be stored' });
});

test('where it lacks a part, what comes before that is stored, and the tenant has a new snapshot', async () => {
  await runUntilKilled();
  const [name] = spools();
  const folder = join(spoolsFolder(dataDir), name!);
  const path = join(folder, readdirSync(folder)[0]!);
  const messages = readRecords(path).map(record => readMessage(record)!);
  const left = messages.toSpliced(-3, 1);
  const mark = newMark();
  writeFileSync(path, Buffer.concat(left.flatMap(message => encodeRecord(message, mark))));
  const ship = await start();
  const [known] = ship.of('stored');
  await waitFor(() => spools().length === 0, { what: 'the spool to be stored' });
  expect(ship.of('stored').at(-1)!.upTo[0]!.pos).toBeGreaterThan(known!.upTo[0]!.pos);
  ship.file('acme').commit(INSERT);
  await ship.isStored('acme');
  expect(ship.fulls).toBe(1);
});

test('has one piece in memory at a time, however much was left', async () => {
  await runUntilKilled();
  const [name] = spools();
  const folder = join(spoolsFolder(dataDir), name!);
  const path = join(folder, readdirSync(folder)[0]!);
  const logs = readRecords(path)
    .flatMap(record => readMessage(record) ?? [])
    .filter(({ kind }) => kind === 'log');
  const mark = newMark();
  writeFileSync(path, Buffer.concat(logs.flatMap(message => encodeRecord(message, mark))));
  const seqOf = (message: CaptureMessage) => (message as CapturedLog).commits[0]!.commitSeq;
  const received: number[] = [];
  let next = seqOf(logs[0]!);
  const line = {
    ...{ tenant: 'acme', settled: {}, fits: (message: CaptureMessage) => seqOf(message) === next },
    receive: (message: CaptureMessage) => {
      received.push(next);
      next = (message as CapturedLog).commits.at(-1)!.commitSeq + 1;
      // What follows has not been read yet.
      truncateSync(path, 0);
    },
  };
  const failures = new Failures(() => 1);
  const room = CaptureRoom.create(64 * 1024 * 1024);
  const former = new FormerSpools({ dataDir, room, failures });
  former.replay(new Map([['acme', line as unknown as TenantLine]]));
  expect(logs.length).toBeGreaterThan(1);
  expect(received).toEqual([seqOf(logs[0]!)]);
});

test('of another boot of the machine it is of no use: it may be ahead of the disk', async () => {
  await runUntilKilled();
  const [name] = spools();
  const other = `${'0'.repeat(32)}${name!.slice(32)}`;
  renameSync(join(spoolsFolder(dataDir), name!), join(spoolsFolder(dataDir), other));
  const ship = await start();
  expect(spools()).toEqual([]);
  ship.file('acme').commit(INSERT);
  await ship.isStored('acme');
  expect(ship.fulls).toBe(1);
});

test('is read for all tenants, also where all that the first one has is stored already', async () => {
  const ship = new TestShip({ store, dataDir, spooled: true });
  await ship.shipper.start();
  ship.file('other').commit(CREATE);
  ship.file('other').capture();
  const ofOther = readdirSync(ship.spool).flatMap(name => readRecords(join(ship.spool, name)));
  const messages = ofOther.map(record => readMessage(record)!);
  await ship.isStored('other');
  await ship.stop();
  await runUntilKilled();
  const mark = newMark();
  const records = messages.flatMap(message => encodeRecord(message, mark));
  mkdirSync(ship.spool, { recursive: true });
  writeFileSync(join(ship.spool, '0-0'), Buffer.concat(records));
  const next = await start();
  await waitFor(() => spools().length === 0, { what: 'the spools to be stored' });
  expect((await restored(store, 'acme'))?.equals(next.file('acme').image())).toBe(true);
  next.file('acme').commit(INSERT);
  await next.isStored('acme');
  expect(next.fulls).toBe(0);
});

test('of a tenant that is off nothing is stored', async () => {
  await runUntilKilled();
  const before = await restored(store, 'acme');
  const ship = new TestShip({ store, dataDir });
  ship.receive({ kind: 'off', tenant: 'acme', off: true });
  await ship.shipper.start();
  expect(spools()).toEqual([]);
  expect((await restored(store, 'acme'))?.equals(before!)).toBe(true);
});

test('of what is stored already nothing is stored again', async () => {
  await runUntilKilled();
  const [name] = spools();
  const folder = join(spoolsFolder(dataDir), name!);
  cpSync(folder, `${dataDir}/kept`, { recursive: true });
  const ship = await start();
  ship.file('acme').commit(INSERT);
  await ship.isStored('acme');
  const pos = ship.of('stored').at(-1)!.upTo[0]!.pos;
  await ship.stop();
  cpSync(`${dataDir}/kept`, folder, { recursive: true });
  const again = await start();
  expect(spools()).toEqual([]);
  again.file('acme').commit(INSERT);
  await again.isStored('acme');
  expect(again.of('stored').at(-1)!.upTo[0]!.pos).toBe(pos + 1);
  expect(again.fulls).toBe(0);
});

test('an end in order leaves none', async () => {
  const ship = await start({ spooled: true });
  ship.file('acme').commit(CREATE);
  await ship.isStored('acme');
  ship.file('acme').commit(INSERT);
  ship.receive({ kind: 'end', withinMs: 10_000 });
  await waitFor(() => ship.of('ended').length === 1, { what: 'the end' });
  expect(spools()).toEqual([]);
});
