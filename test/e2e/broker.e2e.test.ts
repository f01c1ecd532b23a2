import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  groupKeys,
  LIMITS,
  newClientId,
  newJobId,
  PROTOCOL_VERSION,
  parseReceiptId,
  tenantFile,
  tenantQueue,
} from '@onewriter/protocol';
import { type ConnectOptions, connect, type Onewriter, type Tenant } from '@onewriter/sdk';
import {
  type Service,
  spawnProcess,
  startRedis,
  startService,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
  waitForExit,
  withoutSettings,
} from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CannotInject } from '../faults/fault-failure.ts';
import { injectEffect } from '../faults/strace.ts';
import { slowInsert } from './slow-write.ts';
import { columnInFile, ledgerInFile } from './tenant-file.ts';

const BROKER_MAIN = fileURLToPath(new URL('../../workers/broker/dist/main.js', import.meta.url));
const CREATE = 'CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER UNIQUE)';
const INSERT = 'INSERT INTO t(n) VALUES (?)';
const SWEEP_INTERVAL_MS = 200;
/** On a busy machine a slow write takes several times as long as it was meant to; the watchdog must not step in. */
const PATIENCE = { ONEWRITER_STATEMENT_TIMEOUT_MS: '100000' };
const keys = groupKeys('default');

/** What `GET /readyz` of a broker says. */
interface Readiness {
  readonly ready: boolean;
  readonly state: string;
  readonly epoch?: number;
  readonly busyLanes?: number;
}

async function readinessOf(broker: Pick<Service, 'url'>): Promise<Readiness> {
  return (await (await fetch(`${broker.url}/readyz`)).json()) as Readiness;
}

async function untilBusy(broker: Pick<Service, 'url'>): Promise<void> {
  await waitFor(async () => (await readinessOf(broker)).busyLanes === 1, {
    intervalMs: 2,
    what: 'a busy thread',
  });
}

/** A Redis, a folder and brokers on them, gone when the test is over. */
async function startGround() {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const data = await temporaryDirectory('broker');
  onTestFinished(() => data.remove());
  const client = await connect({ redis: redis.url, dataDir: data.path });
  onTestFinished(() => client.close({ timeoutMs: 1_000 }));
  const commands = new Redis(redis.url);
  onTestFinished(() => commands.disconnect());
  const startBroker = async (env: Record<string, string> = {}) => {
    const options = { redisUrl: redis.url, dataDir: data.path, env: { ...PATIENCE, ...env } };
    const broker = await startService('broker', options);
    onTestFinished(async () => void (await broker.stop()));
    return broker;
  };
  return { redis, data, client, commands, startBroker };
}

/** A tenant's queue as BullMQ's own class sees it. */
function openQueue(redisUrl: string, tenant: string): Queue {
  const { name, prefix } = tenantQueue('default', tenant);
  const queue = new Queue(name, { connection: { url: redisUrl }, prefix });
  onTestFinished(() => queue.close());
  return queue;
}

describe('a broker', () => {
  let redis: TestRedis;
  let data: TemporaryDirectory;
  let broker: Service;
  let client: Onewriter;
  let commands: Redis;
  let tenants = 0;

  beforeAll(async () => {
    redis = await startRedis();
    data = await temporaryDirectory('broker');
    broker = await startService('broker', {
      redisUrl: redis.url,
      dataDir: data.path,
      env: {
        ...PATIENCE,
        ONEWRITER_THREADS: '1',
        ONEWRITER_SWEEP_INTERVAL_MS: String(SWEEP_INTERVAL_MS),
        ONEWRITER_IDLE_CLOSE_MS: '300',
      },
    });
    client = await connect({ redis: redis.url, dataDir: data.path });
    commands = new Redis(redis.url);
  });

  afterAll(async () => {
    await client?.close();
    commands?.disconnect();
    await broker?.stop();
    await redis?.stop();
    await data?.remove();
  });

  async function newTenant(from: Onewriter = client): Promise<Tenant> {
    const tenant = from.tenant(`broker-${++tenants}`);
    await tenant.exec(CREATE);
    return tenant;
  }

  async function connectTo(options: Partial<ConnectOptions>): Promise<Onewriter> {
    const other = await connect({ redis: redis.url, ...options });
    onTestFinished(() => other.close({ timeoutMs: 1_000 }));
    return other;
  }

  /** Adds a job as another program would, without a notification. */
  async function addSilently(tenant: string, message: unknown): Promise<string> {
    const id = newJobId();
    await openQueue(redis.url, tenant).add('by hand', message, { jobId: id });
    await commands.zadd(keys.tenants, Date.now(), tenant);
    return id;
  }

  const insertMessage = (n: number, clientId = newClientId()) => ({
    v: PROTOCOL_VERSION,
    client: clientId,
    seq: 1,
    at: Date.now(),
    sql: [INSERT],
    ops: [{ s: 0, p: [n] }],
  });

  const numbersIn = (tenant: string) => columnInFile(data.path, tenant, 'SELECT n FROM t ORDER BY id');

  /** Waits until a sweep that began after this call found something. */
  async function waitForSweep(): Promise<void> {
    const canary = await newTenant();
    await addSilently(canary.id, insertMessage(1));
    await waitFor(() => numbersIn(canary.id).length === 1, { what: 'the sweep' });
  }

  it('finds work that was never notified, of known and unknown tenants', async () => {
    const known = await newTenant();
    await addSilently(known.id, insertMessage(1));
    await addSilently('never-seen', {
      ...insertMessage(1),
      sql: ['CREATE TABLE t(id INTEGER PRIMARY KEY, n)'],
      ops: [{ s: 0 }],
    });
    await addSilently('never-seen', insertMessage(2));
    await waitFor(() => numbersIn(known.id).length === 1);
    await waitFor(() => numbersIn('never-seen').length === 1);
    expect([numbersIn(known.id), numbersIn('never-seen')]).toEqual([[1], [2]]);
    expect(await commands.zcard(keys.notifications)).toBe(0);
  });

  it('has two connections to Redis, for 5 tenants and for 300', async () => {
    const connections = async () => {
      const list = String(await commands.client('LIST'));
      return list.split('\n').filter(line => / name=onewriter-broker/.test(line)).length;
    };
    await Promise.all(Array.from({ length: 5 }, () => newTenant()));
    expect(await connections()).toBe(2);
    await Promise.all(Array.from({ length: 300 }, () => newTenant()));
    expect(await connections()).toBe(2);
  });

  it('closes idle tenants: their WAL is written back and gone, and they work again', async () => {
    // A client that opens no files: its own connections would keep the WAL.
    const other = await connectTo({});
    const db = await newTenant(other);
    const path = tenantFile(data.path, db.id);
    await db.prepare(INSERT).run(1);
    expect(existsSync(`${path}-wal`)).toBe(true);
    expect(await commands.sismember(keys.open, db.id)).toBe(1);
    await waitFor(async () => !existsSync(`${path}-wal`) && (await commands.scard(keys.open)) === 0, {
      timeoutMs: 15_000,
      what: 'all tenants to be closed',
    });
    expect(numbersIn(db.id)).toEqual([1]);
    await db.prepare(INSERT).run(2);
    expect(numbersIn(db.id)).toEqual([1, 2]);
  });

  it('fails a malformed job, and continues with the next', async () => {
    const db = await newTenant();
    const unreadable = await addSilently(db.id, 'not a message');
    await addSilently(db.id, insertMessage(2));
    await waitFor(() => numbersIn(db.id).length === 1);
    expect(numbersIn(db.id)).toEqual([2]);
    const queue = openQueue(redis.url, db.id);
    await waitFor(async () => (await queue.getJobCounts('failed'))['failed'] === 1);
    expect((await queue.getJob(unreadable))?.failedReason).toMatch(/^INVALID_ARGUMENT: /);
  });

  it('does not let a slow tenant hold up the others, with one thread', async () => {
    const [slow, quick, neighbour] = [await newTenant(), await newTenant(), await newTenant()];
    let slowIsDone = false;
    const slowStartedAt = performance.now();
    const writing = slow
      .prepare(slowInsert(1, 3_000), { timeoutMs: 100_000 })
      .run()
      .finally(() => {
        slowIsDone = true;
      });
    await untilBusy(broker);
    const latencies: number[] = [];
    for (let n = 0; n < 20; n++) {
      for (const db of [quick, neighbour]) {
        const startedAt = performance.now();
        await db.prepare(INSERT).run(n);
        latencies.push(performance.now() - startedAt);
      }
    }
    const fresh = await newTenant();
    expect(slowIsDone).toBe(false);
    await writing;
    // A second, where the slow one takes the three that it is meant to.
    expect(Math.max(...latencies)).toBeLessThan((performance.now() - slowStartedAt) / 3);
    await slow.prepare(INSERT).run(2);
    expect(numbersIn(slow.id)).toEqual([1, 2]);
    expect(numbersIn(quick.id)).toHaveLength(20);
    await fresh.prepare(INSERT).run(1);
  });

  it('keeps the queue as BullMQ does: its own classes count, list and explain the jobs', async () => {
    const db = await newTenant();
    const queue = openQueue(redis.url, db.id);
    const writing = db.prepare(slowInsert(-1, 500)).run();
    await untilBusy(broker);
    const ids: string[] = [];
    for (let n = 0; n < 60; n++) {
      const { id } = await db.enqueue(INSERT, [n]);
      ids.push(parseReceiptId(id).jobId);
    }

    const counts = await queue.getJobCounts();
    expect(counts).toMatchObject({ completed: 1, failed: 0, delayed: 0, prioritized: 0 });
    expect(counts['active']! + counts['waiting']!).toBe(61);
    expect(counts['waiting']).toBeGreaterThan(0);
    // Oldest first, the active ones are those that were sent first.
    const active = (await queue.getActive()).map(job => job.id!);
    const waiting = (await queue.getWaiting()).map(job => job.id!);
    expect([...active, ...waiting].slice(1)).toEqual(ids);
    const first = (await queue.getJob(active[0]!))!;
    expect(await first.getState()).toBe('active');
    expect(first.processedOn).toBeGreaterThanOrEqual(first.timestamp);
    expect(first.attemptsStarted).toBe(1);
    const last = (await queue.getJob(ids.at(-1)!))!;
    expect(await last.getState()).toBe('waiting');
    // It was fetched: only the broker may remove it.
    await expect(first.remove()).rejects.toThrow(/locked/);

    await writing;
    await db.prepare(INSERT).run(60);
    const done = await waitFor(async () => {
      const job = await queue.getJob(ids.at(-1)!);
      return job?.finishedOn === undefined ? undefined : job;
    });
    expect(await done.getState()).toBe('completed');
    expect(await done.isCompleted()).toBe(true);
    expect(done.returnvalue).toEqual({ commitSeq: expect.any(Number), writes: 1, failures: 0 });
    expect(done.attemptsMade).toBe(1);
    expect(done.finishedOn).toBeGreaterThanOrEqual(done.processedOn!);
    expect(done.processedOn).toBeGreaterThanOrEqual(done.timestamp);
    expect(done.data).toEqual({}); // it may be of megabytes
    expect(done.name).toContain('INSERT INTO t');
    await waitFor(async () => (await queue.getJobCounts('active'))['active'] === 0);
    const { completed: kept, ...others } = await queue.getJobCounts(
      'waiting',
      'active',
      'completed',
      'failed',
    );
    expect(others).toEqual({ waiting: 0, active: 0, failed: 0 });
    // Deleted several at a time.
    expect(kept).toBeGreaterThanOrEqual(LIMITS.keepCompletedJobs);
    expect(kept).toBeLessThan(LIMITS.keepCompletedJobs + 10);
    const completed = await queue.getCompleted();
    expect(completed.map(job => job.id)).toContain(done.id);
    // What is not kept is gone with all its keys.
    const left = await commands.keys(queue.toKey('w-*'));
    expect(left.sort()).toEqual(completed.map(job => queue.toKey(job.id!)).sort());
  });

  it('leaves a paused queue alone, and serves it when it is resumed', async () => {
    const db = await newTenant();
    const queue = openQueue(redis.url, db.id);
    await queue.pause();
    const receipts = [];
    for (let n = 0; n < 3; n++) receipts.push(await db.enqueue(INSERT, [n]));
    await waitForSweep();
    expect(numbersIn(db.id)).toEqual([]);
    expect(await queue.getJobCounts('active', 'failed')).toEqual({ active: 0, failed: 0 });
    expect(await receipts[0]!.status()).toMatchObject({ state: 'pending', holders: [{ name: 'pause' }] });
    await queue.resume();
    for (const receipt of receipts) await receipt.committed();
    expect(numbersIn(db.id)).toEqual([0, 1, 2]);
  });

  it('applies jobs that an old leader fetched after Redis had lost its data before later jobs', async () => {
    const db = await newTenant();
    await db.prepare(INSERT).run(0);
    const queue = openQueue(redis.url, db.id);
    await queue.pause();
    const first = await db.enqueue(INSERT, [1]);
    // The old leader's fetch: the queue no longer shows whose it is.
    const client = new Redis(redis.url);
    onTestFinished(() => client.disconnect());
    expect(await client.rpoplpush(queue.toKey('wait'), queue.toKey('active'))).toBe(
      parseReceiptId(first.id).jobId,
    );
    await client.hdel(queue.toKey('meta'), 'onewriter.epoch');
    const second = await db.enqueue(INSERT, [2]);
    await queue.resume();
    await second.committed();
    await first.committed();
    expect(numbersIn(db.id)).toEqual([0, 1, 2]);
    // They are finished a moment after their callers hear.
    await waitFor(async () => (await queue.getJobCounts('active'))['active'] === 0);
    expect(await queue.getJobCounts('wait')).toEqual({ wait: 0 });
  });
});

describe('starting', () => {
  it('refuses a Redis that may evict keys, in one line', async () => {
    await using redis = await startRedis({ maxmemoryPolicy: 'allkeys-lru' });
    await using data = await temporaryDirectory('broker');
    const broker = await spawnProcess(process.execPath, [BROKER_MAIN], {
      env: {
        ...withoutSettings(),
        ONEWRITER_REDIS_URL: redis.url,
        ONEWRITER_DATA_DIR: data.path,
        ONEWRITER_BROKER_PORT: '0',
      },
    });
    onTestFinished(async () => void (await broker.stop()));
    await waitFor(() => broker.child.exitCode !== null, { what: 'the end of the broker' });
    expect(await broker.exited).toEqual({ code: 1, signal: null });
    const lines = broker.logs().trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({
      code: 'MISCONFIGURED',
      msg: expect.stringMatching(/allkeys-lru.*CONFIG SET maxmemory-policy noeviction/),
    });
  });
});

describe('SIGTERM', () => {
  it('answers what is being applied, leaves the rest queued in order, and the next broker applies it in order', async () => {
    const { redis, data, client, commands, startBroker } = await startGround();
    const drainMs = 10_000;
    const db = client.tenant('acme');
    const numbers = Array.from({ length: 80 }, (_, n) => n);
    // One job each (the waiter's with number 0, of the same turn), all there before the broker: it takes a full batch,
    // and another while that is in the thread.
    const receipts = [await db.enqueue(CREATE)];
    const waiter = db.prepare(slowInsert(-1, 800)).run();
    for (const n of numbers) receipts.push(await db.enqueue(INSERT, [n]));
    const first = await startBroker({ ONEWRITER_THREADS: '1', ONEWRITER_DRAIN_MS: String(drainMs) });
    const queue = openQueue(redis.url, db.id);
    await waitFor(async () => (await queue.getActiveCount()) === 2 * LIMITS.maxBatchJobs, {
      intervalMs: 2,
      what: 'two batches to be taken',
    });

    const startedAt = performance.now();
    expect(await first.stop(drainMs * 2)).toEqual({ code: 0, signal: null });
    expect(performance.now() - startedAt).toBeLessThan(drainMs / 2);
    // What was in the thread is committed and answered: the table, the waiter's write and the first numbers.
    expect(await waiter).toMatchObject({ changes: 1 });
    const done = numbers.slice(0, LIMITS.maxBatchJobs - 1);
    expect(columnInFile(data.path, db.id, 'SELECT n FROM t ORDER BY id')).toEqual([-1, ...done]);
    // The rest waits, in its order, and word is left of it.
    expect(await queue.getActiveCount()).toBe(0);
    const waiting = (await queue.getWaiting()).map(job => job.id);
    const expected = receipts.slice(1 + done.length).map(({ id }) => parseReceiptId(id).jobId);
    expect(waiting).toEqual(expected);
    expect(await commands.exists(keys.lease)).toBe(0);
    expect(await commands.zscore(keys.notifications, db.id)).not.toBeNull();
    expect(await commands.keys('*:lock')).toEqual([]);

    await startBroker();
    const seqs: number[] = [];
    for (const receipt of receipts) seqs.push((await receipt.committed()).commitSeq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    expect(columnInFile(data.path, db.id, 'SELECT n FROM t ORDER BY id')).toEqual([-1, ...numbers]);
  });
});

describe('SIGTERM with many files open on a slow disk', () => {
  it('ends in time: what it cannot close stays as after a crash, and the next broker continues', async ctx => {
    const { data, client, startBroker } = await startGround();
    const drainMs = 2_000;
    const first = await startBroker({ ONEWRITER_DRAIN_MS: String(drainMs) });
    const tenants = Array.from({ length: 80 }, (_, index) => client.tenant(`t${index}`));
    await Promise.all(
      tenants.map(async db => {
        await db.exec(CREATE);
        await db.prepare(INSERT).run(1);
      }),
    );
    // Each close flushes the file: 80 of them take two seconds on two threads.
    const effect = { calls: 'fsync', effect: 'delay_enter=50000', when: '1+1' };
    const slowDisk = await injectEffect(first.pid, data.path, effect).catch((error: unknown) => {
      if (error instanceof CannotInject) return ctx.skip(error.message);
      throw error;
    });
    const startedAt = performance.now();
    // Its threads would close all files before the process ends, so it ends them.
    expect(await first.stop(drainMs * 5)).toEqual({ code: null, signal: 'SIGKILL' });
    expect(performance.now() - startedAt).toBeLessThan(drainMs);
    await slowDisk.stop();
    expect(first.logs()).toMatch(/Files were not closed in time/);
    const logs = tenants.filter(({ id }) => existsSync(`${tenantFile(data.path, id)}-wal`));
    expect(logs.length).toBeGreaterThan(0);

    await startBroker();
    await Promise.all(tenants.map(db => db.prepare(INSERT).run(2)));
    for (const { id } of tenants) {
      expect(columnInFile(data.path, id, 'SELECT n FROM t ORDER BY n')).toEqual([1, 2]);
      expect(columnInFile(data.path, id, 'PRAGMA integrity_check')).toEqual(['ok']);
    }
  });
});

describe('two brokers', () => {
  it('one leads and one stands by; when the leader is killed the other reclaims its jobs at once', async () => {
    const { data, client, commands, startBroker } = await startGround();
    // The lease of a leader that died on this host need not run out.
    const env = { ONEWRITER_LEASE_MS: '60000', ONEWRITER_THREADS: '1' };
    const first = await startBroker(env);
    await waitFor(async () => (await readinessOf(first)).state === 'leading');
    const second = await startBroker(env);
    const before = await readinessOf(second);
    expect(before).toMatchObject({ ready: true, state: 'standby' });
    const db = client.tenant('acme');
    await db.exec(CREATE);
    const writing = db.prepare(slowInsert(-1, 800)).run();
    await untilBusy(first);
    const numbers = Array.from({ length: 40 }, (_, n) => n);
    const receipts = [];
    for (const n of numbers) receipts.push(await db.enqueue(INSERT, [n]));

    first.kill('SIGKILL');
    await first.exited;
    const killedAt = performance.now();
    const after = await waitFor(async () => {
      const now = await readinessOf(second);
      return now.state === 'leading' ? now : undefined;
    });
    expect(performance.now() - killedAt).toBeLessThan(2_000);
    expect(after.epoch).toBe(2);
    expect(Number(await commands.pttl(keys.lease))).toBeGreaterThan(50_000);
    await writing;
    for (const receipt of receipts) await receipt.committed();
    expect(columnInFile(data.path, db.id, 'SELECT n FROM t ORDER BY id')).toEqual([-1, ...numbers]);
    expect(ledgerInFile(data.path, db.id)).toHaveLength(2 + numbers.length);
    expect(second.logs()).toContain('Jobs of the last leader will be redelivered');
  });

  it('a standby leads also where Redis would keep the lease for an hour, as after a clock that was put back', async () => {
    const { client, commands, startBroker } = await startGround();
    const leaseMs = 500;
    const env = { ONEWRITER_LEASE_MS: String(leaseMs) };
    const first = await startBroker(env);
    await waitFor(async () => (await readinessOf(first)).state === 'leading');
    const second = await startBroker(env);
    // Its process stays, so nothing but the lease says that it does not lead.
    first.kill('SIGSTOP');
    onTestFinished(() => first.kill('SIGCONT'));
    const stoppedAt = performance.now();
    expect(await commands.pexpire(keys.lease, 3_600_000)).toBe(1);
    await waitFor(async () => (await readinessOf(second)).state === 'leading');
    expect(performance.now() - stoppedAt).toBeLessThan(leaseMs + 2_000);
    await client.tenant('acme').exec(CREATE);
    first.kill('SIGCONT');
    expect((await first.exited).code).toBe(1);
  });

  it('of two that lead the same files through two Redis the older ends with its next renewal, though they meet in no file', async () => {
    const { data, client, startBroker } = await startGround();
    const otherRedis = await startRedis();
    onTestFinished(() => otherRedis.stop());
    const otherClient = await connect({ redis: otherRedis.url, dataDir: data.path });
    onTestFinished(() => otherClient.close({ timeoutMs: 1_000 }));
    const first = await startBroker();
    await waitFor(async () => (await readinessOf(first)).state === 'leading');
    await client.tenant('acme').exec(CREATE);
    const second = await startService('broker', { redisUrl: otherRedis.url, dataDir: data.path });
    onTestFinished(async () => void (await second.stop()));
    // As where both look before either has noted that it leads.
    const looking = setInterval(() => rmSync(join(data.path, 'leader'), { force: true }), 10);
    onTestFinished(() => clearInterval(looking));
    await waitFor(() => second.logs().includes('"Leading"'), { what: 'two leaders' });
    clearInterval(looking);
    const both = performance.now();
    expect((await first.exited).code).toBe(1);
    expect(performance.now() - both).toBeLessThan(3_000);
    expect(first.logs()).toContain(otherRedis.url);
    await otherClient.tenant('acme').prepare(INSERT).run(1);
    expect((await readinessOf(second)).state).toBe('leading');
  });

  it('a leader that was stopped for longer than its lease commits nothing more than it had begun, and ends', async () => {
    const { data, client, startBroker } = await startGround();
    const env = { ONEWRITER_LEASE_MS: '400', ONEWRITER_THREADS: '1' };
    const first = await startBroker(env);
    await waitFor(async () => (await readinessOf(first)).state === 'leading');
    const second = await startBroker(env);
    const [held, free] = [client.tenant('held'), client.tenant('free')];
    for (const db of [held, free]) await db.exec(CREATE);
    const begun = held.prepare(slowInsert(-1, 500)).run();
    await untilBusy(first);
    const queued = [0, 1, 2].map(n => held.prepare(INSERT).run(n));
    first.kill('SIGSTOP');
    await waitFor(async () => (await readinessOf(second)).state === 'leading');
    await free.prepare(INSERT).run(1);
    // It wakes up inside a transaction on a file whose lock it has, believing that it leads.
    first.kill('SIGCONT');
    await waitForExit(first.pid);
    expect((await first.exited).code).not.toBe(0);
    await begun;
    await Promise.all(queued);
    await free.prepare(INSERT).run(2);
    expect(columnInFile(data.path, held.id, 'SELECT n FROM t ORDER BY id')).toEqual([-1, 0, 1, 2]);
    expect(columnInFile(data.path, free.id, 'SELECT n FROM t ORDER BY id')).toEqual([1, 2]);
  });
});
