import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { groupKeys, OnewriterError, readDataDirIdentity } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import { isTenantPaused } from '@onewriter/tenants';
import { type Service, startRedis, startService, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* Two installations share a Redis and, by mistake, a group. */

const GROUP = 'default';

/** A Redis, and a folder with room for several data directories. */
async function setUp() {
  const [redis, folder] = await Promise.all([startRedis(), temporaryDirectory('identity')]);
  const looker = new Redis(redis.url);
  onTestFinished(async () => {
    looker.disconnect();
    await redis.stop();
    await folder.remove();
  });
  const directory = (name: string) => {
    const path = join(folder.path, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const broker = async (dataDir: string): Promise<Service> => {
    const service = await startService('broker', { redisUrl: redis.url, dataDir });
    onTestFinished(async () => void (await service.stop()));
    return service;
  };
  const open = async (dataDir: string): Promise<Onewriter> => {
    const client = await connect({ redis: redis.url, dataDir, writeTimeoutMs: 20_000 });
    onTestFinished(() => client.close({ timeoutMs: 100 }));
    return client;
  };
  return { redis, looker, directory, broker, open };
}

/** Resolves when a broker leads and the group is claimed. */
async function awaitClaim(looker: Redis): Promise<void> {
  await waitFor(async () => (await looker.get(groupKeys(GROUP).dataDir)) ?? undefined, {
    timeoutMs: 20_000,
    what: 'a claim of the group',
  });
}

const refusal = (owner: string, other: string) =>
  expect.objectContaining({
    code: 'MISCONFIGURED',
    message: expect.stringMatching(new RegExp(`${owner}.*${other}.*ONEWRITER_GROUP`)),
  });

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    error => error,
  );
}

describe('two installations on one Redis and group', () => {
  it('do not answer each other: broker, gateway, SDK and command line of the second refuse', async () => {
    const { redis, looker, directory, broker, open } = await setUp();
    const production = directory('production');
    const staging = directory('staging');
    await broker(production);
    await awaitClaim(looker);
    const app = await open(production);
    await app.tenant('acme').exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');

    const options = { redisUrl: redis.url, dataDir: staging };
    for (const service of ['broker', 'gateway'] as const) {
      const error = await errorOf(startService(service, options));
      expect(String(error)).toMatch(/MISCONFIGURED/);
      expect(String(error)).toContain(production);
      expect(String(error)).toContain(staging);
    }
    // Nothing is left behind that would make the empty directory seem to be one.
    expect(existsSync(join(staging, 'identity'))).toBe(false);

    expect(await errorOf(open(staging))).toEqual(refusal(production, staging));
    // A second installation that has run already, with a Redis of its own.
    const other = await setUp();
    const otherBroker = await other.broker(staging);
    await awaitClaim(other.looker);
    await otherBroker.stop();
    expect(await errorOf(open(staging))).toEqual(refusal(production, staging));
    const error = await errorOf(startService('broker', options));
    expect(String(error)).toMatch(/MISCONFIGURED/);

    const up = await runCli(['up', '--data-dir', staging, '--redis-url', redis.url]);
    expect(up.code).not.toBe(0);
    expect(up.stderr + up.stdout).toContain(production);

    const env = { ONEWRITER_REDIS_URL: redis.url };
    const tenants = await runCli(['tenants', '--data-dir', staging], { env });
    expect(tenants.code).not.toBe(0);
    expect(tenants.stderr).toContain(production);
    const report = parseJson(await runCli(['doctor', '--json', '--data-dir', staging], { env }));
    const found = report.diagnoses.find(({ check }: { check: string }) => check === 'data-directory-owner');
    expect(found).toMatchObject({ level: 'error', found: expect.stringContaining(production) });
    const own = parseJson(await runCli(['doctor', '--json', '--data-dir', production], { env }));
    expect(
      own.diagnoses.find(({ check }: { check: string }) => check === 'data-directory-owner'),
    ).toMatchObject({ level: 'ok' });
    // The first is not affected.
    expect(await app.tenant('acme').prepare('SELECT a FROM t').all()).toEqual([{ a: 1 }]);
    await app.tenant('acme').exec('INSERT INTO t VALUES (2)');
  });

  it('a command without the data directory does not act on the other, unless --without-files says that there is none here', async () => {
    const { redis, looker, directory, broker, open } = await setUp();
    const production = directory('production');
    await broker(production);
    await awaitClaim(looker);
    const app = await open(production);
    await app.tenant('acme').exec('CREATE TABLE t(a)');
    const env = { ONEWRITER_REDIS_URL: redis.url };
    const isPaused = () => isTenantPaused(looker, GROUP, 'acme');
    // A wrong path, a disk that is not mounted.
    for (const dataDir of [directory('empty'), join(production, '../missing')]) {
      for (const command of [
        ['status'],
        ['status', '--watch', '--json'],
        ['tenants', 'pause', 'acme'],
        ['tenants', 'resume', 'acme'],
        ['dead-letters', 'list'],
        ['dead-letters', 'retry', '--all'],
        ['dead-letters', 'drop', '--all'],
      ]) {
        const { code, stdout, stderr } = await runCli([...command, '--data-dir', dataDir], { env });
        expect([command, code, stdout]).toEqual([command, 1, '']);
        expect(stderr).toMatch(/MISCONFIGURED/);
        expect(stderr).toContain(production);
        expect(stderr).toContain(dataDir);
        expect(stderr).toContain('--without-files');
      }
      expect(await isPaused()).toBe(false);
      const report = parseJson(await runCli(['doctor', '--json', '--data-dir', dataDir], { env }));
      const found = report.diagnoses.find(({ check }: { check: string }) => check === 'data-directory-owner');
      expect(found).toMatchObject({ level: 'error', found: expect.stringContaining(production) });

      const remote = ['--without-files', '--data-dir', dataDir];
      expect(await runCli(['tenants', 'pause', 'acme', ...remote], { env })).toMatchObject({ code: 0 });
      expect(await isPaused()).toBe(true);
      expect(await runCli(['tenants', 'resume', 'acme', ...remote], { env })).toMatchObject({ code: 0 });
      expect(await isPaused()).toBe(false);
      expect(parseJson(await runCli(['status', '--json', ...remote], { env })).status.leader.leaseHeld).toBe(
        true,
      );
      expect(await runCli(['dead-letters', 'list', ...remote], { env })).toMatchObject({ code: 0 });
    }
    // Here there is one: it is no machine without.
    const staging = directory('staging');
    writeFileSync(
      join(staging, 'identity'),
      JSON.stringify({ id: '0123456789abcdef', created: new Date(0).toISOString() }),
    );
    for (const command of [
      ['tenants', 'pause', 'acme', '--without-files'],
      ['tenants', 'delete', 'acme', '--confirm', 'acme'],
      ['export', 'acme', join(staging, 'acme.sql')],
    ]) {
      const gateway = { ONEWRITER_GATEWAY_URL: 'http://127.0.0.1:1', ONEWRITER_TOKEN: 'a-token' };
      const refused = await runCli([...command, '--data-dir', staging], { env: { ...env, ...gateway } });
      expect([command, refused.code]).toEqual([command, 1]);
      expect(refused.stderr).toContain(production);
    }
    expect(await isPaused()).toBe(false);
    const secret = 'a-secret-that-is-long-enough-to-sign';
    const token = await signToken(secret, { tenants: '*', access: 'admin' });
    const headers = { authorization: `Bearer ${token}` };
    // A dashboard reads no files: it may run where there is no directory.
    for (const [dataDir, status, ready] of [
      [staging, 500, 503],
      [directory('none'), 200, 200],
      [production, 200, 200],
    ] as const) {
      const settings = { ONEWRITER_TOKEN_SECRET: secret };
      const options = { redisUrl: redis.url, dataDir, env: settings };
      const dashboard = await startService('dashboard', options);
      onTestFinished(async () => void (await dashboard.stop()));
      const page = await fetch(`${dashboard.url}/tenants`, { headers });
      const probe = await fetch(`${dashboard.url}/readyz`);
      expect([dataDir, page.status, probe.status]).toEqual([dataDir, status, ready]);
      if (status !== 200)
        for (const place of [production, staging]) expect(await probe.clone().text()).toContain(place);
      await dashboard.stop();
    }
  });

  it('a client that came before any broker refuses as soon as the group is another’s', async () => {
    const { looker, directory, broker, open } = await setUp();
    const mine = directory('mine');
    const client = await open(mine);
    await broker(directory('other'));
    await awaitClaim(looker);
    const refused = await waitFor(
      async () => {
        const error = await errorOf(client.tenant('acme').prepare('SELECT 1').all());
        return error instanceof OnewriterError && error.code === 'MISCONFIGURED' ? error : undefined;
      },
      { timeoutMs: 20_000, what: 'a refusal' },
    );
    expect(refused.message).toContain(mine);
    expect(await errorOf(client.tenant('acme').exec('CREATE TABLE t(a)'))).toMatchObject({
      code: 'MISCONFIGURED',
    });
  });

  it('a job of the other’s client is not applied, even where it came into the queue', async () => {
    const { looker, directory, broker, open } = await setUp();
    const first = directory('first');
    const broken = await broker(first);
    await awaitClaim(looker);
    const client = await open(first);
    await client.tenant('acme').exec('CREATE TABLE t(a)');
    await broken.stop();
    // Accepted while no broker runs; then Redis is another installation's.
    await client.tenant('acme').enqueue('INSERT INTO t VALUES (1)');
    await looker.del(groupKeys(GROUP).dataDir);
    const second = directory('second');
    await broker(second);
    const letter = await waitFor(
      async () => {
        const { stdout } = await runCli(['dead-letters', 'list', '--json', '--data-dir', second], {
          env: { ONEWRITER_REDIS_URL: `redis://127.0.0.1:${looker.options.port}` },
        });
        return stdout.includes('another data directory') ? stdout : undefined;
      },
      { timeoutMs: 30_000, what: 'a dead letter', intervalMs: 200 },
    );
    expect(letter).toContain('MISCONFIGURED');
  });
});

describe('a data directory', () => {
  it('is the same by a relative path, at another place, with a Redis that lost everything, without its identity file', async () => {
    const { redis, looker, directory, broker, open } = await setUp();
    const here = directory('here');
    const first = await broker(here);
    await awaitClaim(looker);
    const client = await open(relative(process.cwd(), here));
    await client.tenant('acme').exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');
    await client.close();
    const identity = readDataDirIdentity(here)!;
    expect(JSON.parse((await looker.get(groupKeys(GROUP).lease))!)).toMatchObject({
      dataDir: { id: identity.id, path: here },
    });
    await first.stop();

    const there = join(here, '../there');
    renameSync(here, there);
    const second = await broker(there);
    await waitFor(async () => (await looker.get(groupKeys(GROUP).dataDir))?.includes(there) || undefined, {
      timeoutMs: 20_000,
      what: 'a claim at the new place',
    });
    // A broker that does not lead yet keeps running.
    await waitFor(async () => (await looker.exists(groupKeys(GROUP).lease)) === 1 || undefined, {
      what: 'the lead',
    });
    await looker.flushall();
    await second.exited;
    const third = await broker(there);
    await awaitClaim(looker);
    const again = await open(there);
    expect(await again.tenant('acme').prepare('SELECT a FROM t').all()).toEqual([{ a: 1 }]);
    await again.tenant('acme').exec('INSERT INTO t VALUES (2)');
    await third.stop();

    rmSync(join(there, 'identity'));
    await broker(there);
    await again.tenant('acme').exec('INSERT INTO t VALUES (3)');
    expect(JSON.parse(readFileSync(join(there, 'identity'), 'utf8'))).toMatchObject({ id: identity.id });
    expect(redis.url).toContain('redis://');
  });
});
