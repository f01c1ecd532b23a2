import { beforeEach, describe, expect, it } from 'vitest';
import { loadScripts, ScriptRunner } from './scripts.ts';

/* What the broker does with a tenant's queue, script by script. Sequences of them: late-commands and queue-bytes. */

const SCRIPTS = await loadScripts('workers/broker/dist/queue');
const runner = new ScriptRunner();
const LOCK_MS = 30_000;
const TOKEN = 'b-1';
const LOTS = 1_000_000;

let queues = 0;
let prefix: string;

beforeEach(() => {
  prefix = `{q${++queues}}:`;
});

const key = (name: string) => prefix + name;
const keys = (...names: string[]) => names.map(key);
const list = (name: string) => runner.redis.lrange(key(name), 0, -1);
const meta = (field: string) => runner.redis.hget(key('meta'), field);

async function add(...jobs: (string | [id: string, bytes: number])[]): Promise<void> {
  for (const job of jobs) {
    const [id, bytes] = typeof job === 'string' ? [job, 2] : job;
    await runner.redis.hset(key(id), 'data', 'x'.repeat(bytes), 'timestamp', 1_000);
    await runner.redis.lpush(key('wait'), id);
    await runner.redis.hincrby(key('meta'), 'onewriter.bytes', bytes);
  }
}

const reclaim = (word: string, token = TOKEN) =>
  runner.run(SCRIPTS['RECLAIM_JOBS'], keys('active', 'meta'), prefix, token, LOCK_MS, word);
const fetch = ({ maxJobs = 10, maxBytes = LOTS, word = '1.1', ifIdle = 0 } = {}) =>
  runner.run(
    SCRIPTS['FETCH_JOBS'],
    keys('wait', 'active', 'meta'),
    ...[prefix, TOKEN, LOCK_MS, 5_000, maxJobs, maxBytes, word, 0, ifIdle],
  );
const fetchFollowUps = ({ maxBytes = LOTS, among = 128 } = {}) =>
  runner.run(
    SCRIPTS['FETCH_FOLLOW_UPS'],
    keys('wait', 'active', 'meta'),
    ...[prefix, TOKEN, LOCK_MS, 5_000, '1.1', maxBytes, among],
  );
const finish = (
  jobs: [id: string, state: string][],
  { maxJobs = 0, keep = 100, word = '1.1', now = 6_000 } = {},
) =>
  runner.run(
    SCRIPTS['FINISH_JOBS'],
    keys('wait', 'active', 'meta', 'completed', 'failed'),
    ...[prefix, TOKEN, LOCK_MS, now, maxJobs, LOTS, word, keep, 0],
    ...jobs.flatMap(([id, state]) => [id, state, 'value']),
  );
const requeue = (word: string, doubt: number, ...ids: string[]) =>
  runner.run(SCRIPTS['REQUEUE_JOBS'], keys('wait', 'active', 'meta'), prefix, TOKEN, word, doubt, ...ids);

const idsOf = (reply: unknown) => (reply as unknown[]).slice(1).filter((_, index) => index % 3 === 0);

describe('a fetch', () => {
  it('moves the oldest jobs to active, with their locks, and counts the rest and its bytes', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2', ['w-3', 7]);
    expect(await fetch({ maxJobs: 2 })).toEqual([1, 'w-1', 'xx', '1000', 'w-2', 'xx', '1000']);
    expect([await list('active'), await list('wait')]).toEqual([['w-2', 'w-1'], ['w-3']]);
    expect(await runner.redis.get(key('w-1:lock'))).toBe(TOKEN);
    expect(await meta('onewriter.bytes')).toBe('7');
    await fetch();
    expect(await meta('onewriter.bytes')).toBeNull();
    expect(await meta('onewriter.added')).toBe('1000');
  });

  it('keeps to its bytes, and says how large the oldest is where that alone is more', async () => {
    await reclaim('1.1');
    await add(['w-1', 5], ['w-2', 5], ['w-3', 5]);
    expect(idsOf(await fetch({ maxBytes: 10 }))).toEqual(['w-1', 'w-2']);
    expect(await fetch({ maxBytes: 4 })).toEqual([-5, 5, 1]);
    expect(await list('wait')).toEqual(['w-3']);
  });

  it('leaves jobs alone while others are active, where it is to be the first', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2');
    await fetch({ maxJobs: 1 });
    expect(await fetch({ ifIdle: 1 })).toEqual([1]);
  });

  it('drops ids whose job is gone', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2');
    await runner.redis.del(key('w-1'));
    expect(idsOf(await fetch())).toEqual(['w-2']);
    expect(await list('active')).toEqual(['w-2']);
  });

  it('says why it gets nothing: paused, a newer leader, not reclaimed, held', async () => {
    await add('w-1');
    expect(await fetch()).toEqual([-3]);
    await reclaim('1.1');
    expect(await fetch({ word: '1.2' })).toEqual([-3]);
    await runner.redis.hset(key('meta'), 'paused', 1);
    expect(await fetch()).toEqual([-1]);
    await runner.redis.hset(key('meta'), 'onewriter.holds', 1);
    expect(await fetch()).toEqual([-4]);
    await runner.redis.hdel(key('meta'), 'paused', 'onewriter.holds');
    await reclaim('2.1', 'b-2');
    expect(await fetch()).toEqual([-2, 2]);
    expect(await list('wait')).toEqual(['w-1']);
  });
});

describe('a fetch of follow-ups', () => {
  it('gets steps of the open transaction and no other jobs, also where the queue is paused', async () => {
    await reclaim('1.1');
    await add('w-1', 's-1', 'w-2', 's-2');
    await runner.redis.hset(key('meta'), 'paused', 1);
    const reply = await fetchFollowUps();
    expect([...idsOf(reply)].sort()).toEqual(['s-1', 's-2']);
    expect((reply as number[])[0]).toBe(0);
    expect(await list('wait')).toEqual(['w-2', 'w-1']);
    expect(await meta('onewriter.bytes')).toBe('4');
  });

  it('searches so much of the tail, and refuses more bytes than there is room for', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2', ['s-1', 9]);
    expect(await fetchFollowUps({ among: 2 })).toEqual([3]);
    expect(await fetchFollowUps({ maxBytes: 8 })).toEqual([-5, 9, 3]);
    expect(idsOf(await fetchFollowUps())).toEqual(['s-1']);
  });
});

describe('finished jobs', () => {
  it('lose their data, their lock and their place, and the next are fetched', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2', 'w-3');
    await fetch({ maxJobs: 2 });
    const [refused, next] = (await finish(
      [
        ['w-1', 'completed'],
        ['w-2', 'failed'],
      ],
      { maxJobs: 1 },
    )) as [string[], unknown];
    expect([refused, idsOf(next)]).toEqual([[], ['w-3']]);
    expect(await runner.redis.hmget(key('w-1'), 'data', 'returnvalue')).toEqual(['', 'value']);
    expect(await runner.redis.hmget(key('w-2'), 'data', 'failedReason')).toEqual(['', 'value']);
    expect(await runner.redis.exists(key('w-1:lock'), key('w-2:lock'))).toBe(0);
    expect(await list('active')).toEqual(['w-3']);
    expect(await runner.redis.zrange(key('completed'), '0', '-1')).toEqual(['w-1']);
  });

  it('complete under any lock, and fail only under the own one and without a later reclaim', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2', 'w-3');
    await fetch();
    await runner.redis.set(key('w-1:lock'), 'b-2');
    await runner.redis.set(key('w-2:lock'), 'b-2');
    expect(
      await finish([
        ['w-1', 'completed'],
        ['w-2', 'failed'],
      ]),
    ).toEqual([['w-2'], []]);
    await reclaim('1.2');
    expect(await finish([['w-3', 'failed']])).toEqual([['w-3'], []]);
    expect(await finish([['w-3', 'failed']], { word: '1.2' })).toEqual([[], []]);
    // The answer was lost, and it is sent again.
    expect(await finish([['w-3', 'failed']])).toEqual([[], []]);
  });

  it('are trimmed ten at a time', async () => {
    await reclaim('1.1');
    const ids = Array.from({ length: 15 }, (_, index) => `w-${index}`);
    await add(...ids);
    await fetch({ maxJobs: 15 });
    for (const [index, id] of ids.entries()) await finish([[id, 'completed']], { keep: 5, now: index + 1 });
    expect(await runner.redis.zrange(key('completed'), '0', '-1')).toEqual(ids.slice(10));
    expect(await runner.redis.exists(key('w-9'))).toBe(0);
  });
});

describe('a reclaim', () => {
  it('makes all active jobs the own ones, oldest first, and drops those without data', async () => {
    await reclaim('1.1');
    await add('w-1', ['w-2', 9], 'w-3');
    await fetch();
    await runner.redis.del(key('w-1'));
    expect(await reclaim('2.1', 'b-2')).toEqual([0, 'w-2', 9, '1000', 'w-3', 2, '1000']);
    expect(await runner.redis.get(key('w-2:lock'))).toBe('b-2');
    expect(await list('active')).toEqual(['w-3', 'w-2']);
  });

  it('is refused to an older leader, for an older turn, and while the tenant is held', async () => {
    await reclaim('2.5');
    expect(await reclaim('1.9')).toEqual([-2, 2]);
    expect(await reclaim('2.4')).toEqual([-3]);
    expect(await reclaim('2.10')).toEqual([0]);
    await runner.redis.hset(key('meta'), 'onewriter.holds', 1);
    expect(await reclaim('3.1')).toEqual([-4]);
  });
});

describe('requeued jobs', () => {
  it('wait as the oldest again, with their bytes, and leave a doubt where they may be applied', async () => {
    await reclaim('1.1');
    await add('w-1', 'w-2', 'w-3');
    await fetch({ maxJobs: 2 });
    expect(await requeue('1.2', 700, 'w-2', 'w-1')).toBe(2);
    expect([await list('wait'), await list('active')]).toEqual([['w-3', 'w-2', 'w-1'], []]);
    expect(await meta('onewriter.bytes')).toBe('6');
    expect(await reclaim('2.1')).toEqual([700]);
  });

  it.each([
    [[700, 600], 700],
    [[700, 800, 0], 800],
    [[700, 1, 900], 1],
  ])(
    'that may be applied are known by the newest: of %j by %s, of an unknown time by 1',
    async (times, noted) => {
      await reclaim('1.1');
      for (const [index, time] of times.entries()) await requeue(`1.${index + 2}`, time);
      expect(await meta('onewriter.doubt')).toBe(String(noted));
    },
  );

  it('are not those of another leader that reclaimed them', async () => {
    await reclaim('1.1');
    await add('w-1');
    await fetch();
    await reclaim('2.1', 'b-2');
    expect(await requeue('1.2', 0, 'w-1')).toBe(0);
    expect(await list('active')).toEqual(['w-1']);
  });

  it('lose their doubt only while no later reclaim has seen it', async () => {
    const forget = (word: string) => runner.run(SCRIPTS['FORGET_DOUBT'], keys('meta'), word);
    await reclaim('1.1');
    await add('w-1');
    await fetch();
    await requeue('1.2', 1, 'w-1');
    expect(await forget('1.1')).toBe(0);
    expect(await forget('1.2')).toBe(1);
    expect(await meta('onewriter.doubt')).toBeNull();
  });
});

it('renews the own locks and no others', async () => {
  await runner.redis.set(key('w-1:lock'), TOKEN, 'PX', 1_000);
  await runner.redis.set(key('w-2:lock'), 'b-2', 'PX', 1_000);
  const renewed = await runner.run(
    SCRIPTS['RENEW_LOCKS'],
    keys('active'),
    prefix,
    TOKEN,
    LOCK_MS,
    'w-1',
    'w-2',
  );
  expect(renewed).toBe(1);
  expect(await runner.redis.pttl(key('w-1:lock'))).toBeGreaterThan(LOCK_MS / 2);
  expect(await runner.redis.pttl(key('w-2:lock'))).toBeLessThan(LOCK_MS / 2);
});
