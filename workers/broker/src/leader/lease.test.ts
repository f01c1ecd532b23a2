import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LeaseRecord } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import type { RedisLink, Script } from '../queue/redis-link.ts';
import { Lease } from './lease.ts';
import { acquireLease, raiseEpoch, releaseLease, renewLease } from './lease-scripts.ts';

/*
 * Several brokers' leases against a model of Redis, in fake time and an order from a seed: answers take their time, are
 * lost, processes stop for longer than the lease and continue, Redis loses its data.
 */

const LEASE_MS = 300;
const quiet = { info() {}, warn() {}, error() {}, debug() {}, fatal() {} } as unknown as Logger;

const delay = (ms: number) => new Promise<void>(resolve => void setTimeout(resolve, ms));

/** The two keys, and what the scripts do to them. */
class ModelRedis {
  lease: string | undefined;
  epoch = 0;
  /** Added to its clock, by which the lease expires. */
  clockMs = 0;
  #expiresAt = 0;

  wipe(): void {
    this.lease = undefined;
    this.epoch = 0;
  }

  execute(script: Script, args: readonly (string | number)[]): unknown {
    if (this.lease !== undefined && this.#now >= this.#expiresAt) this.lease = undefined;
    const [, , ...rest] = args;
    const isHeldBy = (name: unknown) => this.lease?.includes(String(name)) === true;
    const mayChange = (name: unknown, epoch: unknown) =>
      this.lease === undefined ? this.epoch === Number(epoch) : isHeldBy(name);
    switch (script) {
      case acquireLease: {
        const [floor, leaseMs, dead, tail] = rest;
        if (this.lease !== undefined && this.lease !== dead) return [0, this.lease];
        return [this.#lead(Number(floor), String(tail), Number(leaseMs)), ''];
      }
      case renewLease: {
        const [name, record, leaseMs, epoch] = rest;
        if (!mayChange(name, epoch)) return 0;
        this.#set(String(record), Number(leaseMs));
        return 1;
      }
      case raiseEpoch: {
        const [name, floor, leaseMs, tail, epoch] = rest;
        return mayChange(name, epoch) ? this.#lead(Number(floor), String(tail), Number(leaseMs)) : 0;
      }
      case releaseLease: {
        if (!isHeldBy(args[1])) return 0;
        this.lease = undefined;
        return 1;
      }
    }
    throw new Error('not one of the lease’s scripts');
  }

  get #now(): number {
    return performance.now() + this.clockMs;
  }

  #set(record: string, leaseMs: number): void {
    this.lease = record;
    this.#expiresAt = this.#now + leaseMs;
  }

  #lead(floor: number, tail: string, leaseMs: number): number {
    this.epoch = Math.max(this.epoch, floor) + 1;
    this.#set(`{"epoch":${this.epoch},${tail}`, leaseMs);
    return this.epoch;
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
    async retryUntilDone<Result>(attempt: () => Promise<Result>) {
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
          // It leads until it loses the lease, dies without a word, or hands over; files raise its epoch now and then.
          const end = Promise.race([lost, delay(random() * LEASE_MS * 8)]);
          let over = false;
          void end.then(() => {
            over = true;
          });
          while (!over) {
            await Promise.race([end, delay(random() * LEASE_MS * 4)]);
            if (over || (await Promise.race([end, lease.raise(lease.epoch)])) !== 'raised') break;
            epochs.push(lease.epoch);
          }
          await end;
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
      expect(led, `seed ${seed}: a process leads`).toBeGreaterThan(10);
      expect(new Set(epochs).size, `seed ${seed}: each epoch once`).toBe(epochs.length);
    }
  }, 120_000);

  it('never issues an epoch again that a file may have seen, also after Redis lost its data', async () => {
    const redis = new ModelRedis();
    const link = createLink(redis, () => 0.5, 0);
    const acquire = async () => {
      const lease = createLease(link);
      const acquiring = lease.acquire(new AbortController().signal);
      // As long as necessary: the lease of the one before has to expire.
      while (lease.epoch === 0) await vi.advanceTimersByTimeAsync(10);
      expect(await acquiring).toBe(true);
      return lease;
    };
    const first = await acquire();
    expect(first.epoch).toBe(1);
    const raising = first.raise(40);
    await vi.advanceTimersByTimeAsync(100);
    expect(await raising).toBe('raised');
    expect(first.epoch).toBe(41);
    redis.wipe();
    const second = await acquire();
    expect(second.epoch).toBe(42);
    expect(readFileSync(join(dataDir, 'epoch'), 'utf8')).toBe('42\n');
    // The first has lost it, whatever it believes.
    const again = first.raise(50);
    await vi.advanceTimersByTimeAsync(100);
    expect(await again).toBe('overtaken');
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
    // No other process acquired it: it continues, under the same epoch.
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

  it('is not lost by a renewal that overlaps a raised epoch, nor by an answer that is lost', async () => {
    const redis = new ModelRedis();
    let loses = false;
    const link = {
      async run(script: Script, args: readonly (string | number)[]) {
        await delay(LEASE_MS / 10);
        const reply = redis.execute(script, args);
        await delay(LEASE_MS / 10);
        if (loses && script === raiseEpoch) {
          loses = false;
          throw new Error('connection lost after');
        }
        return reply;
      },
      ready: async () => {},
      async retryUntilDone<Result>(attempt: () => Promise<Result>) {
        return attempt().catch(() => attempt());
      },
    } as unknown as RedisLink;
    const lease = createLease(link);
    const acquiring = lease.acquire(new AbortController().signal);
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect(await acquiring).toBe(true);
    const onLost = vi.fn();
    lease.keep(onLost);
    for (let above = 10; above < 200; above += 10) {
      loses = above % 20 === 0;
      const raising = lease.raise(above);
      await vi.advanceTimersByTimeAsync(LEASE_MS * 1.03);
      expect(await raising).toBe('raised');
      expect([onLost.mock.calls.length, lease.held]).toEqual([0, true]);
      expect((JSON.parse(redis.lease ?? '{}') as LeaseRecord).epoch).toBe(lease.epoch);
    }
    const releasing = lease.release();
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    await releasing;
    expect(redis.lease).toBeUndefined();
  });

  it('is abandoned where another broker raises epochs for the same files under another Redis', async () => {
    const leases = [new ModelRedis(), new ModelRedis()].map(redis => {
      const link = {
        run: async (script: Script, args: readonly (string | number)[]) => redis.execute(script, args),
        ready: async () => {},
        retryUntilDone: <Result>(attempt: () => Promise<Result>) => attempt(),
      } as unknown as RedisLink;
      return createLease(link);
    });
    let fileEpoch = 0;
    for (const lease of leases) expect(await lease.acquire(new AbortController().signal)).toBe(true);
    const startedAt = performance.now();
    let raises = 0;
    let last: string;
    do {
      const lease = leases[raises++ % 2]!;
      const raising = lease.raise(fileEpoch);
      await vi.advanceTimersByTimeAsync(2_000);
      last = await raising;
      fileEpoch = Math.max(fileEpoch, lease.epoch);
    } while (last === 'raised' && raises < 100);
    expect(last).toBe('contested');
    expect(raises).toBeLessThanOrEqual(12);
    expect(performance.now() - startedAt).toBeGreaterThan(1_500);
    // Files of another place are no contest, however many there are.
    const other = leases[raises % 2]!;
    for (let above = 1_000; above < 1_020; above++) {
      const raising = other.raise(above);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(await raising).toBe('raised');
    }
  });

  it('is acquired from a dead leader also where the clock of Redis was set back, and from no leader that lives', async () => {
    const redis = new ModelRedis();
    const link = {
      run: async (script: Script, args: readonly (string | number)[]) => redis.execute(script, args),
      ready: async () => {},
    } as unknown as RedisLink;
    let away = false;
    const first = createLease({
      async run(script: Script, args: readonly (string | number)[]) {
        if (away) throw new Error('It is dead');
        return redis.execute(script, args);
      },
    } as unknown as RedisLink);
    expect(await first.acquire(new AbortController().signal)).toBe(true);
    const onLost = vi.fn();
    first.keep(onLost);
    const standby = createLease(link);
    const acquiring = standby.acquire(new AbortController().signal);
    redis.clockMs = -3_600_000;
    await vi.advanceTimersByTimeAsync(LEASE_MS * 20);
    expect([first.held, standby.held, onLost.mock.calls.length]).toEqual([true, false, 0]);
    // It dies: nothing renews the lease, whose life in Redis is an hour now.
    redis.clockMs = -7_200_000;
    away = true;
    const diedAt = performance.now();
    while (!standby.held && performance.now() < diedAt + 10 * LEASE_MS) {
      expect(first.held && standby.held).toBe(false);
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(await acquiring).toBe(true);
    expect(performance.now() - diedAt).toBeLessThan(LEASE_MS * 1.1 + 400);
    // Set forward, it may end a lease too early: then another leads, under a newer epoch.
    standby.keep(onLost);
    redis.clockMs = 3_600_000;
    const third = createLease(link);
    expect(await third.acquire(new AbortController().signal)).toBe(true);
    third.keep(onLost);
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect([standby.held, third.held, third.epoch > standby.epoch]).toEqual([false, true, true]);
  });

  it('of an older broker, whose renewals do not show, lasts as long as Redis says', async () => {
    const redis = new ModelRedis();
    const link = {
      run: async (script: Script, args: readonly (string | number)[]) => redis.execute(script, args),
      ready: async () => {},
    } as unknown as RedisLink;
    redis.execute(acquireLease, ['', '', 0, LEASE_MS * 10, '', '"broker":"b-old","processes":"","pid":1}']);
    const lease = createLease(link);
    const stop = new AbortController();
    const acquiring = lease.acquire(stop.signal);
    await vi.advanceTimersByTimeAsync(LEASE_MS * 9);
    expect(lease.held).toBe(false);
    await vi.advanceTimersByTimeAsync(LEASE_MS * 2);
    expect(await acquiring).toBe(true);
    await lease.release();
  });
});
