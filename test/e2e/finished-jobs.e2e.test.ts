import { FinishedJobs, InboxEvents, RedisLink, TenantQueue } from '@onewriter/broker';
import { groupKeys, newClientId, newJobId, tenantQueue } from '@onewriter/protocol';
import { createLogger } from '@onewriter/runtime';
import { startRedis, type TestRedis, waitFor } from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/* What stays of finished jobs in a real Redis. */

const GROUP = 'finished';
const log = createLogger('test', 'silent');
let redis: TestRedis;
let link: RedisLink;
let tenants = 0;

beforeAll(async () => {
  redis = await startRedis();
  link = new RedisLink({ url: redis.url, log, name: 'test' });
  await link.ready();
});

afterAll(async () => {
  link?.close();
  await redis?.stop();
});

/** A tenant that a leader has, and BullMQ's own view of its queue. */
async function newTenant() {
  const tenant = `t${++tenants}`;
  const { name, prefix } = tenantQueue(GROUP, tenant);
  await link.call('ZADD', groupKeys(GROUP).tenants, Date.now(), tenant);
  const queue = new Queue(name, { connection: { url: redis.url }, prefix });
  onTestFinished(() => queue.close());
  const jobs = new TenantQueue(link, GROUP, tenant, { broker: 'b-1', epoch: 1 });
  await jobs.reclaim();
  const finish = async (state: 'completed' | 'failed', jobId = newJobId()) => {
    await queue.add('acme · 1 write · INSERT', { v: 1, text: 'x'.repeat(50_000) }, { jobId, attempts: 1 });
    await jobs.fetch({ maxJobs: 1, maxBytes: 1_000_000 });
    const value =
      state === 'completed' ? '{"commitSeq":1,"writes":1,"failures":0}' : 'SQL_ERROR: no such table';
    await jobs.finish([{ id: jobId, state, value }], undefined);
    return jobId;
  };
  const keys = async () => {
    const found = (await link.call('KEYS', `${prefix}:${name}:*`)) as string[];
    return found.map(key => key.slice(`${prefix}:${name}:`.length)).sort();
  };
  return { tenant, queue, finish, keys };
}

/** Walks over all tenants until `condition` holds. */
async function walkUntil(keepMs: number, condition: () => Promise<boolean>): Promise<void> {
  const walk = new FinishedJobs(link, GROUP, log, keepMs);
  const running = walk.run(20);
  try {
    await waitFor(condition, { what: 'the walk' });
  } finally {
    walk.stop();
    await running;
  }
}

describe('a finished job', () => {
  it.each(['completed', 'failed'] as const)('that is %s is kept without its data', async state => {
    const { queue, finish } = await newTenant();
    const id = await finish(state);
    const job = (await queue.getJob(id))!;
    expect(job.name).toBe('acme · 1 write · INSERT');
    expect(job.data).toEqual({});
    expect(await job.getState()).toBe(state);
    expect(await link.call('MEMORY', 'USAGE', queue.toKey(id), 'SAMPLES', 0)).toBeLessThan(2_000);
  });

  it('that failed keeps a bounded reason', async () => {
    const { queue } = await newTenant();
    const jobs = new TenantQueue(link, GROUP, `t${tenants}`, { broker: 'b-1', epoch: 1 });
    await jobs.reclaim();
    const jobId = newJobId();
    await queue.add('x', {}, { jobId });
    await jobs.fetch({ maxJobs: 1, maxBytes: 1_000_000 });
    await jobs.finish(
      [{ id: jobId, state: 'failed', value: `SQL_ERROR: ${'y'.repeat(100_000)}` }],
      undefined,
    );
    expect((await queue.getJob(jobId))!.failedReason).toHaveLength(2_000);
  });

  it('goes when it is old, whichever process left it, and the tenant costs nothing but its meta', async () => {
    const { queue, finish, keys } = await newTenant();
    for (let n = 0; n < 90; n++) await finish(n % 3 === 0 ? 'failed' : 'completed');
    const last = await finish('completed');
    await finish('completed', newJobId().replace('w-', 'b-'));
    expect((await keys()).length).toBeGreaterThan(40);
    // BullMQ's own counter stays: a number that is given out again would be a job that the ledger knows.
    await walkUntil(0, async () => (await keys()).length <= 2);
    expect(await keys()).toEqual(['id', 'meta']);
    const noted = String(await link.call('HGET', queue.toKey('meta'), 'onewriter.finished'));
    expect(noted).toMatch(new RegExp(`^${last} \\d{13}$`));
  });

  it('stays while it is young', async () => {
    const [old, young] = [await newTenant(), await newTenant()];
    const [oldId, youngId] = [await old.finish('completed'), await young.finish('completed')];
    const future = await young.finish('completed');
    await link.call('ZADD', old.queue.toKey('completed'), Date.now() - 61_000, oldId);
    // By the clock of a leader that was an hour ahead.
    await link.call('ZADD', young.queue.toKey('completed'), Date.now() + 3_600_000, future);
    await walkUntil(
      60_000,
      async () => (await old.keys()).length === 2 && (await young.queue.getCompletedCount()) === 1,
    );
    expect((await young.queue.getCompleted()).map(job => job.id)).toEqual([youngId]);
    expect(await link.call('EXISTS', young.queue.toKey('events'))).toBe(1);
  });
});

it('an inbox that its client has closed is not made again without an expiry', async () => {
  const inbox = new InboxEvents(link, GROUP);
  const client = newClientId();
  const key = `ow:${GROUP}:{${client}}:inbox.${client}:events`;
  const publish = () =>
    inbox.publish([{ jobId: newJobId(), client, tenant: 'acme', commitSeq: 1, results: '[]' }]);
  expect(await publish()).toBe(true);
  expect(await publish()).toBe(true);
  expect(await link.call('XLEN', key)).toBe(2);
  await link.call('DEL', key);
  expect(await publish()).toBe(true);
  expect(await link.call('XLEN', key)).toBe(1);
  expect(Number(await link.call('PTTL', key))).toBeGreaterThan(0);
});
