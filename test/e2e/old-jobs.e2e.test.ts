import { tenantQueue } from '@onewriter/protocol';
import { connect } from '@onewriter/sdk';
import { startRedis, startService, temporaryDirectory, waitFor } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { runCli } from './cli-run.ts';

it('sets aside a job out of an old snapshot of Redis whose ledger row was pruned, and its receipt says why', async () => {
  const [redis, folder] = await Promise.all([startRedis(), temporaryDirectory('old-jobs')]);
  const dataDir = folder.path;
  const looker = new Redis(redis.url);
  const options = { redisUrl: redis.url, dataDir };
  let broker = await startService('broker', options);
  const app = await connect({ redis: redis.url, dataDir, writeTimeoutMs: 20_000 });
  onTestFinished(async () => {
    await app.close({ timeoutMs: 100 });
    await broker.stop();
    looker.disconnect();
    await redis.stop();
    await folder.remove();
  });
  const db = app.tenant('acme');
  await db.exec('CREATE TABLE t(a)');
  await broker.stop();
  const receipt = await db.enqueue('INSERT INTO t VALUES (?)', [1]);
  const jobId = receipt.id.split('.')[0]!;
  const { prefix, name } = tenantQueue('default', 'acme');
  const key = (part: string) => `${prefix}:${name}:${part}`;
  const data = (await looker.hget(key(jobId), 'data'))!;
  broker = await startService('broker', options);
  await receipt.committed();
  const addedAt = Number(await looker.hget(key(jobId), 'timestamp'));
  const [seconds] = await looker.time();
  expect(Math.abs(addedAt / 1_000 - Number(seconds))).toBeLessThan(60);
  await waitFor(async () => (await looker.zscore(key('completed'), jobId)) ?? undefined, {
    timeoutMs: 10_000,
    what: 'the job to be finished',
  });
  await broker.stop();

  // As after a day of writes: the job is no longer in the ledger, which covers those that came after it.
  const file = new Database(`${dataDir}/tenants/acme/tenant.db`);
  file.exec('DELETE FROM sqlite_onewriter_ledger; DELETE FROM sqlite_onewriter_jobs');
  file.prepare("INSERT INTO sqlite_onewriter_marks VALUES (0, '', 0, 0, 0, ?)").run(addedAt);
  file.close();
  // As in the snapshot: it waits, and was not taken.
  await looker
    .multi()
    .zrem(key('completed'), jobId)
    .hdel(key(jobId), 'finishedOn', 'processedOn', 'returnvalue')
    .hset(key(jobId), 'data', data)
    .rpush(key('wait'), jobId)
    .exec();
  broker = await startService('broker', options);
  await db.exec('INSERT INTO t VALUES (2)');
  expect(await db.prepare('SELECT a FROM t').all()).toEqual([{ a: 1 }, { a: 2 }]);
  await expect(db.receipt(receipt.id).committed({ timeoutMs: 10_000 })).rejects.toMatchObject({
    code: 'OUTCOME_UNKNOWN',
    message: expect.stringContaining('no longer in the ledger'),
  });
  const letters = await runCli(['dead-letters', 'list', '--json', '--data-dir', dataDir], {
    env: { ONEWRITER_REDIS_URL: redis.url },
  });
  expect(letters.stdout).toContain(receipt.id);
  expect(letters.stdout).toContain('older than the ledger');
});

it('stamps jobs by the clock of Redis, read once in a while, and never before what was taken', async () => {
  await using redis = await startRedis();
  await using folder = await temporaryDirectory('job-stamps');
  const looker = new Redis(redis.url);
  const app = await connect({ redis: redis.url, dataDir: folder.path });
  onTestFinished(async () => {
    await app.close({ timeoutMs: 100 });
    looker.disconnect();
  });
  const redisMs = async () => {
    const [seconds, micros] = await looker.time();
    return Number(seconds) * 1_000 + Number(micros) / 1_000;
  };
  const { prefix, name } = tenantQueue('default', 'acme');
  const add = async () => {
    const { id } = await app.tenant('acme').enqueue('INSERT INTO t VALUES (1)');
    return Number(await looker.hget(`${prefix}:${name}:${id.split('.')[0]!}`, 'timestamp'));
  };
  await looker.config('RESETSTAT');
  const before = await redisMs();
  const stamps: number[] = [];
  for (let n = 0; n < 50; n++) stamps.push(await add());
  const after = await redisMs();
  expect(stamps).toEqual(stamps.toSorted((a, b) => a - b));
  expect(stamps[0]).toBeGreaterThanOrEqual(Math.floor(before));
  expect(stamps.at(-1)).toBeLessThanOrEqual(after);
  // Two are this test's.
  expect(await looker.info('commandstats')).toContain('cmdstat_time:calls=3,');
  const taken = Math.floor(after) + 3_600_000;
  await looker.hset(`${prefix}:${name}:meta`, 'onewriter.added', taken);
  expect(await add()).toBe(taken);
});
