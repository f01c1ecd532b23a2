import { mkdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { REDIS_PROBLEMS, RedisGuard, tenantsDir } from '@onewriter/protocol';
import { newRedis } from '@onewriter/runtime';
import { connect, type Onewriter, OnewriterError } from '@onewriter/sdk';
import {
  type Stack,
  type StartRedisOptions,
  startRedis,
  startSentinel,
  startService,
  startStack,
  startTcpProxy,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { Cluster, Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';
import { columnInFile } from './tenant-file.ts';

/* Redis as people run it: failovers by address and by Sentinel, clusters, users with few rights (docs/operations.md). */

const TENANTS = ['one', 'two', 'three'];
/** From a failover to the next commits. */
const RECOVERY_MS = 15_000;
const WRITE_TIMEOUT_MS = 8_000;
/** On a busy machine. */
const LATE_MS = 1_000;

async function ownRedis(options: StartRedisOptions = {}): Promise<TestRedis> {
  const redis = await startRedis({ appendonly: 'everysec', ...options });
  onTestFinished(() => redis.stop());
  return redis;
}

/** A connection of the test's own. */
function directly(url: string): Redis {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on('error', () => {}); // it connects again
  onTestFinished(() => redis.disconnect());
  return redis;
}

/** A primary and a replica that has all of it. */
async function startPair(): Promise<{ readonly primary: TestRedis; readonly replica: TestRedis }> {
  const primary = await ownRedis({ settings: { 'repl-diskless-sync-delay': '0' } });
  const replica = await ownRedis({
    settings: { replicaof: `127.0.0.1 ${primary.port}`, 'repl-diskless-sync-delay': '0' },
  });
  await awaitLink(directly(replica.url));
  return { primary, replica };
}

async function awaitLink(replica: Redis): Promise<void> {
  await waitFor(async () => (await replica.info('replication')).includes('master_link_status:up'), {
    what: 'the replica to follow',
    timeoutMs: 20_000,
  });
}

async function ownStack(redisUrl: string, args: readonly string[] = []): Promise<Stack> {
  const stack = await startStack({ redisUrl, args });
  onTestFinished(async () => void (await stack.stop()));
  return stack;
}

/** Writers that number their rows, until they are stopped; each write ends by its deadline. */
async function startLoad(redisUrl: string, dataDir: string) {
  const app = await connect({ redis: redisUrl, dataDir, writeTimeoutMs: WRITE_TIMEOUT_MS });
  const writers = TENANTS.map(tenant => createWriter(app, tenant));
  onTestFinished(async () => {
    await Promise.allSettled(writers.map(writer => writer.stop()));
    await app.close({ timeoutMs: 1_000 });
  });
  await Promise.all(writers.map(({ ready }) => ready));
  return {
    app,
    committed: () => Math.min(...writers.map(({ committed }) => committed.size)),
    /** Stops, and compares what was acknowledged with the files. */
    async judge() {
      await Promise.all(writers.map(writer => writer.stop()));
      for (const { tenant, committed, failed, unknown, slowestMs } of writers) {
        const rows = columnInFile(dataDir, tenant, 'SELECT n FROM numbers ORDER BY rowid') as number[];
        const there = new Set(rows);
        expect(rows.length, `${tenant}: rows twice`).toBe(there.size);
        expect(
          [...committed].filter(n => !there.has(n)),
          `${tenant}: lost`,
        ).toEqual([]);
        expect(
          [...failed].filter(n => there.has(n)),
          `${tenant}: false failures`,
        ).toEqual([]);
        expect(rows.filter(n => !committed.has(n) && !unknown.has(n))).toEqual([]);
        expect(slowestMs(), `${tenant}: slowest answer`).toBeLessThan(WRITE_TIMEOUT_MS + LATE_MS);
      }
    },
  };
}

function createWriter(app: Onewriter, tenant: string) {
  const db = app.tenant(tenant);
  const committed = new Set<number>();
  const failed = new Set<number>();
  const unknown = new Set<number>();
  let slowest = 0;
  let next = 1;
  let stopped = false;
  const ready = db.exec('CREATE TABLE numbers(n INTEGER)');
  const writeOn = async () => {
    await ready;
    while (!stopped) {
      const n = next++;
      const startedAt = performance.now();
      try {
        await db.prepare('INSERT INTO numbers VALUES (?)').run(n);
        committed.add(n);
      } catch (error) {
        if (!(error instanceof OnewriterError)) throw error;
        (error.code === 'OUTCOME_UNKNOWN' ? unknown : failed).add(n);
        if (error.code !== 'OUTCOME_UNKNOWN') expect(error.retryable, error.code).toBe(true);
        await pause(20); // a refusal without a connection comes at once
      }
      slowest = Math.max(slowest, performance.now() - startedAt);
    }
  };
  const done = Promise.all([writeOn(), writeOn(), writeOn(), writeOn()]);
  done.catch(() => {}); // stop() reports it
  const stop = async () => {
    stopped = true;
    await done;
  };
  return { tenant, committed, failed, unknown, ready, stop, slowestMs: () => slowest };
}

type Load = Awaited<ReturnType<typeof startLoad>>;

/** Every tenant is written again. @returns after how long */
async function awaitCommits(load: Load, more = 20): Promise<number> {
  const startedAt = performance.now();
  const before = load.committed();
  await waitFor(() => load.committed() >= before + more, { timeoutMs: RECOVERY_MS, what: 'further commits' });
  return performance.now() - startedAt;
}

async function readyz(url: string): Promise<{ status: string; reasons: string[] }> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3_000) });
  return (await response.json()) as { status: string; reasons: string[] };
}

describe('a failover', () => {
  it('behind one address, as by a label or a proxy, is followed by all, though connections stay open', async () => {
    const { primary, replica } = await startPair();
    await using proxy = await startTcpProxy(primary.port);
    const url = `redis://127.0.0.1:${proxy.port}`;
    const stack = await ownStack(url, ['--brokers', '2']);
    const load = await startLoad(url, stack.dataDir);
    await awaitCommits(load);
    for (const [from, to] of [
      [primary, replica],
      [replica, primary],
    ] as const) {
      await directly(from.url).call('FAILOVER', 'TO', '127.0.0.1', to.port);
      await waitFor(async () => (await directly(to.url).info('replication')).includes('role:master'));
      proxy.retarget(to.port);
      await awaitCommits(load);
      await awaitLink(directly(from.url));
    }
    await load.judge();
    expect(stack.logs()).toContain(REDIS_PROBLEMS.replica);
    for (const broker of stack.brokerUrls) {
      await waitFor(async () => (await readyz(broker)).status === 'ready', { what: 'ready brokers' });
    }
  });

  it('that turns the primary into a replica for a while is reported by every API, until it is the primary again', async () => {
    const { primary, replica } = await startPair();
    const stack = await ownStack(primary.url);
    const load = await startLoad(primary.url, stack.dataDir);
    await awaitCommits(load);
    const [one, two] = [directly(primary.url), directly(replica.url)];
    await two.replicaof('NO', 'ONE');
    await one.replicaof('127.0.0.1', replica.port);
    for (const url of [stack.brokerUrls[0]!, stack.gatewayUrl, stack.dashboardUrl]) {
      await waitFor(async () => (await readyz(url)).reasons.includes(REDIS_PROBLEMS.replica), {
        what: `${url} to tell of the replica`,
        timeoutMs: 15_000,
      });
    }
    await expect(load.app.ping()).rejects.toMatchObject({
      code: 'QUEUE_UNAVAILABLE',
      message: REDIS_PROBLEMS.replica,
    });
    await waitFor(() => stack.logs().includes('Still so after 10 connections'), { timeoutMs: 15_000 });
    const cli = await runCli(['status', '--data-dir', stack.dataDir]);
    expect(cli.stderr).toContain(REDIS_PROBLEMS.replica);
    const doctor = await runCli(['doctor', '--json', '--data-dir', stack.dataDir]);
    expect(doctor.code).toBe(3);
    expect(parseJson(doctor).diagnoses).toContainEqual(
      expect.objectContaining({ check: 'redis-role', level: 'error' }),
    );
    await one.replicaof('NO', 'ONE');
    await awaitCommits(load);
    await load.judge();
    for (const url of [stack.brokerUrls[0]!, stack.gatewayUrl, stack.dashboardUrl]) {
      await waitFor(async () => (await readyz(url)).status === 'ready', { what: `${url} to be ready` });
    }
  });

  it('that the Sentinels report while a connection is being made ends no connection', async () => {
    const { primary } = await startPair();
    await using sentinel = await startSentinel('main', primary.port);
    const guard = new RedisGuard({ warn: () => {}, error: () => {} });
    const redis = newRedis(`redis+sentinel://127.0.0.1:${sentinel.port}/main`, {}, guard);
    onTestFinished(() => redis.disconnect());
    redis.on('error', () => {}); // that it was closed
    // As ioredis does when it hears of a failover.
    (redis as unknown as { connector: { disconnect(): void } }).connector.disconnect();
    await waitFor(() => redis.status === 'ready', { what: 'a connection', timeoutMs: 10_000 });
    redis.disconnect();
    await waitFor(() => redis.status === 'end', { what: 'its end' });
  });

  it('by Sentinel, when the primary is killed, is followed by all', async () => {
    const { primary, replica } = await startPair();
    await using sentinel = await startSentinel('main', primary.port);
    // The first of the list is away.
    const url = `redis+sentinel://127.0.0.1:1,127.0.0.1:${sentinel.port}/main`;
    const stack = await ownStack(url, ['--brokers', '2']);
    const load = await startLoad(url, stack.dataDir);
    await awaitCommits(load);
    primary.kill();
    await waitFor(async () => (await sentinel.primaryPort()) === replica.port, {
      what: 'the Sentinel to promote the replica',
      timeoutMs: 30_000,
    });
    await awaitCommits(load);
    // What comes back as a primary is made a replica: all processes leave it, or never connect to it.
    await primary.restart();
    await awaitLink(directly(primary.url));
    await awaitCommits(load);
    await load.judge();
    const status = await runCli(['status', '--json', '--data-dir', stack.dataDir]);
    expect(status.stderr).toBe('');
    for (const broker of stack.brokerUrls) {
      await waitFor(async () => (await readyz(broker)).status === 'ready', { what: 'ready brokers' });
    }
  });
});

describe('a Redis in cluster mode', () => {
  it('is refused with the reason by every API', async () => {
    const redis = await ownRedis({ settings: { 'cluster-enabled': 'yes' } });
    const direct = directly(redis.url);
    await direct.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
    await waitFor(async () => (await direct.cluster('INFO')).includes('cluster_state:ok'));
    const refusal = { code: 'MISCONFIGURED', message: REDIS_PROBLEMS.cluster };
    await using data = await temporaryDirectory('cluster');
    const place = { redisUrl: redis.url, dataDir: data.path };

    await expect(connect({ redis: redis.url, dataDir: data.path })).rejects.toMatchObject(refusal);
    const cluster = new Cluster([redis.url], { lazyConnect: true });
    await expect(connect({ redis: cluster as never, dataDir: data.path })).rejects.toMatchObject(refusal);
    await expect(startService('broker', place)).rejects.toThrow(`Cannot start: ${REDIS_PROBLEMS.cluster}`);
    await expect(startService('gateway', place)).rejects.toThrow(`Cannot start: ${REDIS_PROBLEMS.cluster}`);
    const dashboard = await startService('dashboard', place);
    onTestFinished(async () => void (await dashboard.stop()));
    expect((await readyz(dashboard.url)).reasons).toEqual([REDIS_PROBLEMS.cluster]);
    mkdirSync(tenantsDir(data.path));
    const env = { ONEWRITER_REDIS_URL: redis.url, ONEWRITER_DATA_DIR: data.path };
    for (const args of [['status'], ['tenants'], ['up', '--redis-url', redis.url, '--data-dir', data.path]]) {
      expect(await runCli(args, { env })).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(REDIS_PROBLEMS.cluster),
      });
    }
    const doctor = parseJson(await runCli(['doctor', '--json'], { env }));
    expect(doctor.diagnoses).toContainEqual(
      expect.objectContaining({ check: 'redis-cluster', found: REDIS_PROBLEMS.cluster }),
    );
  });
});

describe('a Redis user with few rights', () => {
  // As in docs/operations.md; CONFIG is not among them, nor does a managed Redis have it.
  const RIGHTS = '~ow:* +@read +@write +@connection +@scripting +@blocking +@transaction +info +time'.split(
    ' ',
  );

  it('is enough with the least ACL, and a missing permission is reported in one line', async () => {
    const redis = await ownRedis();
    const admin = directly(redis.url);
    await admin.acl('SETUSER', 'app', 'on', '>secret', ...RIGHTS);
    const url = redis.url.replace('redis://', 'redis://app:secret@');
    const stack = await ownStack(url);
    const load = await startLoad(url, stack.dataDir);
    await awaitCommits(load);
    await load.app.tenant('one').enqueue('INSERT INTO nowhere VALUES (1)');
    const on = ['--data-dir', stack.dataDir];
    for (const args of [
      ['status'],
      ['tenants'],
      ['tenants', 'info', 'one'],
      ['tenants', 'pause', 'two'],
      ['tenants', 'resume', 'two'],
      ['sql', 'one', 'SELECT count(*) FROM numbers'],
      ['tail', 'one', '--no-follow'],
      ['check', '--all'],
    ]) {
      expect(await runCli([...args, ...on]), args.join(' ')).toMatchObject({ code: 0 });
    }
    await waitFor(async () =>
      (await runCli(['dead-letters', 'list', ...on])).stdout.includes('INSERT INTO nowhere'),
    );
    expect(await runCli(['dead-letters', 'drop', '--all', ...on])).toMatchObject({ code: 0 });
    const doctor = parseJson(await runCli(['doctor', '--json', ...on]));
    const about = doctor.diagnoses.filter(({ check }: { check: string }) => check.startsWith('redis'));
    expect(about.filter(({ level }: { level: string }) => level !== 'ok')).toEqual([]);
    expect(about).toContainEqual(
      expect.objectContaining({ check: 'redis-aof', found: expect.stringContaining('no right to CONFIG') }),
    );
    await load.judge();
    expect(stack.logs()).not.toMatch(/NOPERM|"stack"/);

    await admin.acl('SETUSER', 'app', '-info');
    const place = { redisUrl: url, dataDir: stack.dataDir };
    const refused = await startService('broker', place).catch(error => String(error));
    expect(refused).toMatch(/Cannot start: Redis refuses a command: .*'info'.*needed: ~ow:\* .*\+info/);
    expect(refused).not.toContain('"stack"');
    expect(refused).not.toContain('ready check');
    const degraded = await runCli(['doctor', '--json', ...on]);
    expect(degraded.code).toBe(3);
    expect(degraded.stderr).toBe('');
    expect(parseJson(degraded).diagnoses).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ check: 'redis-rights', level: 'error' }),
        expect.objectContaining({ check: 'leader', level: 'ok', found: expect.stringContaining('spare') }),
      ]),
    );
    await admin.acl('SETUSER', 'app', 'resetkeys', '~other:*');
    const blind = parseJson(await runCli(['doctor', '--json', ...on]));
    expect(blind.diagnoses).toContainEqual(
      expect.objectContaining({ check: 'redis-rights', level: 'error' }),
    );
    expect(await runCli(['status', ...on])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/onewriter: MISCONFIGURED Redis refuses a command: .*\n$/),
    });
    await admin.acl('SETUSER', 'app', ...RIGHTS);
  });
});

describe('a Redis that forgets its scripts', () => {
  it('holds no write up: its job is there before the notification', async () => {
    const redis = await ownRedis();
    const direct = directly(redis.url);
    await using data = await temporaryDirectory('flush');
    const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
    onTestFinished(async () => void (await broker.stop()));
    const app = await connect({ redis: redis.url, dataDir: data.path });
    onTestFinished(() => app.close());
    const db = app.tenant('acme');
    await db.exec('CREATE TABLE numbers(n INTEGER)');
    const insert = db.prepare('INSERT INTO numbers VALUES (?)');
    const tookMs: number[] = [];
    for (let n = 0; n < 30; n++) {
      await direct.script('FLUSH');
      const startedAt = performance.now();
      await insert.run(n);
      tookMs.push(performance.now() - startedAt);
    }
    tookMs.sort((a, b) => a - b);
    // If the job came after the notification, each would wait for the client to ask: a second.
    expect(tookMs[15]).toBeLessThan(100);
    expect(tookMs.filter(ms => ms > 700)).toEqual([]);
  });
});
