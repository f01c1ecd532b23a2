import { beforeEach, describe, expect, it } from 'vitest';
import { loadScripts, ScriptRunner } from './scripts.ts';

/* The lease of the leader, the claim of a data directory, and the identity of a Redis. */

const SCRIPTS = await loadScripts('workers/broker/dist/leader');
const runner = new ScriptRunner();
const LEASE_MS = 60_000;

let groups = 0;
let lease: string;
let epoch: string;

beforeEach(() => {
  lease = `{g${++groups}}:lease`;
  epoch = `{g${groups}}:epoch`;
});

const name = (broker: string) => `"broker":"${broker}"`;
const tail = (broker: string) => `${name(broker)},"pid":1}`;
const record = (broker: string, number: number) => `{"epoch":${number},${tail(broker)}`;
const acquire = (broker: string, { floor = 0, dead = '' } = {}) =>
  runner.run(SCRIPTS['ACQUIRE_LEASE'], [lease, epoch], floor, LEASE_MS, dead, tail(broker));
const renew = (broker: string, number: number) =>
  runner.run(SCRIPTS['RENEW_LEASE'], [lease, epoch], name(broker), record(broker, number), LEASE_MS, number);
const raise = (broker: string, floor: number, number: number) =>
  runner.run(SCRIPTS['RAISE_EPOCH'], [lease, epoch], name(broker), floor, LEASE_MS, tail(broker), number);
const release = (broker: string) => runner.run(SCRIPTS['RELEASE_LEASE'], [lease], name(broker));
const held = () => runner.redis.get(lease);

describe('a lease', () => {
  it('is acquired where there is none, with an epoch above the last and above the floor, and expires', async () => {
    expect(await acquire('a')).toEqual([1, '']);
    expect(await held()).toBe(record('a', 1));
    expect(await runner.redis.pttl(lease)).toBeGreaterThan(LEASE_MS / 2);
    await runner.redis.del(lease);
    expect(await acquire('b', { floor: 41 })).toEqual([42, '']);
    await runner.redis.del(lease);
    expect(await acquire('c', { floor: 7 })).toEqual([43, '']);
  });

  it('is not acquired while another has it, unless that one is dead', async () => {
    await acquire('a');
    expect(await acquire('b')).toEqual([0, record('a', 1)]);
    expect(await acquire('b', { dead: record('a', 0) })).toEqual([0, record('a', 1)]);
    expect(await acquire('b', { dead: record('a', 1) })).toEqual([2, '']);
    expect(await held()).toBe(record('b', 2));
  });

  it('is renewed by its holder only', async () => {
    await acquire('a');
    await runner.redis.pexpire(lease, 5_000);
    expect(await renew('b', 1)).toBe(0);
    expect(await renew('a', 1)).toBe(1);
    expect(await runner.redis.pttl(lease)).toBeGreaterThan(LEASE_MS / 2);
  });

  it('is restored by its holder after it expired, but not where another had it since', async () => {
    await acquire('a');
    await runner.redis.del(lease);
    expect(await renew('a', 1)).toBe(1);
    await runner.redis.del(lease);
    await acquire('b');
    await runner.redis.del(lease);
    expect(await renew('a', 1)).toBe(0);
    expect(await held()).toBeNull();
  });

  it('gets a higher epoch for its holder only', async () => {
    await acquire('a');
    expect(await raise('b', 10, 1)).toBe(0);
    expect(await raise('a', 10, 1)).toBe(11);
    expect(await held()).toBe(record('a', 11));
    await runner.redis.del(lease);
    expect(await raise('a', 0, 1)).toBe(0);
    expect(await raise('a', 0, 11)).toBe(12);
  });

  it('is released by its holder only', async () => {
    await acquire('a');
    expect([await release('b'), await release('a'), await release('a')]).toEqual([0, 1, 0]);
    expect(await held()).toBeNull();
  });
});

describe('the claim of a data directory', () => {
  const claim = (id: string, json: string) => runner.run(SCRIPTS['CLAIM_DATA_DIR'], [lease], id, json);

  it('is had once, and again by the same directory at another place', async () => {
    const here = JSON.stringify({ id: 'd1', path: '/a' });
    const there = JSON.stringify({ id: 'd1', path: '/b' });
    expect([await claim('d1', here), await claim('d1', here), await claim('d1', there)]).toEqual([
      '',
      '',
      '',
    ]);
    expect(await held()).toBe(there);
    expect(await claim('d2', JSON.stringify({ id: 'd2' }))).toBe(there);
    expect(await held()).toBe(there);
  });

  it('replaces what cannot be read', async () => {
    await runner.redis.set(lease, 'not JSON');
    expect(await claim('d1', '{"id":"d1"}')).toBe('');
    expect(await held()).toBe('{"id":"d1"}');
  });
});

it('gives a Redis one identity', async () => {
  const identify = (id: string) => runner.run(SCRIPTS['IDENTIFY_REDIS'], [lease], id);
  expect([await identify('first'), await identify('second')]).toEqual(['first', 'first']);
});
