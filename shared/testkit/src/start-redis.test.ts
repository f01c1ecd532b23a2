import { existsSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { liveHandles } from './live-handles.ts';
import { isAlive } from './spawn-process.ts';
import { startRedis } from './start-redis.ts';

it('starts two servers that refuse eviction, and leaves nothing behind', async () => {
  const [one, two] = await Promise.all([startRedis(), startRedis({ password: 'p:w/d' })]);
  expect(one.port).not.toBe(two.port);
  const client = new Redis(two.url);
  expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  client.disconnect();
  const pids = [one.pid(), two.pid()];
  await one.stop();
  await two.stop();
  await two.stop();
  expect(pids.filter(isAlive)).toEqual([]);
  expect(existsSync(two.directory)).toBe(false);
  expect(liveHandles()).toEqual([]);
});

it('keeps its port and its data when it is killed and started again', async () => {
  await using redis = await startRedis({ appendonly: 'always' });
  const client = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => {}); // the outage is the point
  await client.set('a', '1');
  const before = redis.pid();
  redis.kill();
  await redis.restart();
  expect(redis.pid()).not.toBe(before);
  expect(await client.get('a')).toBe('1');
  client.disconnect();
});

it('says why a server did not start', async () => {
  await expect(startRedis({ settings: { appendfsync: 'nonsense' } })).rejects.toThrow(/appendfsync/);
  expect(liveHandles()).toEqual([]);
});
