import { type RedisLink, TenantQueue } from '@onewriter/broker';
import { tenantQueue } from '@onewriter/protocol';
import { openRedis } from '@onewriter/runtime';
import { createRandom, type Random, startRedis, type TestRedis } from '@onewriter/testkit';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/*
 * A tenant's queue on a real Redis, whose commands are lost with their connection and executed later: what was sent stays in
 * the buffers of the server, or behind a blocking pop, while its sender has a new connection and continues.
 */

const GROUP = 'late';
const BROKER = 'b-late';
const BOUNDS = { maxJobs: 3, maxBytes: 1_000_000 };

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

type Script = Parameters<RedisLink['run']>[0];

/** Loses one command in some, which is then executed at a later {@link deliver}, or never. */
class LateLink {
  lossRate = 0;
  /** The next command is lost, and executed by {@link deliver} only. */
  loseNext = false;
  readonly #random: Random;
  readonly #late: { script: Script; args: readonly (string | number)[] }[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  asLink(): RedisLink {
    return { run: this.#run.bind(this) } as unknown as RedisLink;
  }

  /** Executes one of those that were lost. */
  async deliver(): Promise<void> {
    const { length } = this.#late;
    if (length === 0) return;
    const [command] = this.#late.splice(this.#random.integer(length), 1);
    await this.#execute(command!.script, command!.args);
  }

  async #run(script: Script, args: readonly (string | number)[]): Promise<unknown> {
    if (this.loseNext) {
      this.loseNext = false;
      this.#late.push({ script, args });
      throw new Error('connection lost');
    }
    if (this.lossRate > 0 && this.#random.oneIn(this.lossRate)) {
      const isExecuted = this.#random.oneIn(3);
      if (isExecuted) await this.#execute(script, args);
      else this.#late.push({ script, args });
      throw new Error('connection lost');
    }
    return this.#execute(script, args);
  }

  #execute({ lua, keys }: Script, args: readonly (string | number)[]): Promise<unknown> {
    return redis.eval(lua, keys, ...args);
  }
}

/** What a session does with a queue, and what it may rely on. */
class Session {
  readonly held: string[] = [];
  readonly link: LateLink;
  readonly #random: Random;
  readonly #queue: TenantQueue;
  readonly #leader = { broker: BROKER, epoch: 7 };
  readonly #key: (name: string) => string;
  readonly #withdrawn = new Set<string>();
  readonly #failed = new Set<string>();
  #stale = true;
  #added = 0;
  #doubt = false;
  #forgetting: string | undefined;

  constructor(tenant: string, random: Random) {
    const { prefix, name } = tenantQueue(GROUP, tenant);
    this.#key = key => `${prefix}:${name}:${key}`;
    this.#random = random;
    this.link = new LateLink(random);
    this.#queue = new TenantQueue(this.link.asLink(), GROUP, tenant, this.#leader);
  }

  /** By a client. */
  async add(): Promise<void> {
    const id = `w-${String(++this.#added).padStart(6, '0')}`;
    await redis.hset(this.#key(id), 'name', 'write', 'data', '{}', 'timestamp', this.#added);
    await redis.lpush(this.#key('wait'), id);
  }

  /** By a client: the job will not run. */
  async withdraw(): Promise<void> {
    const id = this.#random.pick([...(await this.#list('wait')), '']);
    if (id === '' || (await redis.lrem(this.#key('wait'), 0, id)) === 0) return;
    await redis.del(this.#key(id));
    this.#withdrawn.add(id);
  }

  async take(): Promise<void> {
    try {
      if (this.#stale) await this.#adopt();
      else this.#hold((await this.#queue.fetch(BOUNDS)).jobs);
    } catch {
      this.#stale = true;
    }
  }

  async #adopt(): Promise<void> {
    // Both are sent before the first is answered; and both may be late.
    const [adopted, taken] = await Promise.all([this.#queue.reclaim(), this.#queue.fetch(BOUNDS)]);
    this.#stale = false;
    this.#doubt ||= adopted.doubtUntil > 0;
    this.#hold(adopted.jobs.filter(({ id }) => !this.held.includes(id)));
    this.#hold(taken.jobs);
  }

  #hold(jobs: readonly { readonly id: string }[]): void {
    this.held.push(...jobs.map(({ id }) => id));
  }

  async finish(state: 'completed' | 'failed'): Promise<void> {
    const id = this.held[0];
    if (id === undefined) return;
    const finished = [{ id, state, value: '' }];
    const { refused } = await this.#insist(() => this.#queue.finish(finished, undefined));
    if (refused.length > 0) this.#stale = true;
    else {
      this.held.shift();
      if (state === 'failed') this.#failed.add(id);
    }
  }

  async giveBack(): Promise<void> {
    if (this.#stale || this.held.length === 0) return;
    const doubt = this.#random.oneIn(2);
    await this.#insist(() => this.#queue.requeue(this.held, doubt ? Number.POSITIVE_INFINITY : 0));
    this.held.length = 0;
    if (doubt) this.#doubt = true;
  }

  /** Not awaited by a session: other commands come between its tries. */
  async forgetDoubt(): Promise<void> {
    if (this.#forgetting === undefined) {
      if (this.#stale) return;
      this.#forgetting = this.#queue.doubtMark;
      this.#doubt = false;
    }
    try {
      await this.#queue.forgetDoubt(this.#forgetting);
      this.#forgetting = undefined;
    } catch {} // tried again
  }

  /** As of a job that took long on a machine that was stopped. */
  async loseLock(): Promise<void> {
    if (this.held.length > 0) await redis.del(this.#key(`${this.#random.pick(this.held)}:lock`));
  }

  /** As for a file of another tenant that was restored. */
  raise(): void {
    this.#leader.epoch++;
  }

  async check(): Promise<void> {
    const [wait, active, failed] = await Promise.all([
      this.#list('wait'),
      this.#list('active'),
      redis.zrange(this.#key('failed'), '0', '-1'),
    ]);
    const held = [...this.held];
    expect(held).toEqual(held.toSorted());
    if (this.#stale) expect(active).toEqual(expect.arrayContaining(held));
    else {
      expect(active).toEqual(held);
      // Nothing overtakes.
      if (wait.length > 0 && held.length > 0) expect(wait[0]! > held.at(-1)!).toBe(true);
    }
    // A fetched job cannot be withdrawn, and a withdrawn job does not run.
    expect(wait.filter(id => held.includes(id))).toEqual([]);
    expect(held.filter(id => this.#withdrawn.has(id))).toEqual([]);
    expect(failed.filter(id => !this.#failed.has(id))).toEqual([]);
    if (this.#doubt && this.#forgetting === undefined)
      expect(await redis.hget(this.#key('meta'), 'onewriter.doubt')).toBe('1');
  }

  /** Oldest first. */
  async #list(name: string): Promise<string[]> {
    return (await redis.lrange(this.#key(name), 0, -1)).toReversed();
  }

  async #insist<Result>(attempt: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if ((error as Error).message !== 'connection lost') throw error;
      }
    }
  }
}

describe('commands that Redis executes long after their connection broke', () => {
  it.each(Array.from({ length: 20 }, (_, index) => index + 1))(
    'take nothing behind the back of the session, and undo nothing (seed %i)',
    async seed => {
      const random = createRandom(seed);
      const session = new Session(`seed-${seed}`, random);
      session.link.lossRate = 4;
      for (let step = 0; step < 400; step++) {
        const kind = random.weighted({
          add: 8,
          withdraw: 1,
          take: 8,
          completed: 5,
          failed: 2,
          giveBack: 3,
          forgetDoubt: 1,
          loseLock: 1,
          raise: 1,
          deliver: 6,
        });
        if (kind === 'completed' || kind === 'failed') await session.finish(kind);
        else if (kind === 'deliver') await session.link.deliver();
        else await session[kind]();
        await session.check();
      }
    },
  );

  it('take no job that the session would not know of, after which others would be taken', async () => {
    const { link, queue, key } = await openQueue('take', 4);
    await queue.reclaim();
    link.loseNext = true;
    await expect(queue.fetch({ ...BOUNDS, maxJobs: 1 })).rejects.toThrow('connection lost');
    expect((await queue.reclaim()).jobs).toEqual([]);
    expect((await queue.fetch({ ...BOUNDS, maxJobs: 1 })).jobs.map(({ id }) => id)).toEqual(['w-0']);
    await link.deliver();
    expect(await redis.lrange(key('active'), 0, -1)).toEqual(['w-0']);
    expect((await queue.fetch({ ...BOUNDS, maxJobs: 1 })).jobs.map(({ id }) => id)).toEqual(['w-1']);
  });

  it('fail no job that was reclaimed since, and may be committed', async () => {
    const { link, queue, key } = await openQueue('fail', 1);
    await queue.reclaim();
    const [job] = (await queue.fetch(BOUNDS)).jobs;
    const failed = [{ id: job!.id, state: 'failed' as const, value: 'no' }];
    link.loseNext = true;
    await expect(queue.finish(failed, undefined)).rejects.toThrow('connection lost');
    // Its lock ran out meanwhile: it is read again, and applied.
    await redis.del(key(`${job!.id}:lock`));
    expect((await queue.finish(failed, undefined)).refused).toEqual([job!.id]);
    expect((await queue.reclaim()).jobs.map(({ id }) => id)).toEqual([job!.id]);
    await link.deliver();
    expect(await redis.lrange(key('active'), 0, -1)).toEqual([job!.id]);
    expect(await redis.zcard(key('failed'))).toBe(0);
    expect((await queue.finish(failed, undefined)).refused).toEqual([]);
  });
});

async function openQueue(tenant: string, jobs: number) {
  const { prefix, name } = tenantQueue(GROUP, tenant);
  const key = (each: string) => `${prefix}:${name}:${each}`;
  for (let n = 0; n < jobs; n++) {
    await redis.hset(key(`w-${n}`), 'data', '{}', 'timestamp', n);
    await redis.lpush(key('wait'), `w-${n}`);
  }
  const link = new LateLink(createRandom(1));
  const queue = new TenantQueue(link.asLink(), GROUP, tenant, { broker: BROKER, epoch: 7 });
  return { link, queue, key };
}
