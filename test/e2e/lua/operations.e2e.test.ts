import { beforeEach, describe, expect, it } from 'vitest';
import { loadScripts, ScriptRunner } from './scripts.ts';

/* The records of operations: added, renewed, cancelled, ended. */

const { ADD_OPERATION, RENEW_OPERATION, END_OPERATION, CANCEL_OPERATION } =
  await loadScripts('shared/operations/dist');
const runner = new ScriptRunner();
const LIFE_MS = 60_000;
const LOG = ':log';
const NOW = expect.closeTo(Date.now(), -5);

let index: string;
let indexes = 0;

beforeEach(() => {
  index = `{i${++indexes}}`;
});

const record = (id: string) => `${index}:${id}`;
const field = (id: string, name: string) => runner.redis.hget(record(id), name);
const timeOf = async (id: string, name: string) => Number(await field(id, name));
const listed = () => runner.redis.zrange(index, '0', '-1');
const log = (id: string) => runner.redis.lrange(record(id) + LOG, 0, -1);

function add(id: string, { state = 'queued', most = 100, fields = ['who', 'ada'] } = {}) {
  return runner.run(
    ADD_OPERATION,
    [index, record(id)],
    ...[id, record(''), LOG, LIFE_MS, most, state, ...fields],
  );
}

interface Progress {
  readonly state?: 'queued' | 'running';
  readonly done?: number;
  readonly total?: number | '';
  readonly most?: number;
  readonly skipped?: number;
  readonly lines?: readonly string[];
}

function renew(id: string, progress: Progress = {}) {
  const { state = 'running', done = 0, total = '', most = 3, skipped = 0, lines = [] } = progress;
  return runner.run(
    RENEW_OPERATION,
    [record(id), record(id) + LOG],
    ...[LIFE_MS, most, state, done, total, skipped, ...lines],
  );
}

const end = (id: string, state: string, result = '', error = '') =>
  runner.run(END_OPERATION, [record(id)], state, result, error);
const cancel = (id: string, who = 'ada') => runner.run(CANCEL_OPERATION, [record(id)], who);

/** Makes a record older than all that are added now. */
const setAge = (id: string, place: number) => runner.redis.zadd(index, place, id);

describe('a record', () => {
  it('is listed under the time of Redis, and lives as long as it is written', async () => {
    expect(await add('a')).toEqual(NOW);
    expect(await runner.redis.zscore(index, 'a')).toBe(await field('a', 'createdAt'));
    expect(await runner.redis.hgetall(record('a'))).toMatchObject({ who: 'ada', state: 'queued' });
    for (const key of [index, record('a')]) {
      expect(await runner.redis.pttl(key)).toBeGreaterThan(LIFE_MS / 2);
      expect(await runner.redis.pttl(key)).toBeLessThanOrEqual(LIFE_MS);
    }
  });

  it('that is added again keeps when it was created, and its place in the list', async () => {
    await add('a');
    await runner.redis.hset(record('a'), { createdAt: 1_000, renewedAt: 1_000 });
    await setAge('a', 1_000);
    await add('a', { state: 'running' });
    expect(await field('a', 'createdAt')).toBe('1000');
    expect(await runner.redis.zscore(index, 'a')).toBe('1000');
    expect(await field('a', 'state')).toBe('running');
    expect(await timeOf('a', 'renewedAt')).toEqual(NOW);
  });

  it('removes the oldest beyond the bound, with its log, those that ended first', async () => {
    await add('open', { state: 'running' });
    await add('first');
    await renew('first', { lines: ['a line'] });
    await end('first', 'done');
    await add('second');
    await end('second', 'failed');
    for (const [place, id] of ['open', 'first', 'second'].entries()) await setAge(id, place + 1);
    await add('new', { most: 3 });
    expect(await listed()).toEqual(['open', 'second', 'new']);
    expect(await runner.redis.exists(record('first'), record('first') + LOG)).toBe(0);
    expect(await runner.redis.exists(record('open'))).toBe(1);
  });

  it('removes the oldest that runs where none has ended, and never the new one', async () => {
    for (const [place, id] of ['a', 'b'].entries()) {
      await add(id, { state: 'running' });
      await setAge(id, place + 1);
    }
    await add('new', { most: 1 });
    expect(await listed()).toEqual(['new']);
    expect(await runner.redis.exists(record('a'), record('b'), record('new'))).toBe(1);
  });
});

describe('a renewal', () => {
  it('writes how far it is, and when it started, once', async () => {
    await add('a');
    expect(await renew('a', { state: 'queued' })).toBe('');
    expect(await field('a', 'startedAt')).toBeNull();
    await renew('a', { done: 1, total: 7 });
    expect(await timeOf('a', 'startedAt')).toEqual(NOW);
    await runner.redis.hset(record('a'), 'startedAt', 1_000);
    await renew('a', { done: 2 });
    expect(await runner.redis.hgetall(record('a'))).toMatchObject({
      ...{ state: 'running', done: '2', total: '7', startedAt: '1000' },
    });
  });

  it('keeps the newest lines, and counts all, also those that were left out', async () => {
    await add('a');
    await renew('a', { lines: ['1', '2'] });
    await renew('a', { skipped: 5, lines: ['8', '9'] });
    expect(await log('a')).toEqual(['2', '8', '9']);
    expect(await field('a', 'logged')).toBe('9');
    expect(await runner.redis.pttl(record('a') + LOG)).toBeGreaterThan(LIFE_MS / 2);
  });

  it('lets the record live longer', async () => {
    await add('a');
    await runner.redis.pexpire(record('a'), 1_000);
    await renew('a');
    expect(await runner.redis.pttl(record('a'))).toBeGreaterThan(LIFE_MS / 2);
  });

  it('of a record that Redis has lost creates none', async () => {
    expect(await renew('gone', { lines: ['a line'] })).toBeNull();
    expect(await runner.redis.exists(record('gone'), record('gone') + LOG)).toBe(0);
  });
});

describe('a cancellation', () => {
  it('reaches the next renewal, with who asked first', async () => {
    await add('a');
    expect([await cancel('a', 'ada'), await cancel('a', 'bob')]).toEqual([1, 1]);
    expect(await renew('a')).toBe('ada');
  });

  it('is refused where the operation has ended, or is not there', async () => {
    await add('a');
    await end('a', 'done');
    expect([await cancel('a'), await cancel('gone')]).toEqual([0, 0]);
    expect(await field('a', 'cancelledBy')).toBeNull();
    expect(await runner.redis.exists(record('gone'))).toBe(0);
  });
});

describe('the end', () => {
  it('has a time, and a result or an error', async () => {
    await add('a');
    await add('b');
    expect([await end('a', 'done', '{"tenants":2}'), await end('b', 'failed', '', '{"code":"X"}')]).toEqual([
      1, 1,
    ]);
    const [done, failed] = [await runner.redis.hgetall(record('a')), await runner.redis.hgetall(record('b'))];
    expect(done).toMatchObject({ state: 'done', result: '{"tenants":2}', renewedAt: done['endedAt'] });
    expect(failed).toMatchObject({ state: 'failed', error: '{"code":"X"}' });
    expect([Number(done['endedAt']), 'error' in done, 'result' in failed]).toEqual([NOW, false, false]);
  });

  it('of a record that Redis has lost creates none', async () => {
    expect(await end('gone', 'done')).toBe(0);
    expect(await runner.redis.exists(record('gone'))).toBe(0);
  });
});
