import { RedisLink, TenantQueue } from '@onewriter/broker';
import { LIMITS, newJobId, PROTOCOL_VERSION, parseReceiptId, tenantQueue } from '@onewriter/protocol';
import { createLogger } from '@onewriter/runtime';
import { LetterBox } from '@onewriter/runtime/dead-letters';
import { connect, type Onewriter } from '@onewriter/sdk';
import { holdKeys, RELEASE_FILE } from '@onewriter/tenants';
import { createRandom, startRedis, type TestRedis, waitFor } from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/* The bytes that wait in a tenant's queue, counted by the scripts on a real Redis, and what producers hear of them. */

const GROUP = 'bytes';
const MAX_QUEUE_BYTES = 200_000;
const NOW_HERE = { maxJobs: 1_000, maxBytes: 1_000_000_000 };

let redis: TestRedis;
let link: RedisLink;
let client: Onewriter;
let tenants = 0;

beforeAll(async () => {
  redis = await startRedis();
  link = new RedisLink({ url: redis.url, log: createLogger('test', 'silent'), name: 'test' });
  await link.ready();
  client = await connect({
    redis: redis.url,
    group: GROUP,
    gatewayUrl: 'http://127.0.0.1:9',
    maxQueueBytes: MAX_QUEUE_BYTES,
  });
});

afterAll(async () => {
  await client?.close({ timeoutMs: 1 });
  link?.close();
  await redis?.stop();
});

/** A tenant without a broker, and the queue as a leader has it. */
async function newTenant() {
  const tenant = `t${++tenants}`;
  const { name, prefix } = tenantQueue(GROUP, tenant);
  const key = (part: string) => `${prefix}:${name}:${part}`;
  const queue = new TenantQueue(link, GROUP, tenant, { broker: 'b-1', epoch: 1 });
  await queue.reclaim();
  const counted = async () => Number((await link.call('HGET', key('meta'), 'onewriter.bytes')) ?? 0);
  const real = async () => {
    const ids = (await link.call('LRANGE', key('wait'), 0, -1)) as string[];
    const sizes = await Promise.all(ids.map(id => link.call('HSTRLEN', key(id), 'data')));
    return sizes.reduce<number>((sum, size) => sum + Number(size), 0);
  };
  const db = client.tenant(tenant);
  const enqueue = async (bytes: number) => {
    const { id } = await db.enqueue('INSERT INTO t VALUES (?)', ['x'.repeat(bytes)]);
    return parseReceiptId(id).jobId;
  };
  return { tenant, key, queue, counted, real, db, enqueue, name, prefix };
}

describe('the bytes that wait', () => {
  it.each([1, 2, 3, 4])('are counted exactly through every way in and out: seed %i', async seed => {
    const { tenant, key, queue, counted, real, enqueue } = await newTenant();
    const random = createRandom(seed);
    const active: string[] = [];
    const take = async (maxJobs: number, maxBytes: number) => {
      const { jobs } = await queue.fetch({ maxJobs, maxBytes });
      active.push(...jobs.map(({ id }) => id));
    };
    for (let step = 0; step < 150; step++) {
      const what = random.between(0, 7);
      if (what <= 2) await enqueue(random.between(0, 5_000)).catch(() => {});
      else if (what === 3) await take(random.between(1, 4), random.between(1, 10_000));
      else if (what === 4) {
        // A finish that takes the next, too.
        const done = active.splice(0, 2).map(id => ({ id, state: 'completed', value: '{}' }) as const);
        const { fetched } = await queue.finish(done, { maxJobs: random.between(1, 3), maxBytes: 5_000 });
        active.push(...fetched.jobs.map(({ id }) => id));
      } else if (what === 5) await queue.requeue(active.splice(-random.between(1, 3)), 0);
      else if (what === 6) {
        // A holder releases the file: what is active waits again.
        const { meta, holds } = holdKeys(GROUP, tenant);
        const until = JSON.stringify({ name: 'pause', expiresAt: Date.now() + 60_000 });
        await link.call('HSET', holds, 'h', until);
        await link.call('EVAL', RELEASE_FILE, 4, key('wait'), key('active'), meta, holds, key(''), 1);
        await link.call('DEL', holds);
        await link.call('HDEL', meta, 'onewriter.holds', 'onewriter.released', 'onewriter.unled');
        active.length = 0;
        await queue.reclaim();
      } else active.push(...(await queue.fetchFollowUps(1_000_000)).jobs.map(({ id }) => id));
      expect(await counted(), `after step ${step}: ${what}`).toBe(await real());
    }
    await take(1_000, 1_000_000_000);
    expect(await counted()).toBe(0);
  });

  it('are those of withdrawn steps no longer', async () => {
    const { db, counted, real } = await newTenant();
    const steps = db.steps({ steps: [{ sql: 'BEGIN IMMEDIATE' }], interactive: true }, { timeoutMs: 200 });
    await waitFor(async () => (await counted()) > 0);
    expect(await counted()).toBe(await real());
    await expect(steps).rejects.toMatchObject({ code: 'TRANSACTION_BUSY' });
    expect(await counted()).toBe(0);
  });

  it('are right again when none waits, whatever another tool did', async () => {
    const { key, queue, counted, enqueue, name, prefix } = await newTenant();
    const other = new Queue(name, { connection: { url: redis.url }, prefix });
    onTestFinished(() => other.close());
    // Removed with BullMQ's tools: too much is counted, and yet nothing is refused for good.
    const removed = await enqueue(MAX_QUEUE_BYTES - 1_000);
    await other.remove(removed);
    expect(await counted()).toBeGreaterThan(MAX_QUEUE_BYTES - 1_000);
    await enqueue(5_000);
    await queue.fetch(NOW_HERE);
    expect(await counted()).toBe(0);
    // Added by BullMQ's own class: not counted, and never negative.
    await other.add('x', { v: 1, text: 'y'.repeat(1_000) }, { jobId: newJobId() });
    await enqueue(100);
    await queue.fetch({ maxJobs: 1, maxBytes: 1_000_000 });
    expect(await counted()).toBe(0);
    await enqueue(100);
    await queue.fetch(NOW_HERE);
    expect(await counted()).toBe(0);
    expect(await link.call('HEXISTS', key('meta'), 'onewriter.bytes')).toBe(0);
  });

  it('refuse what is too much, at once and for this tenant alone, until the broker took some', async () => {
    const { queue, enqueue, key, real } = await newTenant();
    const other = await newTenant();
    let accepted = 0;
    await expect(
      (async () => {
        for (;;) {
          await enqueue(9_000);
          accepted++;
        }
      })(),
    ).rejects.toMatchObject({
      code: 'TENANT_OVERLOADED',
      retryable: true,
      details: { retryAfterMs: expect.any(Number) },
    });
    expect(accepted).toBeGreaterThan(15);
    expect(await link.call('LLEN', key('wait'))).toBe(accepted);
    expect(await real()).toBeLessThanOrEqual(MAX_QUEUE_BYTES);
    expect(await other.enqueue(9_000)).toBeTruthy();
    await queue.fetch(NOW_HERE);
    await waitFor(() => enqueue(9_000));
  });

  it('do not keep a job out that is larger than the bound, where nothing waits', async () => {
    const { enqueue } = await newTenant();
    await enqueue(MAX_QUEUE_BYTES * 2);
    await expect(enqueue(1)).rejects.toMatchObject({ code: 'TENANT_OVERLOADED' });
  });

  it('hold for dead letters that are sent again, too', async () => {
    const { tenant, queue, counted, real } = await newTenant();
    const box = await LetterBox.open(redis.url, GROUP, MAX_QUEUE_BYTES);
    onTestFinished(() => box.close());
    const sql = 'INSERT INTO t VALUES (1)';
    const message = {
      v: PROTOCOL_VERSION,
      client: 'c-1',
      seq: 1,
      at: 0,
      sql: [sql],
      ops: [{ s: 0 }],
    } as const;
    const letters = new Queue('dead-letters', { connection: { url: redis.url }, prefix: `ow:{${GROUP}}` });
    onTestFinished(() => letters.close());
    const receiptId = `${newJobId()}.0`;
    const error = { code: 'SQL_ERROR', message: 'no such table' };
    await letters.add('x', { tenant, receiptId, error, sql, message }, { jobId: `dl-${receiptId}` });
    for await (const letter of box.read(await box.ids())) await box.resend(letter);
    expect(await counted()).toBe(await real());
    expect(await counted()).toBeGreaterThan(0);
    await queue.fetch(NOW_HERE);
    expect(await counted()).toBe(0);
  });
});

describe('a Redis that is nearly full', () => {
  /** With `maxmemory` so that `share` of it is used. */
  async function fillTo(share: number): Promise<void> {
    // Large beside what connections and scripts take, which changes.
    await link.call('SETRANGE', 'ballast', 50_000_000, 'x');
    const used = Number(/^used_memory:(\d+)/m.exec(String(await link.call('INFO', 'memory')))![1]);
    await link.call('CONFIG', 'SET', 'maxmemory', Math.round(used / share));
    onTestFinished(async () => void (await link.call('CONFIG', 'SET', 'maxmemory', 0)));
  }

  it('accepts no job before its own limit is reached, and accepts jobs again when there is room', async () => {
    const { enqueue } = await newTenant();
    await fillTo(0.93);
    const refused = await waitFor(async () =>
      enqueue(10).then(
        () => undefined,
        error => error,
      ),
    );
    expect(refused).toMatchObject({ code: 'QUEUE_FULL', details: { retryAfterMs: 1_000 } });
    expect(refused.message).toMatch(/Redis uses 9\d % of its memory/);
    // Redis itself would still take it.
    await link.call('SET', 'small', 'x');
    await link.call('CONFIG', 'SET', 'maxmemory', 0);
    await waitFor(() => enqueue(10));
  });

  it('refuses tenants that have a backlog first', async () => {
    const [deep, idle] = [await newTenant(), await newTenant()];
    for (let n = 0; n < 15; n++) await deep.enqueue(10_000);
    await fillTo(0.88);
    const refused = await waitFor(async () =>
      deep.enqueue(10).then(
        () => undefined,
        error => error,
      ),
    );
    expect(refused).toMatchObject({ code: 'TENANT_OVERLOADED' });
    // Long before its own bound.
    expect(await deep.real()).toBeLessThan(MAX_QUEUE_BYTES - 20_000);
    expect(await idle.enqueue(10)).toBeTruthy();
  });

  it('is measured by the setting where it has no limit of its own', async () => {
    const own = await connect({
      redis: redis.url,
      group: GROUP,
      gatewayUrl: 'http://127.0.0.1:9',
      maxRedisBytes: 1,
    });
    onTestFinished(() => own.close({ timeoutMs: 1 }));
    const db = own.tenant('small');
    const refused = await waitFor(async () =>
      db.enqueue('INSERT INTO t VALUES (1)').then(
        () => undefined,
        error => error,
      ),
    );
    expect(refused).toMatchObject({ code: 'QUEUE_FULL' });
  });
});

it('the bound of a job is below that of a queue', () => {
  expect(LIMITS.maxQueueBytes).toBeGreaterThan(4 * LIMITS.maxOperationBytes);
});
