import { RedisLink, TenantQueue } from '@onewriter/broker';
import { newJobId, newStepsJobId, tenantQueue } from '@onewriter/protocol';
import { createLogger, openRedis } from '@onewriter/runtime';
import { startRedis, type TestRedis, waitFor } from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';

/* What Redis reads for a take: it answers no other client while a script reads a large job. */

const GROUP = 'large';
const LARGE_BYTES = 500_000;

let redis: TestRedis;
let link: RedisLink;
let tenants = 0;

beforeAll(async () => {
  redis = await startRedis();
  link = new RedisLink({ url: redis.url, log: createLogger('test', 'silent'), name: 'test' });
  await link.ready();
});

afterAll(async () => {
  link?.close();
  await redis?.stop();
});

/** @param counted as producers of this project count: the field says how many bytes wait */
async function newTenant(jobs: readonly { id: string; bytes: number }[], counted: boolean) {
  const tenant = `t${++tenants}`;
  const { name, prefix } = tenantQueue(GROUP, tenant);
  const producer = new Queue(name, { connection: { url: redis.url }, prefix });
  onTestFinished(() => producer.close());
  for (const { id, bytes } of jobs) await producer.add('x', { text: 'y'.repeat(bytes) }, { jobId: id });
  const bytes = jobs.reduce((sum, job) => sum + job.bytes, 0);
  if (counted) await link.call('HSET', `${prefix}:${name}:meta`, 'onewriter.bytes', bytes);
  const queue = new TenantQueue(link, GROUP, tenant, { broker: 'b-1', epoch: 1 });
  await queue.reclaim();
  return queue;
}

/** The ids of jobs whose data scripts read while `run` runs. */
async function readBy(ids: readonly string[], run: () => Promise<unknown>): Promise<readonly string[]> {
  const client = await openRedis(redis.url);
  const monitor = await client.monitor();
  onTestFinished(() => {
    client.disconnect();
    monitor.disconnect();
  });
  const seen: string[] = [];
  let ended = false;
  monitor.on('monitor', (_time: string, [command, key, ...fields]: string[]) => {
    if (command?.toLowerCase() === 'echo') ended = true;
    if (!/^hm?get(all)?$/i.test(command ?? '') || !fields.includes('data')) return;
    const id = ids.find(each => key!.endsWith(each));
    if (id !== undefined) seen.push(id);
  });
  await run();
  await link.call('ECHO', 'end');
  await waitFor(() => ended);
  return seen;
}

it.each([true, false])(
  'reads no data of a job that is left where it is (bytes counted: %s)',
  async counted => {
    const [small, large, last] = [newJobId(), newJobId(), newJobId()];
    const queue = await newTenant(
      [
        { id: small, bytes: 100 },
        { id: large, bytes: LARGE_BYTES },
        { id: last, bytes: 100 },
      ],
      counted,
    );
    const take = (maxBytes: number) => queue.fetch({ maxJobs: 10, maxBytes });
    const ids = [small, large, last];
    expect(
      await readBy(ids, async () => {
        const { jobs, waiting } = await take(10_000);
        expect([jobs.map(({ id }) => id), waiting]).toEqual([[small], 2]);
      }),
    ).toEqual([small]);
    let tooLarge = 0;
    expect(
      await readBy(ids, async () => {
        const taken = await take(10_000);
        expect(taken).toMatchObject({ jobs: [], waiting: 2 });
        tooLarge = taken.tooLarge!;
      }),
    ).toEqual([]);
    expect(tooLarge).toBeGreaterThan(LARGE_BYTES);
    expect(
      await readBy(ids, async () => {
        const { jobs, waiting } = await take(tooLarge);
        expect([jobs.map(({ id }) => id), waiting]).toEqual([[large], 1]);
      }),
    ).toEqual([large]);
  },
);

it('reads no data of steps that are too large for their take', async () => {
  const [first, large] = [newStepsJobId('s'), newStepsJobId('s')];
  const queue = await newTenant(
    [
      { id: first, bytes: 100 },
      { id: large, bytes: LARGE_BYTES },
    ],
    true,
  );
  let tooLarge = 0;
  expect(
    await readBy([first, large], async () => {
      const taken = await queue.fetchFollowUps(10_000);
      expect(taken.jobs).toEqual([]);
      tooLarge = taken.tooLarge!;
    }),
  ).toEqual([]);
  const { jobs } = await queue.fetchFollowUps(tooLarge);
  expect(jobs.map(({ id }) => id).sort()).toEqual([first, large]);
  expect(jobs.every(({ data }) => data.length > 0)).toBe(true);
});
