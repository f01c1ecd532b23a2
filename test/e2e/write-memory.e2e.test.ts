import { readFileSync } from 'node:fs';
import { groupKeys, LIMITS, tenantFile } from '@onewriter/protocol';
import { connect, OnewriterError } from '@onewriter/sdk';
import {
  type Service,
  startRedis,
  startService,
  startStack,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isWriteLocked } from '../faults/write-lock.ts';

const MIB = 1_024 * 1_024;
/** A value of 1 GB. */
const HEAVY = "INSERT INTO t(n) SELECT length(replace(hex(zeroblob(50000000)), '0', 'xxxxxxxxxx'))";
/** Takes the thread most of a second, and inserts 1. */
const OCCUPYING =
  'INSERT INTO t(n) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 3000000) SELECT i FROM c WHERE i = 1';
/** Runs until its broker ends, and takes no memory. */
const SLOW =
  'INSERT INTO t(n) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c) SELECT i FROM c WHERE i < 0';
/** What a broker has without a heavy statement, on a machine with few cores, and what is taken between two looks. */
const REST_MIB = 600;

/** Deaths of a process in which only one job was in a thread, after which that job is set aside. */
const KILLS_TO_CONDEMN = 3;

const codeOf = (error: unknown) => (error instanceof OnewriterError ? error.code : String(error));

function peakMib(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;
  } catch {
    return 0; // it has ended
  }
}

describe('a write that takes too much memory', () => {
  it('is refused with a code; what shared its job or its process is done', async () => {
    const limitMib = 128;
    const stack = await startStack({ env: { ONEWRITER_WRITE_MEMORY_BYTES: String(limitMib * MIB) } });
    onTestFinished(async () => void (await stack.stop()));
    const client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
    onTestFinished(() => client.close({ timeoutMs: 1_000 }));
    const second = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
    onTestFinished(() => second.close({ timeoutMs: 1_000 }));
    const [bad, other] = [client.tenant('bad'), client.tenant('other')];
    for (const db of [bad, other]) await db.exec('CREATE TABLE t(n INTEGER)');
    let done = false;
    let others = 0;
    const writing = (async () => {
      for (; !done; others++) await other.prepare('INSERT INTO t(n) VALUES (?)').run(others);
    })();
    const { broker } = stack.currentPids();
    let peak = 0;
    const sampling = setInterval(() => {
      peak = Math.max(peak, peakMib(broker));
    }, 5);
    onTestFinished(() => clearInterval(sampling));

    const insert = 'INSERT INTO t(n) VALUES (?)';
    // What comes while it runs is the next batch: a job with the heavy write, and one of another client.
    const opening = bad.prepare(OCCUPYING).run();
    const before = bad.prepare(insert).run(2);
    const heavy = bad.prepare(HEAVY).run().catch(codeOf);
    const after = bad.prepare(insert).run(3);
    const beside = second.tenant('bad').prepare(insert).run(4);
    expect(await heavy).toBe('STATEMENT_TOO_COSTLY');
    await Promise.all([opening, before, after, beside]);
    done = true;
    await writing;

    expect(await bad.prepare('SELECT n FROM t ORDER BY n').all()).toEqual([1, 2, 3, 4].map(n => ({ n })));
    expect(await other.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: others });
    const logs = stack.logs();
    // Twice where Redis was too slow for the note, on a busy machine.
    expect(logs.split('uses more memory than a write may').length).toBeLessThanOrEqual(3);
    expect(logs.split('broker ended to be replaced').length).toBeLessThanOrEqual(3);
    expect(logs).not.toContain('broker ended (');
    expect(peak).toBeGreaterThan(limitMib);
    expect(peak).toBeLessThan(limitMib + REST_MIB);
    const redis = new Redis(stack.redisUrl);
    onTestFinished(() => redis.disconnect());
    // Its culprit was known: no other job counts as one that ended its process.
    expect(await redis.hgetall(groupKeys('default').starts)).toEqual({});
  });
});

describe('a job whose thread was the only one at work when its broker was killed', () => {
  it('runs in a process of its own then, beside which others are served, and is set aside after two more', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.stop());
    const data = await temporaryDirectory('killed');
    onTestFinished(() => data.remove());
    const commands = new Redis(redis.url);
    onTestFinished(() => commands.disconnect());
    const startBroker = async () => {
      const env = { ONEWRITER_STATEMENT_TIMEOUT_MS: '100000' };
      const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path, env });
      onTestFinished(async () => void (await broker.stop()));
      return broker;
    };
    const facts = async (broker: Service) =>
      (await (await fetch(`${broker.url}/readyz`)).json()) as { busyLanes: number; tenantApart?: string };
    const client = await connect({ redis: redis.url, dataDir: data.path });
    onTestFinished(() => client.close({ timeoutMs: 1_000 }));
    const [bad, other] = [client.tenant('bad'), client.tenant('other')];
    let broker = await startBroker();
    for (const db of [bad, other]) await db.exec('CREATE TABLE t(n INTEGER)');
    const slow = bad.prepare(SLOW, { timeoutMs: 100_000 }).run().catch(codeOf);
    const starts: number[] = [];
    for (let kills = 0; kills < KILLS_TO_CONDEMN; kills++) {
      await waitFor(() => isWriteLocked(tenantFile(data.path, 'bad')), {
        what: 'the statement to run',
        timeoutMs: 30_000,
      });
      starts.push(...Object.values(await commands.hgetall(groupKeys('default').starts)).map(Number));
      await other.prepare('INSERT INTO t(n) VALUES (1)', { timeoutMs: 100_000 }).run();
      // The thread of the other one has come to rest, and that of the statement has not.
      const isApart = kills > 0;
      await waitFor(async () => (await facts(broker)).busyLanes === (isApart ? 0 : 1), {
        what: 'one at work',
      });
      expect((await facts(broker)).tenantApart).toBe(isApart ? 'bad' : undefined);
      broker.kill('SIGKILL');
      await broker.exited;
      // Its process apart ends with it, in the middle of the statement.
      if (isApart)
        await waitFor(() => !isWriteLocked(tenantFile(data.path, 'bad')), { what: 'the file to be free' });
      broker = await startBroker();
    }
    expect(await slow).toBe('POISON_JOB');
    expect(starts).toEqual([LIMITS.maxJobStarts - 1, LIMITS.maxJobStarts]);
    expect(await other.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 3 });
  });
});
