import { beforeEach, describe, expect, it } from 'vitest';
import { loadScripts, ScriptRunner } from './scripts.ts';

/* How a client puts a job on a tenant's queue, and withdraws it. */

const { ADD_JOB, ADD_FOLLOW_UP, WITHDRAW_JOB } = await loadScripts('shared/sdk/dist/write');
const runner = new ScriptRunner();
const NO_BOUND = 1_000_000;

let queues = 0;
let queue: string;

beforeEach(async () => {
  queue = `{q${++queues}}`;
  await runner.redis.hset(key('meta'), 'onewriter.sync', 0);
});

const key = (name: string) => `${queue}:${name}`;
const add = (
  id: string,
  { data = '{}', time = 1_000 as number | '', most = NO_BOUND, script = ADD_JOB } = {},
) => runner.run(script, [key('wait'), key(id), key('meta')], id, 'write', data, '{}', time, most);
const withdraw = (id: string) => runner.run(WITHDRAW_JOB, [key('wait'), key(id), key('meta')], id);
const waiting = () => runner.redis.lrange(key('wait'), 0, -1);
const bytes = () => runner.redis.hget(key('meta'), 'onewriter.bytes');

describe('a job', () => {
  it('is put behind those that wait, with the hash of a BullMQ job, and the answer is the length of the queue', async () => {
    expect([await add('w-1', { data: '{"a":1}' }), await add('w-2')]).toEqual([1, 2]);
    expect(await waiting()).toEqual(['w-2', 'w-1']);
    expect(await runner.redis.hgetall(key('w-1'))).toEqual({
      ...{ name: 'write', data: '{"a":1}', opts: '{}', timestamp: '1000', delay: '0', priority: '0' },
    });
    expect(await bytes()).toBe('9');
  });

  it('that is there is not added again', async () => {
    await add('w-1');
    expect(await add('w-1', { data: '{"other":1}' })).toBe(1);
    expect(await waiting()).toEqual(['w-1']);
    expect(await runner.redis.hget(key('w-1'), 'data')).toBe('{}');
  });

  it('is refused beyond the bytes that may wait, but not where it is the only one', async () => {
    expect(await add('w-1', { data: 'x'.repeat(100), most: 10 })).toBe(1);
    expect(await add('w-2', { most: 101 })).toBe(-100);
    expect(await add('w-2', { most: 102 })).toBe(2);
    expect(await bytes()).toBe('102');
  });

  it('is not refused for a count that is wrong: nothing waits', async () => {
    await runner.redis.hset(key('meta'), 'onewriter.bytes', 5_000);
    expect(await add('w-1', { most: 10 })).toBe(1);
  });

  it('is never older than a job that was fetched', async () => {
    await runner.redis.hset(key('meta'), 'onewriter.added', 2_000);
    await add('w-1');
    await add('w-2', { time: 3_000 });
    expect(await runner.redis.hget(key('w-1'), 'timestamp')).toBe('2000');
    expect(await runner.redis.hget(key('w-2'), 'timestamp')).toBe('3000');
  });

  it('gets the time of Redis where its client has none, and the client gets it, too', async () => {
    const [depth, now] = (await add('w-1', { time: '' })) as [number, string];
    expect([depth, Number(now)]).toEqual([1, expect.closeTo(Date.now(), -5)]);
    expect(await runner.redis.hget(key('w-1'), 'timestamp')).toBe(now);
    expect(await add('w-2', { time: '', most: 1 })).toEqual([-2, expect.stringMatching(/^\d{13}$/)]);
  });
});

it.each([ADD_JOB, ADD_FOLLOW_UP])(
  'says that callers wait for the replica, also before a broker has said whether they do',
  async script => {
    const depthOf = async (id: string) => ((await add(id, { script })) as [number, string, string]).slice(1);
    await runner.redis.hdel(key('meta'), 'onewriter.sync');
    expect(await depthOf('w-1')).toEqual(['', '1']);
    await runner.redis.hset(key('meta'), 'onewriter.sync', 1);
    expect([await depthOf('w-1'), await depthOf('w-2')]).toEqual([
      ['', '1'],
      ['', '1'],
    ]);
    expect(await add('w-3', { script, time: '' })).toEqual([expect.any(Number), expect.any(String), '1']);
  },
);

describe('steps of an open transaction', () => {
  it('are put in front of all that waits', async () => {
    await add('w-1');
    expect(await add('s-1', { script: ADD_FOLLOW_UP })).toBe(0);
    expect(await waiting()).toEqual(['w-1', 's-1']);
    expect(await add('s-1', { script: ADD_FOLLOW_UP })).toBe(0);
    expect(await waiting()).toEqual(['w-1', 's-1']);
  });
});

describe('a job that is withdrawn', () => {
  it('is gone with its bytes', async () => {
    await add('w-1', { data: '12345' });
    await add('w-2');
    expect(await withdraw('w-1')).toBe(1);
    expect(await waiting()).toEqual(['w-2']);
    expect(await runner.redis.exists(key('w-1'))).toBe(0);
    expect(await bytes()).toBe('2');
  });

  it('stays where it has begun', async () => {
    await add('w-1');
    await runner.redis.rpoplpush(key('wait'), key('active'));
    expect(await withdraw('w-1')).toBe(0);
    expect(await runner.redis.exists(key('w-1'))).toBe(1);
    expect(await bytes()).toBe('2');
  });
});
