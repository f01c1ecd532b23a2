import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { newJobId, PROTOCOL_VERSION, tenantFile } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import type { ApplyOutcome, ApplyTask } from '@onewriter/writer';
import Database from 'better-sqlite3';
import { expect, it, onTestFinished, vi } from 'vitest';
import { LaneProcess } from './apart/lane-process.ts';
import { Lane, type LaneClient } from './lane.ts';
import type { LaneOptions } from './lane-options.ts';
import { Lanes, type LanesOptions } from './lanes.ts';
import { WalFlusher } from './wal-flusher.ts';

/* With real threads and files: what matters here is what the pool and its threads do. */

const quiet = { info() {}, warn() {}, error() {} } as unknown as Logger;

/** Lasts more than half a second in the thread, and changes nothing. */
const SLOW =
  'WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 5000000) SELECT count(*) FROM c';

const ENDLESS =
  'CREATE TABLE u AS WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0';

/** A tenant with one job. */
class Client implements LaneClient {
  readonly tenant: string;
  lane: Lane | undefined;
  readonly pinned = false;
  readonly overtakesAt: number | undefined;
  outcome: ApplyOutcome | Error | undefined;
  wasRunning: boolean | undefined;
  readonly #sql: string;
  #begun = false;

  constructor(tenant: string, sql = 'CREATE TABLE IF NOT EXISTS t(x)', overtakesAt?: number) {
    this.tenant = tenant;
    this.overtakesAt = overtakesAt;
    this.#sql = sql;
  }

  nextTask(): ApplyTask | undefined {
    if (this.#begun) return undefined;
    this.#begun = true;
    const data = JSON.stringify({
      v: PROTOCOL_VERSION,
      client: 'c-1',
      seq: 1,
      at: 0,
      sql: [this.#sql],
      ops: [{ x: 0 }],
    });
    return { kind: 'apply', tenant: this.tenant, epoch: 1, jobs: [{ id: newJobId(), data }] };
  }

  /** Its job was revoked, and it has it again. */
  reset(): void {
    this.#begun = false;
    this.outcome = undefined;
  }

  onOutcome(outcome: ApplyOutcome): void {
    this.outcome = outcome;
  }

  onRevoked(): void {
    this.#begun = false;
  }

  onFault(error: Error, wasRunning: boolean): void {
    this.outcome = error;
    this.wasRunning = wasRunning;
  }
}

function writerOptions() {
  const dataDir = mkdtempSync(join(tmpdir(), 'onewriter-lanes-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  return {
    dataDir,
    dbFile: 'tenant.db',
    createTenants: true,
    busyTimeoutMs: 1_000,
    exclusive: false,
    runningNote: join(dataDir, 'running', '1'),
    retentionClock: { id: 'test', offsetMs: 0 },
  };
}

function createLane(
  options: LanesOptions['writer'],
  more: Partial<LaneOptions> = {},
  maxOpenTenants = 400,
): Lane {
  const flusher = new WalFlusher(() => 10);
  const nothing = () => {};
  const lane = new Lane(0, {
    ...{
      writer: { ...options, maxOpenTenants },
      flusher,
      distrusted: new Set(),
      mayBegin: () => true,
      onIdle: nothing,
      onChanged: nothing,
      onBroken: nothing,
      log: quiet,
    },
    ...more,
  });
  onTestFinished(async () => {
    await lane.close();
    flusher.close();
  });
  return lane;
}

function createApart(
  entry = new URL('../../dist/lanes/apart/apart-process.js', import.meta.url),
  log = quiet,
): LaneProcess {
  return new LaneProcess({ memoryBytes: 1_024 * 1_024 * 1_024, log, entry });
}

function createLanes(more: Partial<LanesOptions> = {}): Lanes {
  const lanes = new Lanes({
    threads: 2,
    writer: writerOptions(),
    openFiles: { perLane: 400, perSpareLane: 32, logs: 400, descriptors: 2_000 },
    mayBegin: () => true,
    apart: createApart(),
    onChanged: (_, finding) => expect.fail(finding.message),
    onBroken: error => expect.fail(String(error)),
    log: quiet,
    ...more,
  });
  onTestFinished(async () => void (await lanes.close()));
  return lanes;
}

const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 30_000, interval: 10 });

it('a lane runs its tasks in order, and ends only after the last', async () => {
  const lane = createLane(writerOptions());
  const order: number[] = [];
  const closes = Array.from({ length: 300 }, async (_, index) => {
    await lane.closeTenant(`t${index}`);
    order.push(index);
  });
  const closing = lane.close();
  await Promise.all(closes);
  await closing;
  expect(order).toEqual(Array.from({ length: 300 }, (_, index) => index));
});

it('a spare lane retires while many idle tenants are being closed', { timeout: 60_000 }, async () => {
  const lanes = createLanes({ threads: 1, spareIdleMs: 0 });
  const slow = [new Client('slow-1', SLOW), new Client('slow-2', SLOW)];
  const clients = Array.from({ length: 60 }, (_, index) => new Client(`t${index}`));
  for (const client of [...slow, ...clients]) lanes.enqueue(client);
  await until(() => lanes.all.length > 1);
  await until(() => [...slow, ...clients].every(({ outcome }) => outcome !== undefined));
  expect(clients.filter(({ outcome }) => (outcome as ApplyOutcome).kind !== 'applied')).toEqual([]);
  const closed = Promise.all([...slow, ...clients].map(client => lanes.closeTenant(client)));
  await until(() => lanes.all.length === 1);
  await closed;
  await lanes.close();
});

it('the tenants of a spare lane move back while they are written, and it retires', {
  timeout: 60_000,
}, async () => {
  const lanes = createLanes({ threads: 1, spareIdleMs: 0 });
  const [lasting] = lanes.all;
  const clients = Array.from({ length: 20 }, (_, index) => new Client(`t${index}`));
  for (const client of [new Client('slow', SLOW), ...clients]) lanes.enqueue(client);
  await until(() => !lasting!.isAtFiles); // it runs the statement
  await until(() => clients.every(({ outcome }) => outcome !== undefined));
  const spare = lanes.all[1]!;
  expect(clients.filter(({ lane }) => lane === spare).length).toBeGreaterThan(0);
  await until(() => {
    for (const client of clients.filter(({ outcome }) => outcome !== undefined)) {
      client.reset();
      lanes.enqueue(client);
    }
    return clients.every(({ lane }) => lane === lasting) && lanes.all.length === 1;
  });
  expect(spare.tenants.size).toBe(0);
});

it('no spare lane is opened while a thread waits for a file for a moment', async () => {
  const writer = { ...writerOptions(), busyTimeoutMs: 250 };
  const path = tenantFile(writer.dataDir, 'locked', writer.dbFile);
  mkdirSync(dirname(path), { recursive: true });
  const other = new Database(path);
  onTestFinished(() => void other.close());
  other.pragma('journal_mode = WAL');
  other.exec('BEGIN IMMEDIATE');
  const lanes = createLanes({ threads: 1, writer });
  const first = new Client('first');
  lanes.enqueue(first);
  await until(() => first.outcome !== undefined); // the thread has started
  const look = vi.spyOn(lanes.all[0]!, 'heldUpMs');
  const clients = [new Client('locked'), new Client('t0'), new Client('t1')];
  for (const client of clients) lanes.enqueue(client);
  let most = 0;
  await until(() => {
    most = Math.max(most, lanes.all.length);
    return clients.every(({ outcome }) => outcome !== undefined);
  });
  expect(clients[0]!.outcome).toMatchObject({ kind: 'refused', error: { code: 'DATABASE_BUSY' } });
  expect(Math.max(...look.mock.results.map(({ value }) => value as number))).toBeGreaterThan(150);
  expect(most).toBe(1);
});

it('a tenant whose file a lane closed for others is not bound to it any more', async () => {
  const lane = createLane(writerOptions(), {}, 2);
  const clients = Array.from({ length: 4 }, (_, index) => new Client(`t${index}`));
  for (const client of clients) {
    lane.enqueue(client);
    await until(() => client.outcome !== undefined);
  }
  expect([...lane.tenants]).toEqual(['t2', 't3']);
  expect(clients.map(({ tenant }) => lane.mayHaveOpen(tenant))).toEqual([false, false, true, true]);
});

it('a lane whose threads do not stay up reports it, and returns its work', async () => {
  const writer = writerOptions();
  const thread = join(writer.dataDir, 'thread.mjs');
  writeFileSync(thread, "throw new Error('This thread does not start.');");
  let broken: Error | undefined;
  const onBroken = (error: Error) => {
    broken = error;
  };
  const lane = createLane(writer, { onBroken, threadUrl: pathToFileURL(thread) });
  const client = new Client('t0');
  lane.enqueue(client);
  await until(() => broken !== undefined);
  await until(() => client.outcome !== undefined);
  expect(broken?.message).toBe('This thread does not start.');
  expect(client.outcome).toBeInstanceOf(Error);
  // No crash counts for a job.
  expect(client.wasRunning).toBe(false);
});

it('a thread that ends in the middle of a group says in whose batch', async () => {
  const writer = writerOptions();
  const thread = join(writer.dataDir, 'thread.mjs');
  writeFileSync(
    thread,
    `import { workerData } from 'node:worker_threads';
    const cells = new Int32Array(workerData.progress);
    export default ({ kind }) => {
      if (kind !== 'group') return { kind: 'closed', tenants: [] };
      Atomics.store(cells, 3, 2);
      Atomics.store(cells, 1, 0);
      setImmediate(() => {
        throw new Error('The thread ends.');
      });
      return new Promise(() => {});
    };`,
  );
  let mayBegin = false;
  const lane = createLane(writer, { threadUrl: pathToFileURL(thread), mayBegin: () => mayBegin });
  const clients = [new Client('t0'), new Client('t1'), new Client('t2')];
  for (const client of clients) lane.enqueue(client);
  mayBegin = true;
  lane.pump();
  await until(() => clients.every(({ outcome }) => outcome !== undefined));
  expect(clients.map(({ wasRunning }) => wasRunning)).toEqual([false, true, false]);
});

it('a lane serves a tenant with new work before a backlog of hundreds has had its round', async () => {
  let mayBegin = false;
  const order: string[] = [];
  const lane = createLane(writerOptions(), { mayBegin: () => mayBegin });
  const enqueue = (client: Client) => {
    client.onOutcome = () => order.push(client.tenant);
    lane.enqueue(client);
  };
  for (let count = 0; count < 200; count++) enqueue(new Client(`backlog-${count}`));
  enqueue(new Client('fresh', undefined, 0));
  mayBegin = true;
  lane.pump();
  await until(() => order.length === 201);
  expect(order.indexOf('fresh')).toBeLessThan(16);
  // Flushes of one group, and of the one after it, end in any order.
  const last = order.slice(-10).map(tenant => Number(tenant.slice('backlog-'.length)));
  expect(Math.min(...last)).toBeGreaterThan(199 - 10 - 2 * 16);
});

/** A thread whose batches sleep, and which may take long to load. */
function slowThread(folder: string, { loadMs = 0, batchMs }: { loadMs?: number; batchMs: number }): URL {
  const thread = join(folder, 'slow-thread.mjs');
  writeFileSync(
    thread,
    `import { parentPort, workerData } from 'node:worker_threads';
    const cells = new Int32Array(workerData.progress);
    const sleep = ms => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    sleep(${loadMs});
    const stats = { openMs: 0, applyMs: ${batchMs}, commitMs: 0, checkpointMs: 0, walBytes: 0, commits: 0 };
    const outcome = { kind: 'applied', jobs: [], evicted: [], stats };
    const apply = () => {
      Atomics.store(cells, 1, 0);
      sleep(${batchMs});
      return outcome;
    };
    export default task => {
      if (task.kind === 'apply') return apply();
      if (task.kind !== 'group') return { kind: 'closed', tenants: [] };
      for (const [item] of task.tasks.entries()) {
        Atomics.store(cells, 3, item + 1);
        parentPort.postMessage({ group: task.id, item, outcome: apply() });
      }
      return { kind: 'group', started: task.tasks.length };
    };`,
  );
  return pathToFileURL(thread);
}

it('slow batches go to the thread a few at a time, so that a tenant that comes meanwhile waits for few', async () => {
  const writer = writerOptions();
  const lane = createLane(writer, { threadUrl: slowThread(writer.dataDir, { batchMs: 40 }) });
  let given = 0;
  let done = 0;
  const ahead: number[] = [];
  for (let count = 0; count < 30; count++) {
    const client = new Client(`t${count}`);
    const { nextTask } = client;
    client.nextTask = () => {
      ahead.push(given++ - done);
      return nextTask.call(client);
    };
    client.onOutcome = () => done++;
    lane.enqueue(client);
  }
  await until(() => done === 30);
  // After the first groups, whose batches were not known to be slow.
  expect(Math.max(...ahead.slice(20))).toBeLessThan(4);
});

it('a lane whose thread is still being loaded is not held up, and one with a long batch is', async () => {
  const writer = writerOptions();
  const threadUrl = slowThread(writer.dataDir, { loadMs: 300, batchMs: 400 });
  const lane = createLane(writer, { threadUrl });
  const client = new Client('t0');
  const enqueuedAt = performance.now();
  lane.enqueue(client);
  let heldUpAt = 0;
  await until(() => {
    if (heldUpAt === 0 && lane.heldUpMs(performance.now()) > 100) heldUpAt = performance.now();
    return client.outcome !== undefined;
  });
  expect(heldUpAt - enqueuedAt).toBeGreaterThan(400);
});

it('others do not wait for tenants that run apart, which run one after the other in another process', async () => {
  const apart = createApart();
  const lanes = createLanes({ apart });
  const at = new Set<string>();
  const order: string[] = [];
  const create = (tenant: string, sql?: string) => {
    const client = new Client(tenant, sql);
    const { nextTask } = client;
    client.nextTask = () => {
      const task = nextTask.call(client);
      if (task !== undefined && tenant.startsWith('apart')) {
        if (at.size > 0) order.push('together');
        at.add(tenant);
      }
      return task;
    };
    client.onOutcome = outcome => {
      at.delete(tenant);
      client.outcome = outcome;
      order.push(tenant);
    };
    return client;
  };
  const suspects = [create('apart-0', SLOW), create('apart-1', SLOW), create('apart-2')];
  for (const client of suspects) lanes.enqueueApart(client);
  await until(() => lanes.apart.work !== undefined && lanes.apart.position.job === 0);
  const others = Array.from({ length: 5 }, (_, index) => create(`other-${index}`));
  for (const client of others) lanes.enqueue(client);
  await until(() => order.length === 8);
  expect(order.slice(0, 5).every(tenant => tenant.startsWith('other'))).toBe(true);
  expect(order.slice(5)).toEqual(['apart-0', 'apart-1', 'apart-2']);
  expect([...suspects, ...others].map(({ outcome }) => (outcome as ApplyOutcome).kind)).toEqual(
    Array(8).fill('applied'),
  );
  expect(apart.pid).not.toBe(process.pid);
});

it('a tenant moves to the process apart and back, and never has its file open in both', async () => {
  const lanes = createLanes({ threads: 1 });
  const client = new Client('t0');
  const turns: string[] = [];
  for (const apart of [false, true, true, false, true, false]) {
    client.reset();
    const { nextTask } = client;
    client.nextTask = () => {
      turns.push(`${lanes.all[0]!.mayHaveOpen('t0')} ${lanes.apart.mayHaveOpen('t0')}`);
      return nextTask.call(client);
    };
    if (apart) lanes.enqueueApart(client);
    else lanes.enqueue(client);
    await until(() => client.outcome !== undefined);
    client.nextTask = nextTask;
    expect(client.outcome).toMatchObject({ kind: 'applied' });
  }
  expect(turns).toEqual([false, true, true, false, true, false].map(apart => `${!apart} ${apart}`));
});

it('the process apart ends when nothing needs it, and starts again', async () => {
  const apart = createApart();
  const lanes = createLanes({ apart, spareIdleMs: 0 });
  const client = new Client('t0');
  const pids: unknown[] = [];
  for (let time = 0; time < 2; time++) {
    client.reset();
    lanes.enqueueApart(client);
    await until(() => apart.running);
    pids.push(apart.pid);
    await until(() => client.outcome !== undefined);
    expect(client.outcome).toMatchObject({ kind: 'applied' });
    await until(() => apart.pid === undefined);
  }
  expect(pids[0]).not.toBe(pids[1]);
});

it('the end of the process apart counts for what ran there, unless we ended it, and harms no other', async () => {
  const apart = createApart();
  const lanes = createLanes({ apart });
  for (const isOurs of [false, true]) {
    const [suspect, next] = [new Client('suspect', ENDLESS), new Client('next')];
    lanes.enqueueApart(suspect);
    lanes.enqueueApart(next);
    await until(() => lanes.apart.work?.client === suspect && lanes.apart.position.job === 0);
    if (isOurs) await apart.kill();
    else process.kill(apart.pid!, 'SIGKILL');
    await until(() => next.outcome !== undefined && suspect.outcome !== undefined);
    expect(suspect.outcome).toBeInstanceOf(Error);
    expect(suspect.wasRunning).toBe(!isOurs);
    expect(next.outcome).toMatchObject({ kind: 'applied' });
  }
});

it('a process apart that does not start is no fault of what waits for it', async () => {
  const { dataDir } = writerOptions();
  const entry = join(dataDir, 'process.mjs');
  writeFileSync(entry, "throw new Error('This process does not start.');");
  const logged: unknown[] = [];
  const log = { ...quiet, error: (_: unknown, text: string) => logged.push(text) } as unknown as Logger;
  const lanes = createLanes({ apart: createApart(pathToFileURL(entry), log) });
  const client = new Client('t0');
  lanes.enqueueApart(client);
  await until(() => client.outcome !== undefined);
  expect(client.wasRunning).toBe(false);
  expect(logged).toEqual(['The process for jobs that run apart did not start']);
});

it('says when fewer tenants wait, and when none will any more', async () => {
  let mayBegin = false;
  const lanes = createLanes({ mayBegin: () => mayBegin });
  const clients = Array.from({ length: 30 }, (_, index) => new Client(`t${index}`));
  for (const client of clients) lanes.enqueue(client);
  const room: number[] = [];
  for (const count of [31, 30, 1]) void lanes.untilFewerWait(count).then(() => room.push(count));
  const look = vi.spyOn(lanes.all[0]!, 'heldUpMs');
  await until(() => look.mock.calls.length >= 2);
  expect([lanes.waiting, room]).toEqual([30, [31]]);
  mayBegin = true;
  lanes.pump();
  await until(() => room.length === 3);
  expect(lanes.waiting).toBe(0);
  mayBegin = false;
  lanes.enqueue(new Client('last'));
  const waits = lanes.untilFewerWait(1);
  await lanes.close();
  await waits;
});
