import { RedisLink, TenantQueue } from '@onewriter/broker';
import { OnewriterError, uuidv7 } from '@onewriter/protocol';
import { createLogger, openRedis } from '@onewriter/runtime';
import {
  ADD_HOLD,
  holdKeys,
  isTenantPaused,
  markPaused,
  RELEASE_FILE,
  REMOVE_HOLD,
  RENEW_HOLD,
  readHolders,
  resumeTenant,
  withHeldTenant,
} from '@onewriter/tenants';
import { createRandom, startRedis, type TestRedis } from '@onewriter/testkit';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

/* The scripts of holds against a model, on a real Redis. */

const GROUP = 'holds';
const LIFE_MS = 60_000;

let server: TestRedis;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = await openRedis(server.url);
});

afterAll(async () => {
  redis?.disconnect();
  await server?.stop();
});

interface ModelHold {
  readonly id: string;
  readonly exclusive: boolean;
  readonly pauseIfLost: boolean;
  /** It may have begun to change files. */
  changing: boolean;
  expired: boolean;
}

/** A tenant in Redis, and what is expected of it. */
class Model {
  readonly keys: ReturnType<typeof holdKeys>;
  holds: ModelHold[] = [];
  paused = false;
  readonly #tenant: string;

  constructor(tenant: string) {
    this.#tenant = tenant;
    this.keys = holdKeys(GROUP, tenant);
  }

  /** @param hasPhase false: as an older version does */
  async add(exclusive: boolean, pauseIfLost: boolean, hasPhase: boolean): Promise<void> {
    const id = uuidv7();
    const phase = hasPhase ? 'preparing' : undefined;
    const json = JSON.stringify({ name: 'restore', who: 'w', reason: '', exclusive, pauseIfLost, phase });
    const other = await redis.eval(ADD_HOLD, 2, this.keys.holds, this.keys.meta, id, LIFE_MS, json);
    const isExcluded = exclusive && this.holds.some(hold => hold.exclusive && !hold.expired);
    expect(other !== '').toBe(isExcluded);
    // Sent again, as after a connection that broke before the answer: no hold excludes itself.
    const again = await redis.eval(ADD_HOLD, 2, this.keys.holds, this.keys.meta, id, LIFE_MS, json);
    expect(again !== '').toBe(isExcluded);
    if (!isExcluded) this.holds.push({ id, exclusive, pauseIfLost, changing: !hasPhase, expired: false });
  }

  async renew(hold: ModelHold, phase = ''): Promise<void> {
    const { holds, meta } = this.keys;
    const renewed = await redis.eval(RENEW_HOLD, 2, holds, meta, hold.id, LIFE_MS, phase);
    expect(renewed).toBe(hold.expired ? 0 : 1);
  }

  async change(hold: ModelHold): Promise<void> {
    await this.renew(hold, 'changing');
    hold.changing ||= !hold.expired;
  }

  async remove(hold: ModelHold): Promise<void> {
    this.holds = this.holds.filter(other => other !== hold);
    const left = await redis.eval(REMOVE_HOLD, 2, this.keys.holds, this.keys.meta, hold.id);
    expect(left).toBe(this.holds.length);
  }

  /** As time does. */
  async expire(hold: ModelHold): Promise<void> {
    hold.expired = true;
    const json = (await redis.hget(this.keys.holds, hold.id))!;
    await redis.hset(this.keys.holds, hold.id, JSON.stringify({ ...JSON.parse(json), expiresAt: 1 }));
  }

  async pause(): Promise<void> {
    this.paused = true;
    await markPaused(redis, GROUP, this.#tenant, 'alice');
  }

  async resume(): Promise<void> {
    this.paused = false;
    await resumeTenant(redis, GROUP, this.#tenant);
  }

  /** As a broker does that closed the file. */
  async release(): Promise<void> {
    const lost = this.holds.filter(({ expired }) => expired);
    this.holds = this.holds.filter(({ expired }) => !expired);
    this.paused ||= lost.some(({ pauseIfLost, changing }) => pauseIfLost && changing);
    const { wait, active, meta, holds, prefix } = this.keys;
    const [state, , gone] = (await redis.eval(RELEASE_FILE, 4, wait, active, meta, holds, prefix, 1)) as [
      number,
      number,
      string[],
    ];
    expect([state, gone.length]).toEqual([this.holds.length > 0 ? 1 : 0, lost.length]);
    expect(await redis.hexists(meta, 'onewriter.released')).toBe(state);
  }

  /** What the scripts that fetch jobs read, and what people see. */
  async check(): Promise<void> {
    const [count, paused] = await redis.hmget(this.keys.meta, 'onewriter.holds', 'paused');
    expect(count).toBe(this.holds.length === 0 ? null : String(this.holds.length));
    expect(paused !== null).toBe(this.paused);
    const [holders] = await readHolders(redis, GROUP, [this.#tenant]);
    const alive = this.holds.filter(({ expired }) => !expired).length;
    expect(holders!.length).toBe(alive + Number(this.paused));
    if (this.holds.length === 0) expect(await redis.hexists(this.keys.meta, 'onewriter.released')).toBe(0);
  }
}

describe('holds', () => {
  it.each([1, 2, 3, 4, 5])(
    'end one by one, whatever is paused and resumed meanwhile, and never another (seed %i)',
    async seed => {
      const random = createRandom(seed);
      const model = new Model(`seed-${seed}`);
      for (let step = 0; step < 300; step++) {
        const kind = random.weighted({
          add: 5,
          renew: 3,
          change: 2,
          remove: 4,
          expire: 1,
          pause: 2,
          resume: 2,
          release: 3,
        });
        const hold = model.holds.length > 0 ? random.pick(model.holds) : undefined;
        if (kind === 'add') await model.add(random.oneIn(2), random.oneIn(2), !random.oneIn(4));
        else if (kind === 'pause' || kind === 'resume' || kind === 'release') await model[kind]();
        else if (hold !== undefined) await model[kind](hold);
        await model.check();
      }
    },
  );

  it('put what a leader that is gone had back into the queue, the oldest first, and keep an older leader out', async () => {
    const { wait, active, meta, holds, prefix } = holdKeys(GROUP, 'order');
    // Oldest at the tail of each: 1 and 2 are active, 3 and 4 wait.
    await redis.rpush(active, '2', '1');
    await redis.rpush(wait, '4', '3');
    await redis.hset(meta, 'onewriter.epoch', 5);
    await redis.eval(ADD_HOLD, 2, holds, meta, 'id', LIFE_MS, JSON.stringify({ exclusive: true }));
    const release = (epoch: number) => redis.eval(RELEASE_FILE, 4, wait, active, meta, holds, prefix, epoch);
    expect(await release(4)).toEqual([-2, 5, []]);
    expect(await redis.hexists(meta, 'onewriter.released')).toBe(0);
    expect(await release(6)).toEqual([1, 4, [], expect.closeTo(LIFE_MS, -4)]);
    expect(await redis.lrange(wait, 0, -1)).toEqual(['4', '3', '2', '1']);
    expect(await redis.lrange(active, 0, -1)).toEqual([]);
    expect(await redis.hmget(meta, 'onewriter.epoch', 'onewriter.doubt')).toEqual(['6', '1']);
  });

  it('of a file that was opened again are not answered by a word that was sent before', async () => {
    const { wait, active, meta, holds, prefix } = holdKeys(GROUP, 'opened');
    const add = (id: string) =>
      redis.eval(ADD_HOLD, 2, holds, meta, id, LIFE_MS, JSON.stringify({ exclusive: true }));
    const release = (word: string | number) =>
      redis.eval(RELEASE_FILE, 4, wait, active, meta, holds, prefix, word);
    await add('first');
    expect(await release('5.2')).toEqual([1, 0, [], expect.closeTo(LIFE_MS, -4)]);
    await redis.eval(REMOVE_HOLD, 2, holds, meta, 'first');
    // The leader reclaims the queue, opens the file and fetches a job; then another wants to hold the tenant.
    await redis.hset(meta, 'onewriter.epoch', '5.4');
    await redis.lpush(active, 'w-1');
    await add('second');
    expect(await release('5.3')).toEqual([-3, 0, []]);
    expect(await redis.hexists(meta, 'onewriter.released')).toBe(0);
    expect(await redis.lrange(active, 0, -1)).toEqual(['w-1']);
    expect(await release('5.5')).toEqual([1, 1, [], expect.closeTo(LIFE_MS, -4)]);
    // Numbers, not letters, are compared.
    expect(await release('5.10')).toEqual([1, 1, [], expect.closeTo(LIFE_MS, -4)]);
    expect(await release('5.9')).toEqual([-3, 0, []]);
    // Where no broker leads, the epoch alone is enough: the last leader reclaims before it fetches.
    expect(await release(5)).toEqual([1, 1, [], expect.closeTo(LIFE_MS, -4)]);
    expect(await redis.hget(meta, 'onewriter.epoch')).toBe('5');
  });

  it('that found no leader leave their names until one has closed the file, and it reclaims nothing before', async () => {
    const { wait, active, meta, holds, prefix } = holdKeys(GROUP, 'stood-still');
    const link = new RedisLink({ url: server.url, log: createLogger('test', 'silent'), name: 'test' });
    onTestFinished(() => link.close());
    await link.ready();
    const queue = new TenantQueue(link, GROUP, 'stood-still', { broker: 'b-1', epoch: 5 });
    await queue.reclaim();
    const hold = { name: 'pause', exclusive: false };
    await redis.eval(ADD_HOLD, 2, holds, meta, 'id', LIFE_MS, JSON.stringify(hold));
    const release = (word: string | number) =>
      redis.eval(RELEASE_FILE, 4, wait, active, meta, holds, prefix, word);
    await release(5);
    await redis.eval(REMOVE_HOLD, 2, holds, meta, 'id');
    // The leader whose lease had run out is back, with the file open.
    await expect(queue.fetch({ maxJobs: 1, maxBytes: 1 })).rejects.toThrow('reclaimed first');
    expect(await queue.reclaim()).toMatchObject({ held: true });
    expect(await redis.hget(meta, 'onewriter.unled')).toBe('pause');
    expect(await release(`5.${Number.MAX_SAFE_INTEGER - 1}`)).toEqual([0, 0, []]);
    expect(await redis.hexists(meta, 'onewriter.unled')).toBe(0);
  });

  it('are had where no broker leads, and are lost with the data of Redis', async () => {
    const hold = { name: 'restore', who: 'w', reason: '', exclusive: true } as const;
    const lost = withHeldTenant(redis, GROUP, 'unled', hold, async held => {
      await held.assertHeld();
      await expect(withHeldTenant(redis, GROUP, 'unled', hold, async () => {})).rejects.toThrow(
        OnewriterError,
      );
      await redis.flushall();
      await held.assertHeld();
    });
    await expect(lost).rejects.toMatchObject({
      code: 'TENANT_UNAVAILABLE',
      details: { reason: 'the hold was lost' },
    });
    expect(await isTenantPaused(redis, GROUP, 'unled')).toBe(false);
    const needsLeader = withHeldTenant(redis, GROUP, 'unled', { ...hold, needsLeader: true }, async () => {});
    await expect(needsLeader).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
  });

  it('are had by a holder whose connection broke before the answer, and left by one that heard of none', async () => {
    const hold = { name: 'restore', who: 'w', reason: '', exclusive: true, pauseIfLost: true } as const;
    const connection = redis.duplicate();
    try {
      const send = connection.eval.bind(connection) as Redis['eval'];
      // The client of Redis sends a command again that had no answer.
      connection.eval = (async (...args: Parameters<Redis['eval']>) => {
        await send(...args);
        return send(...args);
      }) as Redis['eval'];
      await withHeldTenant(connection, GROUP, 'broken', hold, held => held.assertHeld());
      expect(await readHolders(redis, GROUP, ['broken'])).toEqual([[]]);

      const lost = new Error('Command timed out');
      let sent = 0;
      connection.eval = (async (...args: Parameters<Redis['eval']>) => {
        const answer = await send(...args);
        if (++sent === 1) throw lost;
        return answer;
      }) as Redis['eval'];
      const work = withHeldTenant(connection, GROUP, 'broken', hold, async () => {});
      await expect(work).rejects.toBe(lost);
      expect(await readHolders(redis, GROUP, ['broken'])).toEqual([[]]);
    } finally {
      connection.disconnect();
    }
  });
});
