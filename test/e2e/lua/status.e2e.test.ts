import { beforeEach, describe, expect, it } from 'vitest';
import { loadScripts, ScriptRunner } from './scripts.ts';

/* The status of brokers, kept-still tenants and dead letters. */

const { SET_STATUS, NOTE_BROKER } = await loadScripts('workers/broker/dist/observe/status');
const { FIND_STILL } = await loadScripts('shared/tenants/dist/catalogue');
const { CLAIM_LETTER } = await loadScripts('shared/runtime/dist/dead-letters');
const runner = new ScriptRunner();

let key: string;
let keys = 0;

beforeEach(() => {
  key = `{k${++keys}}`;
});

it('keeps the status for a time', async () => {
  await runner.run(SET_STATUS, [key], '{"a":1}', 60_000);
  expect(await runner.redis.get(key)).toBe('{"a":1}');
  expect(await runner.redis.pttl(key)).toBeGreaterThan(30_000);
});

describe('the note of a broker', () => {
  it('has the time of Redis, and lives ten times as long as it says', async () => {
    await runner.run(NOTE_BROKER, [key], 'b-1', '"state":"leads"}', 1_000);
    const { at, state } = JSON.parse((await runner.redis.hget(key, 'b-1'))!);
    expect([at, state]).toEqual([expect.closeTo(Date.now(), -5), 'leads']);
    expect(await runner.redis.pttl(key)).toBeGreaterThan(9_000);
  });

  it('removes notes of brokers that are long gone, and no others', async () => {
    await runner.redis.hset(key, {
      'b-gone': '{"at":1000,"state":"leads"}',
      'b-here': `{"at":${Date.now()},"state":"waits"}`,
      'b-odd': 'not a note',
    });
    await runner.run(NOTE_BROKER, [key], 'b-1', '"state":"leads"}', 60_000);
    expect((await runner.redis.hkeys(key)).sort()).toEqual(['b-1', 'b-here']);
  });
});

it('finds the tenants that are paused or held, and how many jobs wait', async () => {
  const tenants = ['calm', 'paused', 'held'].flatMap(name => [`${key}:${name}:meta`, `${key}:${name}:wait`]);
  await runner.redis.hset(`${key}:calm:meta`, 'onewriter.epoch', 1);
  await runner.redis.hset(`${key}:paused:meta`, 'paused', 1);
  await runner.redis.hset(`${key}:held:meta`, 'onewriter.holds', 1);
  await runner.redis.lpush(`${key}:held:wait`, 'w-1', 'w-2');
  expect(await runner.run(FIND_STILL, tenants)).toEqual([1, 0, 2, 2]);
});

it('gives a dead letter one job id, however often its write is sent again', async () => {
  const claim = (id: string) => runner.run(CLAIM_LETTER, [key], 'onewriter.retry', id);
  expect(await claim('w-1')).toBeNull();
  expect(await runner.redis.exists(key)).toBe(0);
  await runner.redis.hset(key, 'data', '{}');
  expect([await claim('w-1'), await claim('w-2')]).toEqual(['w-1', 'w-1']);
});
