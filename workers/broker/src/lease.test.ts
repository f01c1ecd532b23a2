import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LeaseRecord } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createRandom } from '../test-support/random.ts';
import { Lease } from './lease.ts';
import { acquireLease, raiseEpoch, releaseLease, renewLease } from './lease-scripts.ts';
import type { RedisLink, Script } from './redis-link.ts';

/*
 * Several brokers' leases against a model of Redis, in fake time and an order from a seed: answers take their time, are
 * lost, processes stop for longer than the lease and go on, Redis loses its data.
 */

const LEASE_MS = 300;
const quiet = { info() {}, warn() {}, error() {}, debug() {}, fatal() {} } as unknown as Logger;

const delay = (ms: number) => new Promise<void>(resolve => void setTimeout(resolve, ms));

/** The two keys, and what the scripts do to them. */
class ModelRedis {
  lease: string | undefined;
  epoch = 0;
  #expiresAt = 0;

  wipe(): void {
    this.lease = undefined;
    this.epoch = 0;
  }

  execute(script: Script, args: readonly (string | number)[]): unknown {
    if (this.lease !== undefined && performance.now() >= this.#expiresAt) this.lease = undefined;
    const [, , ...rest] = args;
    switch (script) {
      case acquireLease: {
        const [floor, leaseMs, dead, tail] = rest;
        if (this.lease !== undefined && this.lease !== dead) return [0, this.lease];
        return this.#lead(Math.max(this.epoch, Number(floor)) + 1, String(tail), Number(leaseMs));
      }
      case renewLease: {
        const [record, leaseMs, epoch] = rest;
        if (this.lease !== record && (this.lease !== undefined || this.epoch !== Number(epoch))) return 0;
        this.lease = String(record);
        this.#expiresAt = performance.now() + Number(leaseMs);
        return 1;
      }
      case raiseEpoch: {
        const [record, floor, leaseMs, tail] = rest;
        if (this.lease !== record) return [0, ''];
        return this.#lead(Math.max(this.epoch, Number(floor)) + 1, String(tail), Number(leaseMs));
      }
      case releaseLease: {
        if (this.lease !== args[1]) return 0;
        this.lease = undefined;
        return 1;
      }
    }
    throw new Error('not one of the lease’s scripts');
  }

  #lead(epoch: number, tail: string, leaseMs: number): [number, string] {
    this.epoch = epoch;
    this.lease = `{"epoch":${epoch},${tail}`;
    this.#expiresAt = performance.now() + leaseMs;
    return [epoch, this.lease];
  }
}

/** A connection whose answers take a random time, and of which some are lost. */
function createLink(redis: ModelRedis, random: () => number, lossRate: number): RedisLink {
  const link = {
    async run(script: Script, args: readonly (string | number)[]) {
      // Now and then a process, or its network, stands still for longer than a lease lives.
      await delay(random() < 0.02 ? random() * LEASE_MS * 3 : random() * 20);
      if (random() < lossRate / 2) throw new Error('connection lost before');
      const reply = redis.execute(script, args);
      await delay(random() < 0.02 ? random() * LEASE_MS * 3 : random() * 20);
      if (random() < lossRate / 2) throw new Error('connection lost after');
      return reply;
    },
    ready: async () => {},
    async insist<Result>(attempt: () => Promise<Result>) {
      for (;;) {
        try {
          return await attempt();
        } catch {
          await delay(5);
        }
      }
    },
  };
  return link as unknown as RedisLink;
}

let dataDir: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'onewriter-lease-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
  });
});
afterEach(() => {
  vi.useRealTimers();
});

const createLease = (link: RedisLink) =>
  new Lease(link, { group: 'default', dataDir, leaseMs: LEASE_MS, log: quiet });

describe('the lease', () => {
  it('is held by one process at a time, with an epoch of its own, in 200 interleavings', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = createRandom(seed);
      const redis = new ModelRedis();
      const stop = new AbortController();
      const alive = new Set<Lease>();
      const epochs: number[] = [];
      const run = async () => {
        while (!stop.signal.aborted) {
          const lease = createLease(createLink(redis, random, seed % 2 === 0 ? 0 : 0.2));
          if (!(await lease.acquire(stop.signal))) return;
          epochs.push(lease.epoch);
          alive.add(lease);
          const lost = new Promise<void>(resolve => lease.keep(() => resolve()));
          // It leads until it loses the lease, dies without a word, or hands over.
          await Promise.race([lost, delay(random() * LEASE_MS * 8)]);
          alive.delete(lease);
          await lease.release().catch(() => {});
        }
      };
      const running = [run(), run(), run()];
      let led = 0;
      for (let step = 0; step < 300; step++) {
        await vi.advanceTimersByTimeAsync(7);
        const holders = [...alive].filter(lease => lease.held);
        expect(holders.length, `seed ${seed}, step ${step}`).toBeLessThanOrEqual(1);
        led += holders.length;
      }
      stop.abort();
      await vi.advanceTimersByTimeAsync(LEASE_MS * 20);
      await Promise.all(running);
      expect(led, `seed ${seed}: somebody leads`).toBeGreaterThan(10);
      expect(new Set(epochs).size, `seed ${seed}: each epoch once`).toBe(epochs.length);
    }
  }, 120_000);

  it('never gives an epoch out again that a file may have seen, also after Redis lost its data', async () => {
    const redis = new ModelRedis();
    const link = createLink(redis, () => 0.5, 0);
    const acquire = async () => {
      const lease = createLease(link);
      const acquiring = lease.acquire(new AbortController().signal);
      // As long as it takes: the lease of the one before has to run out.
      while (lease.epoch === 0) await vi.advanceTimersByTimeAsync(10);
      expect(await acquiring).toBe(true);
      return lease;
    };
    const first = await acquire();
    expect(first.epoch).toBe(1);
    const raising = first.raise(40);
    await vi.advanceTimersByTimeAsync(100);
    expect(await raising).toBe(true);
    expect(first.epoch).toBe(41);
    redis.wipe();
    const second = await acquire();
    expect(second.epoch).toBe(42);
    expect(readFileSync(join(dataDir, 'epoch'), 'utf8')).toBe('42\n');
    // The first has lost it, whatever it believes.
    const again = first.raise(50);
    await vi.advanceTimersByTimeAsync(100);
    expect(await again).toBe(false);
  });

  it('counts as over for its holder before it is over for others, and as lost when another has it', async () => {
    const redis = new ModelRedis();
    let away = false;
    const link = {
      async run(script: Script, args: readonly (string | number)[]) {
        if (away) throw new Error('Redis is away');
        return redis.execute(script, args);
      },
      ready: async () => {},
    } as unknown as RedisLink;
    const lease = createLease(link);
    expect(await lease.acquire(new AbortController().signal)).toBe(true);
    const onLost = vi.fn();
    lease.keep(onLost);
    await vi.advanceTimersByTimeAsync(LEASE_MS * 5);
    expect(lease.held).toBe(true);
    away = true;
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect(lease.held).toBe(false);
    // Nobody took it: it goes on, under the same epoch.
    away = false;
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect([lease.held, lease.epoch, onLost.mock.calls.length]).toEqual([true, 1, 0]);
    away = true;
    await vi.advanceTimersByTimeAsync(LEASE_MS * 2);
    away = false;
    const other = createLease(link);
    expect(await other.acquire(new AbortController().signal)).toBe(true);
    other.keep(onLost);
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect([lease.held, other.held, onLost.mock.calls.length]).toEqual([false, true, 1]);
    await lease.release();
    expect((JSON.parse(redis.lease ?? '{}') as LeaseRecord).broker).toBe(other.broker);
  });
});
