import { groupKeys, LIMITS } from '@onewriter/protocol';
import type { Logger } from '@onewriter/runtime';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../../test-support/random.ts';
import type { RedisLink } from '../queue/redis-link.ts';
import { chooseBatch } from '../tenant/session/batch-choice.ts';
import { PoisonedJobs } from './poisoned-jobs.ts';

const keys = groupKeys('default');
const log = { error: () => {} } as unknown as Logger;

/** The hashes of Redis that are used. */
class ModelLink {
  readonly hashes = new Map([
    [keys.starts, new Map<string, string>()],
    [keys.poisoned, new Map<string, string>()],
  ]);
  readonly redis = { hgetall: async (key: string) => Object.fromEntries(this.hashes.get(key)!) };

  retryUntilDone<Result>(attempt: () => Promise<Result>): Promise<Result> {
    return attempt();
  }

  async call(command: string, key: string, ...args: (string | number)[]): Promise<unknown> {
    const hash = this.hashes.get(key)!;
    if (command === 'HMGET') return args.map(field => hash.get(String(field)) ?? null);
    if (command === 'HKEYS') return [...hash.keys()];
    if (command === 'HSET') return hash.set(String(args[0]), String(args[1]));
    if (command === 'HDEL') return args.map(field => hash.delete(String(field)));
    throw new Error(`What does ${command} do?`);
  }
}

const open = (link: ModelLink) => new PoisonedJobs(link as unknown as RedisLink, 'default', log);

describe('crash counts of jobs', () => {
  it('poison a job that its process never survived, alone twice, and forget those that were near', async () => {
    const link = new ModelLink();
    for (let death = 1; death <= LIMITS.maxJobStarts + 1; death++) {
      const poisoned = open(link);
      await poisoned.load();
      // Two near it until it runs alone; one of them was finished, and no queue has it.
      const near = death < LIMITS.maxJobStarts ? ['near', 'finished'] : [];
      await poisoned.countLastCrashes({
        threads: [['poison'], near].filter(jobs => jobs.length > 0),
        apart: [],
      });
      const [poison, waiting] = await poisoned.crashCountsOf(['poison', 'waiting', 'near']);
      await poisoned.forgetUnclaimed();
      expect(waiting).toBe(0);
      if (death > LIMITS.maxJobStarts) {
        expect(poison).toBe(0);
        expect(poisoned.of('poison')).toMatchObject({ [-1]: { code: 'POISON_JOB' } });
      } else {
        expect(poison).toBe(death);
        expect(poisoned.mustRunApart(death)).toBe(death >= LIMITS.maxJobStarts - 2);
        expect(poisoned.maxTogether(death) === 1).toBe(death >= LIMITS.maxJobStarts - 1);
        expect(poisoned.of('poison')).toBeUndefined();
      }
      expect(link.hashes.get(keys.starts)!.has('finished')).toBe(false);
      if (death === LIMITS.maxJobStarts - 1) await poisoned.forget([{ id: 'near', crashCount: death }]);
    }
    const last = open(link);
    await last.load();
    expect([...link.hashes.get(keys.starts)!.keys()]).toEqual(['poison']);
    await last.forget([{ id: 'poison', crashCount: 0 }]);
    expect([...link.hashes.values()].map(({ size }) => size)).toEqual([0, 0]);
  });

  it('make jobs run alone at once whose thread was the only one at work', async () => {
    const link = new ModelLink();
    for (const [death, crashCounts] of [LIMITS.maxJobStarts - 1, LIMITS.maxJobStarts, 0].entries()) {
      const poisoned = open(link);
      await poisoned.load();
      await poisoned.countLastCrashes({ threads: [['poison']], apart: [] });
      expect(await poisoned.crashCountsOf(['poison'])).toEqual([crashCounts]);
      expect(poisoned.maxTogether(crashCounts) === 1).toBe(death < 2);
    }
    const beside = open(link);
    await beside.countLastCrashes({ threads: [['a', 'b'], ['c']], apart: [] });
    expect(await beside.crashCountsOf(['a', 'b', 'c'])).toEqual([1, 1, 1]);
  });

  it('count a job in the process apart once, and say nothing about those in threads', async () => {
    const link = new ModelLink();
    const poisoned = open(link);
    await poisoned.suspect(['suspect']);
    await poisoned.countLastCrashes({ threads: [['only']], apart: ['suspect'] });
    expect(await poisoned.crashCountsOf(['suspect', 'only'])).toEqual([
      LIMITS.maxJobStarts,
      LIMITS.maxJobStarts - 1,
    ]);
    await poisoned.countLastCrashes({ threads: [], apart: ['suspect'] });
    expect(poisoned.of('suspect')).toMatchObject({ [-1]: { code: 'POISON_JOB' } });
  });

  it('find the job of a crowd that ends its process in few deaths, and poison no other', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = createRandom(seed);
      const link = new ModelLink();
      const tenants = Array.from({ length: 2 }, (_, tenant) =>
        Array.from({ length: LIMITS.maxBatchJobs }, (__, job) => `${tenant}-${job}`),
      );
      const poison = tenants[0]![Math.floor(random() * LIMITS.maxBatchJobs)]!;
      let deaths = 0;
      let apart = 0;
      for (let isLiving = false; !isLiving; ) {
        const poisoned = open(link);
        await poisoned.load();
        const crashCounts = new Map<string, number>();
        for (const jobs of tenants) {
          for (const [index, count] of (await poisoned.crashCountsOf(jobs)).entries())
            crashCounts.set(jobs[index]!, count);
        }
        const nextBatch = (jobs: readonly string[]) => {
          const candidates = jobs.map(id => ({
            bytes: 1,
            maxTogether: poisoned.maxTogether(crashCounts.get(id)!),
          }));
          return jobs.slice(0, chooseBatch(candidates, { maxJobs: LIMITS.maxBatchJobs, maxBytes: 1e6 }));
        };
        isLiving = true;
        while (isLiving && tenants[0]!.length > 0) {
          const batch = nextBatch(tenants[0]!);
          const runsApart = poisoned.mustRunApart(crashCounts.get(batch[0]!)!);
          if (runsApart) apart++;
          if (batch.includes(poison) && poisoned.of(poison) === undefined) {
            const beside = runsApart ? [] : nextBatch(tenants[1]!);
            await open(link).countLastCrashes({
              threads: [batch, beside].filter(jobs => jobs.length > 0),
              apart: [],
            });
            deaths++;
            isLiving = false;
          } else tenants[0]!.splice(0, batch.length);
        }
        expect(deaths, `seed ${seed}`).toBeLessThanOrEqual(LIMITS.maxJobStarts + 1);
      }
      expect([...link.hashes.get(keys.poisoned)!.keys()], `seed ${seed}`).toEqual([poison]);
      // Six batches of a few jobs, and six jobs that run alone, one of them twice; not each of the 32.
      expect(apart, `seed ${seed}`).toBeLessThanOrEqual(14);
    }
  });

  it('make suspects run alone, and leave those that do', async () => {
    const link = new ModelLink();
    const poisoned = open(link);
    link.hashes.get(keys.starts)!.set('often', String(LIMITS.maxJobStarts));
    await poisoned.poison('bad', 0, { code: 'STATEMENT_TOO_COSTLY', message: 'Too much.' });
    await poisoned.suspect(['new', 'often', 'bad']);
    expect([...link.hashes.get(keys.starts)!]).toEqual([
      ['often', String(LIMITS.maxJobStarts)],
      ['new', String(LIMITS.maxJobStarts - 1)],
    ]);
  });

  it('are not counted for a partly poisoned job: its other writes run', async () => {
    const link = new ModelLink();
    const poisoned = open(link);
    const endless = { code: 'STATEMENT_TIMEOUT', message: 'It never ended.' };
    await poisoned.poison('job', 2, endless);
    for (let death = 1; death <= LIMITS.maxJobStarts + 1; death++) {
      expect((await poisoned.countCrash(['job', 'other']))[0]).toBe(0);
    }
    expect(poisoned.of('job')).toEqual({ 2: endless });
    expect([...link.hashes.get(keys.starts)!.keys()]).toEqual(['other']);
  });

  it('are forgotten by the next leader where no queue has the job any more', async () => {
    const link = new ModelLink();
    for (let job = 0; job < 2_500; job++) link.hashes.get(keys.starts)!.set(`done-${job}`, '1');
    link.hashes.get(keys.starts)!.set('active', '2');
    const poisoned = open(link);
    await poisoned.load();
    expect(await poisoned.crashCountsOf(['active'])).toEqual([2]);
    await poisoned.forgetUnclaimed();
    expect([...link.hashes.get(keys.starts)!]).toEqual([['active', '2']]);
  });
});
