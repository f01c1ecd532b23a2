import { findStatusProblems, groupKeys } from '@onewriter/protocol';
import { type GroupStatus, readGroupStatus } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import {
  type Service,
  startRedis,
  startService,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';

/* What the brokers tell about themselves, in Redis: read without asking them. The tests follow each other. */

const GROUP = 'default';
const PATIENT = { timeoutMs: 30_000 };

let server: TestRedis;
let data: TemporaryDirectory;
let redis: Redis;
let brokers: Service[];

beforeAll(async () => {
  server = await startRedis();
  data = await temporaryDirectory('status');
  redis = new Redis(server.url);
  // It takes two sweeps to count what waits in queues that are not fetched from.
  const env = { ONEWRITER_SWEEP_INTERVAL_MS: '500' };
  const options = { redisUrl: server.url, dataDir: data.path, env };
  brokers = [await startService('broker', options)];
  await waitForStatus(({ status }) => status !== undefined, 'a leader');
  brokers.push(await startService('broker', options));
});

afterAll(async () => {
  for (const broker of brokers ?? []) await broker.stop();
  redis?.disconnect();
  await server?.stop();
  await data?.remove();
});

async function waitForStatus(is: (group: GroupStatus) => boolean, what: string): Promise<GroupStatus> {
  return waitFor(
    async () => {
      const group = await readGroupStatus(redis, GROUP);
      return is(group) ? group : undefined;
    },
    { ...PATIENT, what },
  );
}

it('shows the leader, the standbys, and what tenants do', async () => {
  const onewriter = await connect({ redis: server.url, dataDir: data.path });
  try {
    const acme = onewriter.tenant('acme');
    await acme.exec('CREATE TABLE items(id INTEGER PRIMARY KEY)');
    const insert = acme.prepare('INSERT INTO items VALUES (?)');
    const ids = Array.from({ length: 300 }, (_, index) => index);
    await Promise.all(ids.map(id => insert.run(id)));
    await expect(insert.run(1)).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
    await onewriter.tenant('globex').exec('CREATE TABLE items(id INTEGER PRIMARY KEY)');
  } finally {
    await onewriter.close();
  }
  const group = await waitForStatus(
    ({ status, brokers: known }) => status?.tenants.active === 2 && known.length === 2,
    'both tenants and both brokers',
  );
  const status = group.status!;
  expect(group.brokers.map(({ pid, state, port }) => [pid, state, port])).toEqual([
    [brokers[0]!.pid, 'leading', brokers[0]!.port],
    [brokers[1]!.pid, 'standby', brokers[1]!.port],
  ]);
  expect(status.leader).toMatchObject({ pid: brokers[0]!.pid, epoch: group.lease?.epoch, leaseHeld: true });
  expect(status.writes).toMatchObject({ total: 303, failedTotal: 1 });
  expect(status.writes.commitP99Ms).toBeGreaterThan(0);
  expect(status.tenants.busiest[0]).toMatchObject({ tenant: 'acme', queuedJobs: 0 });
  expect(status.tenants.busiest.map(({ tenant }) => tenant)).toEqual(['acme', 'globex']);
  expect(status.queue).toEqual({ waitingJobs: 0, heldJobs: 0, depth: 0 });
  expect(status.lanes).toHaveLength(2);
  expect(status.redis).toMatchObject({ maxMemoryPolicy: 'noeviction', aofFsync: expect.any(String) });
  expect(status.disk.totalBytes).toBeGreaterThan(status.disk.freeBytes);
  expect(await redis.pttl(groupKeys(GROUP).status)).toBeGreaterThan(0);
});

it('counts what waits in the queue of a paused tenant', async () => {
  const onewriter = await connect({ redis: server.url, dataDir: data.path });
  const meta = `ow:${GROUP}:{acme}:tenant.acme:meta`;
  try {
    await redis.hset(meta, 'paused', '1');
    await onewriter.tenant('acme').enqueue('DELETE FROM items');
    await waitForStatus(({ status }) => status?.queue.waitingJobs === 1, 'the job that waits');
    await redis.hdel(meta, 'paused');
    await onewriter.tenant('acme').prepare('INSERT INTO items VALUES (7)').run();
    await waitForStatus(({ status }) => status?.queue.depth === 0, 'nothing that waits');
  } finally {
    await onewriter.close();
  }
});

it('keeps reporting while Redis is full', async () => {
  await redis.config('SET', 'maxmemory', '1');
  try {
    await expect(redis.set('anything', '1')).rejects.toThrow('OOM');
    const { status } = await waitForStatus(
      group => group.status?.redis.maxMemoryBytes === 1,
      'a status of the full Redis',
    );
    const since = status!.at;
    const later = await waitForStatus(group => (group.status?.at ?? 0) > since, 'the next status');
    expect(findStatusProblems(later)).toContainEqual(
      expect.objectContaining({ level: 'critical', alert: 'OnewriterRedisMemory' }),
    );
    expect(later.brokers).toHaveLength(2);
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
});

it('shows the successor of a leader that was killed, and then no leader', async () => {
  const { status } = await readGroupStatus(redis, GROUP);
  brokers[0]!.kill('SIGKILL');
  const after = await waitForStatus(
    group => group.status?.leader.pid === brokers[1]!.pid && group.brokers.length === 1,
    'the standby to lead alone',
  );
  expect(after.status!.leader.epoch).toBeGreaterThan(status!.leader.epoch);
  expect(after.brokers[0]).toMatchObject({ pid: brokers[1]!.pid, state: 'leading' });

  await brokers[1]!.stop();
  const noLeader = await waitForStatus(group => group.status === undefined, 'the status to run out');
  expect(noLeader.brokers).toEqual([]);
  expect(findStatusProblems(noLeader)).toMatchObject([{ level: 'critical', alert: 'OnewriterNoLeader' }]);
});
