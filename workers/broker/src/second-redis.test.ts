import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSecondRedisNote, withoutCredentials } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { SecondRedis, SILENT_MS } from './second-redis.ts';

const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
let dataDir: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-second-redis-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A broker of a Redis that has this id. */
async function startBroker(redisId: string) {
  const link = { run: async () => redisId };
  const redisUrl = `redis://user:secret@${redisId}:6379/0?password=secret`;
  const broker = new SecondRedis({ link, group: 'g', dataDir, redisUrl, log: log as unknown as Logger });
  return { broker, mayLead: await broker.mayLead() };
}

it('one of two gives way, and only an epoch that was taken since has the other give way, too', async () => {
  const [a, b] = await Promise.all([startBroker('a'), startBroker('b')]);
  a.broker.noteLead(8);
  b.broker.noteLead(9);
  expect(a.broker.giveWay(8, 9)).toMatch(/redis:\/\/a:6379\/0, .* gave way at .* to .* redis:\/\/b:6379\/0,/);
  b.broker.noteLead(10);
  // It took its last epoch before, or nothing newer is noted than what the other had.
  expect(b.broker.giveWay(7, 8)).toBeUndefined();
  expect(readSecondRedisNote(dataDir)?.gaveWay).toMatchObject({ redisId: 'a', epoch: 8 });
  // It went on all the same.
  a.broker.noteLead(11);
  expect(readSecondRedisNote(dataDir)).toBeUndefined();
  expect(b.broker.giveWay(10, 11)).toMatch(/redis:\/\/b:6379\/0, .* gave way/);
  expect(readSecondRedisNote(dataDir)?.other).toMatchObject({ redisId: 'a', epoch: 11 });
});

it('those of the Redis that gave way lead when no leader noted the clock for a while, those of the other at once', async () => {
  const [a, b] = await Promise.all([startBroker('a'), startBroker('b')]);
  b.broker.noteLead(2);
  a.broker.giveWay(1, 2);
  const { broker, mayLead } = await startBroker('a');
  expect([mayLead, (await startBroker('b')).mayLead, b.broker.finding]).toEqual([false, true, undefined]);
  expect(broker.finding).toMatch(/redis:\/\/a:.*redis:\/\/b:.*ONEWRITER_REDIS_URL/);
  expect(broker.finding).not.toContain('secret');
  for (let step = 1; step < 5; step++) {
    writeFileSync(join(dataDir, 'clock'), `${step}`);
    expect(await broker.mayLead()).toBe(false);
    vi.advanceTimersByTime(SILENT_MS - 1);
    expect(await broker.mayLead()).toBe(false);
  }
  vi.advanceTimersByTime(1);
  expect([await broker.mayLead(), broker.finding]).toEqual([true, undefined]);
  // Started again, it waits as long as before.
  expect((await startBroker('a')).mayLead).toBe(false);
  broker.noteLead(3);
  expect((await startBroker('a')).mayLead).toBe(true);
});

it('says a URL without what is secret in it', () => {
  expect(withoutCredentials('redis://u:p%40@h:1/2')).toBe('redis://h:1/2');
  expect(withoutCredentials('redis://u:p/w@h:1')).toBe('redis://h:1');
  expect(withoutCredentials('redis+sentinel://:p@a:1,b:2/main?sentinelPassword=x')).toBe(
    'redis+sentinel://a:1,b:2/main',
  );
});
