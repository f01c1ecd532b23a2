import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { newJobId, PROTOCOL_VERSION, tenantFile } from '@onewriter/protocol';
import { type Logger, loadConfig } from '@onewriter/runtime';
import {
  type ApplyOutcome,
  type ApplyTask,
  spoolFolder,
  spoolsFolder,
  writerThreadUrl,
} from '@onewriter/writer';
import { expect, it, onTestFinished, vi } from 'vitest';
import {
  type FakeReplicatorOptions,
  type FakeReplicatorStatus,
  fakeReplicatorUrl,
} from '../../test-support/fake-replicator.ts';
import { LaneProcess } from '../lanes/apart/lane-process.ts';
import { Lane, type LaneClient } from '../lanes/lane.ts';
import type { LaneOptions } from '../lanes/lane-options.ts';
import { WalFlusher } from '../lanes/wal-flusher.ts';
import { HeldFiles } from './held-files.ts';
import { Replica } from './replica.ts';
import { isStored } from './replica-state.ts';
import { toReplicatorData } from './replicator-data.ts';
import { findUnknownTenants } from './unknown-tenants.ts';

/* With real threads; the store is none. */

const quiet = { info() {}, warn() {}, error() {} } as unknown as Logger;
/** Processes load JavaScript. */
const APART_ENTRY = new URL('../../dist/lanes/apart/apart-process.js', import.meta.url);
const WAIT = { timeout: 10_000, interval: 5 };

function temporaryDataDir(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-replica-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  return dataDir;
}

function createReplica(options: FakeReplicatorOptions = {}, dataDir = '/nowhere') {
  const calls: string[] = [];
  const note =
    (name: string) =>
    (...parts: unknown[]) =>
      calls.push([name, ...parts.map(part => JSON.stringify(part))].join(' '));
  const log = { info() {}, error: (_: unknown, text: string) => calls.push(text) } as unknown as Logger;
  const config = loadConfig({ ONEWRITER_REPLICA_URL: 'file:///store', ONEWRITER_DATA_DIR: dataDir });
  const replica = new Replica({
    data: toReplicatorData(config, 'dir-1')!,
    defaultMode: 'async',
    boundBytes: 64 * 1024 * 1024,
    log,
    onFenced: note('fenced'),
    onStarted: known => note('started')(known),
    onBased: note('based'),
    threadUrl: fakeReplicatorUrl(options),
  });
  onTestFinished(() => replica.end(0));
  return { replica, calls };
}

function statusOf(replica: Replica): FakeReplicatorStatus {
  return (replica.status ?? { notes: [], captured: [] }) as unknown as FakeReplicatorStatus;
}

/** A tenant with one job. */
class Client implements LaneClient {
  readonly tenant: string;
  lane: Lane | undefined;
  readonly pinned = false;
  readonly overtakesAt = undefined;
  outcome: ApplyOutcome | Error | undefined;
  readonly #capture: boolean;
  #begun = false;

  constructor(tenant: string, capture = false) {
    this.tenant = tenant;
    this.#capture = capture;
  }

  nextTask(): ApplyTask | undefined {
    if (this.#begun) return undefined;
    this.#begun = true;
    const sql = ['CREATE TABLE IF NOT EXISTS t(x)', 'INSERT INTO t VALUES (1)'];
    const ops = [{ s: 0 }, { s: 1 }];
    const data = JSON.stringify({ v: PROTOCOL_VERSION, client: 'c-1', seq: 1, at: 0, sql, ops });
    const jobs = [{ id: newJobId(), data }];
    return { kind: 'apply', tenant: this.tenant, epoch: 1, jobs, capture: this.#capture };
  }

  onOutcome(outcome: ApplyOutcome): void {
    this.outcome = outcome;
  }

  onRevoked(): void {
    this.#begun = false;
  }

  onFault(error: Error): void {
    this.outcome = error;
  }
}

async function apply(lane: Lane, tenant: string, capture = false): Promise<void> {
  const client = new Client(tenant, capture);
  lane.enqueue(client);
  await vi.waitFor(() => expect(client.outcome).toMatchObject({ kind: 'applied' }), WAIT);
}

function createLane(replica: Replica, dataDir: string, more: Partial<LaneOptions> = {}): Lane {
  const lane = new Lane(0, {
    writer: {
      ...{ dataDir, dbFile: 'tenant.db', createTenants: true, busyTimeoutMs: 1_000, exclusive: false },
      ...{
        maxOpenTenants: 10,
        runningNote: join(dataDir, 'running'),
        retentionClock: { id: 't', offsetMs: 0 },
      },
    },
    flusher: new WalFlusher(() => 10),
    distrusted: new Set(),
    mayBegin: () => true,
    onIdle() {},
    onChanged() {},
    onBroken() {},
    log: quiet,
    capture: replica,
    ...more,
  });
  onTestFinished(() => lane.close().then(() => {}));
  return lane;
}

it('knows what is stored, and says it to those who wait', async () => {
  const { replica, calls } = createReplica({
    first: [
      { kind: 'started', known: ['acme'], branches: [] },
      {
        kind: 'stored',
        upTo: [{ tenant: 'acme', pos: 4, commitSeq: 3, epoch: 2, incarnation: '' }],
        atMs: 77,
      },
    ],
  });
  const heard: unknown[] = [];
  const remove = replica.onStored((upTo, atMs) => heard.push([upTo.tenant, atMs]));
  expect(replica.available).toBe(false);
  replica.start();
  expect(await replica.started(10_000)).toBe(true);
  await vi.waitFor(() => expect(replica.stored('acme')).toMatchObject({ commitSeq: 3, epoch: 2 }), WAIT);
  expect(heard).toEqual([['acme', 77]]);
  expect(calls).toEqual(['started ["acme"]']);
  expect([replica.available, replica.stored('other')]).toEqual([true, undefined]);
  remove();
  replica.note({ kind: 'deleted', tenant: 'acme' });
  expect(replica.stored('acme')).toBeUndefined();
});

it('takes nothing of a deleted file for stored of the next one, which counts from 1 again', async () => {
  const dataDir = temporaryDataDir();
  const { replica } = createReplica({}, dataDir);
  const heard: unknown[] = [];
  replica.onStored(({ commitSeq }) => heard.push(commitSeq));
  // The thread that starts later gets it, too.
  replica.note({ kind: 'deleted', tenant: 'acme' });
  replica.start();
  await vi.waitFor(() => expect(heard).toEqual([0]), WAIT);
  await apply(createLane(replica, dataDir), 'acme', true);
  await vi.waitFor(() => expect(heard).toEqual([0, 0, 1]), WAIT);
  replica.note({ kind: 'deleted', tenant: 'acme' });
  expect(replica.stored('acme')).toBeUndefined();
  await vi.waitFor(() => expect(heard).toEqual([0, 0, 1, 0]), WAIT);
  expect(isStored(replica.stored('acme'), { epoch: 1, commitSeq: 1, incarnation: '' })).toBe(false);
});

it('does not wait longer than it may for a store that is away', async () => {
  const { replica } = createReplica({ first: [{ kind: 'available', available: false }] });
  replica.start();
  expect(await replica.started(50)).toBe(false);
  await vi.waitFor(() => expect(replica.available).toBe(false), WAIT);
});

it('says which tenants are off, also to a thread that is started later', async () => {
  const { replica } = createReplica();
  replica.setMode('quiet', 'off');
  replica.start();
  await replica.started(10_000);
  replica.setMode('quiet', 'sync');
  replica.setMode('acme', 'sync');
  replica.setMode('acme', 'off');
  replica.setMode('acme', undefined);
  await vi.waitFor(
    () => expect(statusOf(replica).notes).toEqual(['off quiet', 'off quiet', 'off acme', 'off acme']),
    WAIT,
  );
  expect([replica.modeOf('quiet'), replica.modeOf('acme')]).toEqual(['sync', 'async']);
});

it('ends the leader where another broker writes to the store', async () => {
  const { replica, calls } = createReplica({ first: [{ kind: 'fenced', message: 'term 7' }] });
  replica.start();
  await vi.waitFor(() => expect(calls).toEqual(['fenced "term 7"']), WAIT);
});

it('leaves the leader alone where a person has to act', async () => {
  const { replica, calls } = createReplica({
    first: [{ kind: 'refused', code: 'REPLICA_REFUSED', message: 'another directory' }],
  });
  replica.start();
  expect(await replica.started(10_000)).toBe(false);
  expect([replica.available, replica.problem]).toEqual([false, 'another directory']);
  expect(calls).toEqual(['Nothing is replicated: another directory']);
  // Else the group would look healthy while nothing leaves the machine.
  expect(replica.status?.stores).toMatchObject([{ ok: false, error: 'another directory' }]);
});

it('has its rest stored before it ends, and does not wait for a thread that does not end', async () => {
  const { replica } = createReplica();
  replica.start();
  await replica.started(10_000);
  await replica.end(10_000);
  expect(replica.available).toBe(false);
  const stuck = createReplica({ ends: false }).replica;
  stuck.start();
  await stuck.started(10_000);
  const startedAt = performance.now();
  await stuck.end(50);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

it('gets the commits of writer threads, and asks for them', async () => {
  const dataDir = temporaryDataDir();
  const { replica } = createReplica({}, dataDir);
  replica.start();
  const lane = createLane(replica, dataDir);
  await apply(lane, 'acme');
  await apply(lane, 'acme', true);
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(2), WAIT);
  await apply(lane, 'acme');
  replica.note({ kind: 'replaced', tenant: 'ask' });
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(3), WAIT);
  expect(statusOf(replica).captured.flatMap(({ seqs }) => seqs)).toEqual([0, 1, 2, 3]);
});

it('is started again where its thread dies, and gets again what is in the logs', async () => {
  const dataDir = temporaryDataDir();
  const { replica, calls } = createReplica({}, dataDir);
  replica.start();
  const lane = createLane(replica, dataDir);
  await apply(lane, 'acme', true);
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(1), WAIT);
  replica.note({ kind: 'off', tenant: 'die', off: true });
  await vi.waitFor(() => expect(replica.available).toBe(false), WAIT);
  // While there is none, writes go on.
  await apply(lane, 'acme');
  await vi.waitFor(() => expect(calls.filter(call => call.startsWith('started'))).toHaveLength(2), WAIT);
  await apply(lane, 'acme', true);
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(3), WAIT);
  // Of those before it, the thread does not know the numbers any more.
  expect(statusOf(replica).captured.flatMap(({ seqs }) => seqs)).toEqual([0, 0, 2, 3]);
  expect(replica.available).toBe(true);
});

it('removes what threads that ended left on the disk beyond the bound', async () => {
  const dataDir = temporaryDataDir();
  const folders = ['0000000000000001', '0000000000000002'].map(room => spoolFolder(dataDir, room)!);
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, '1-1'), '');
    truncateSync(join(folder, '1-1'), 65 * 1024 * 1024);
  }
  const { replica } = createReplica({}, dataDir);
  replica.start();
  await replica.started(10_000);
  replica.note({ kind: 'off', tenant: 'die', off: true });
  await vi.waitFor(() => expect(readdirSync(spoolsFolder(dataDir))).toEqual([basename(folders[0]!)]), WAIT);
});

it('gets the commits of a thread that took the place of another', async () => {
  const dataDir = temporaryDataDir();
  const thread = join(dataDir, 'thread.mjs');
  const source = `
    import run from ${JSON.stringify(writerThreadUrl.href)};
    export default task => (task.tenant === 'broken' ? process.exit(1) : run(task));
  `;
  writeFileSync(thread, source);
  const { replica } = createReplica({}, dataDir);
  replica.start();
  const lane = createLane(replica, dataDir, { threadUrl: pathToFileURL(thread) });
  await apply(lane, 'acme', true);
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(1), WAIT);
  const broken = new Client('broken');
  lane.enqueue(broken);
  await vi.waitFor(() => expect(broken.outcome).toBeInstanceOf(Error), WAIT);
  await apply(lane, 'acme', true);
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(2), WAIT);
});

it('gets the commits of the process apart before their outcome', async () => {
  const dataDir = temporaryDataDir();
  const { replica } = createReplica({}, dataDir);
  replica.start();
  const runner = new LaneProcess({ memoryBytes: 2 ** 30, log: quiet, entry: APART_ENTRY });
  const lane = createLane(replica, dataDir, { runner, maxGroup: 1, closesAfterBatch: true });
  await apply(lane, 'acme');
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(1), WAIT);
  await apply(lane, 'acme', true);
  await vi.waitFor(() => expect(replica.stored('acme')?.commitSeq).toBe(2), WAIT);
  const { captured } = statusOf(replica);
  expect(captured.filter(({ kind }) => kind === 'closed').length).toBeGreaterThan(0);
  expect(captured.flatMap(({ seqs }) => seqs)).toEqual([0, 1, 2]);
});

it('hears of files that a holder changed', () => {
  const dataDir = temporaryDataDir();
  const changes: string[] = [];
  const held = new HeldFiles({ dataDir, dbFile: 'tenant.db' }, ({ kind, tenant }) =>
    changes.push(`${kind} ${tenant}`),
  );
  const file = (tenant: string) => tenantFile(dataDir, tenant);
  for (const tenant of ['same', 'gone', 'other']) {
    mkdirSync(dirname(file(tenant)), { recursive: true });
    writeFileSync(file(tenant), 'a');
  }
  for (const tenant of ['same', 'gone', 'other', 'new']) held.held(tenant);
  // The hold is looked at again.
  rmSync(file('gone'));
  held.held('gone');
  writeFileSync(`${file('other')}.new`, 'a');
  renameSync(`${file('other')}.new`, file('other'));
  mkdirSync(dirname(file('new')), { recursive: true });
  writeFileSync(file('new'), 'a');
  for (const tenant of ['same', 'gone', 'other', 'new', 'free']) held.freed(tenant);
  expect(changes).toEqual(['deleted gone', 'replaced other', 'replaced new']);
});

it('hears of tenants that were there before', async () => {
  const dataDir = temporaryDataDir();
  const found: string[] = [];
  const find = async () => {
    for await (const tenant of findUnknownTenants({ dataDir, dbFile: 'tenant.db' }, new Set(['known'])))
      found.push(tenant);
  };
  await find();
  for (const tenant of ['known', 'acme', 'empty', 'Not-a-tenant']) {
    mkdirSync(join(dataDir, 'tenants', tenant), { recursive: true });
    if (tenant !== 'empty') writeFileSync(join(dataDir, 'tenants', tenant, 'tenant.db'), '');
  }
  await find();
  expect(found).toEqual(['acme']);
});

it('reads its key from a file', () => {
  const dataDir = temporaryDataDir();
  const path = join(dataDir, 'key');
  const key = Buffer.alloc(32, 9).toString('base64');
  const env = { ONEWRITER_REPLICA_URL: 's3://a/b,file:///c', ONEWRITER_REPLICA_KEY_FILE: path };
  const read = () => toReplicatorData(loadConfig({ ...env, ONEWRITER_REPLICA_RETENTION: '12h' }), 'dir-1');
  expect(read).toThrow(/ONEWRITER_REPLICA_KEY_FILE: the file cannot be read/);
  writeFileSync(path, 'short');
  expect(read).toThrow(/32 bytes/);
  writeFileSync(path, `${key}\n`);
  expect(read()).toMatchObject({ masterKey: key, urls: ['s3://a/b', 'file:///c'], retentionMs: 43_200_000 });
  expect(toReplicatorData(loadConfig({}), 'dir-1')).toBeUndefined();
});
