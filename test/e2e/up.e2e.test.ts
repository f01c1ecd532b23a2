import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ALLOCATOR_ENVIRONMENT } from '@onewriter/runtime';
import {
  CLI_MAIN,
  freePort,
  isAlive,
  type SpawnedProcess,
  type Stack,
  spawnProcess,
  startRedis,
  startStack,
  temporaryDirectory,
  waitFor,
  waitForExit,
  withoutSettings,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

const run = promisify(execFile);

/** Runs `onewriter …` to its end. */
async function onewriter(...args: string[]) {
  const command = await spawnProcess(process.execPath, [CLI_MAIN, ...args], {
    env: { ...withoutSettings(), NO_COLOR: '1' },
  });
  const { code } = await command.exited;
  return { code, stdout: command.stdout(), stderr: command.stderr() };
}

/** Starts `onewriter up …` without waiting for it. */
async function up(...args: string[]): Promise<SpawnedProcess> {
  const process_ = await spawnProcess(process.execPath, [CLI_MAIN, 'up', ...args], {
    env: withoutSettings(),
  });
  onTestFinished(async () => void (await process_.stop(45_000)));
  return process_;
}

async function newDirectory(): Promise<string> {
  const directory = await temporaryDirectory('up');
  onTestFinished(() => directory.remove());
  return directory.path;
}

async function query(stack: Pick<Stack, 'gatewayUrl' | 'token'>, sql: string, params: unknown[] = []) {
  const response = await fetch(`${stack.gatewayUrl}/query`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tenantId: 'acme', query: sql, params }),
  });
  const body = (await response.json()) as { result?: unknown; code?: string };
  if (!response.ok) throw new Error(`${response.status} ${JSON.stringify(body)}`);
  return body.result;
}

describe('a running stack', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack();
  });
  afterAll(async () => void (await stack?.stop()));

  it('prints one line on standard output, and all it names is there', async () => {
    const lines = stack.up.stdout().split('\n');
    expect(lines).toHaveLength(2);
    const event = JSON.parse(lines[0]!);
    expect(Object.keys(event)).toEqual([
      'event',
      'gatewayUrl',
      'dashboardUrl',
      'redisUrl',
      'dataDir',
      'token',
      'pids',
      'brokerUrls',
    ]);
    expect(event.event).toBe('ready');
    expect(Object.keys(event.pids)).toEqual(['broker', 'gateway', 'dashboard', 'redis', 'brokers']);
    expect(event.pids.brokers).toEqual([event.pids.broker]);
    for (const pid of Object.values(event.pids).flat()) expect(isAlive(pid as number)).toBe(true);
    if (process.platform === 'linux') {
      // The C library reads it once, at the start.
      const environment = readFileSync(`/proc/${event.pids.broker}/environ`, 'utf8').split('\0');
      expect(environment).toContain(`MALLOC_MMAP_THRESHOLD_=${ALLOCATOR_ENVIRONMENT.MALLOC_MMAP_THRESHOLD_}`);
    }
    for (const url of [event.gatewayUrl, event.dashboardUrl, ...event.brokerUrls]) {
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
    }
  });

  it('names a Redis that redis-cli reaches by its URL, as the operations guide uses it', async () => {
    const args = ['-u', stack.redisUrl, '--no-auth-warning', 'ping'];
    expect(await promisify(execFile)('redis-cli', args)).toMatchObject({ stdout: 'PONG\n', stderr: '' });
  });

  it('refuses a second one on the same data directory, and keeps running', async () => {
    const second = await onewriter('up', '--json', '--data-dir', stack.dataDir);
    expect(second.code).toBe(1);
    expect(second.stdout).toBe('');
    expect(second.stderr).toMatch(
      new RegExp(`^onewriter: MISCONFIGURED Another .* \\(pid ${stack.up.pid}\\) uses .*--data-dir\\.\\n$`),
    );
    expect((await fetch(`${stack.gatewayUrl}/livez`)).status).toBe(200);
  });

  it('is found by the other commands through its data directory', async () => {
    const at = ['--data-dir', stack.dataDir];
    await onewriter('sql', 'cli', 'CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, data BLOB)', ...at);
    const write = await onewriter(
      ...['sql', 'cli', 'INSERT INTO t(name, data) VALUES (?, ?)', '--params', '["Zoë", {"b": "/w=="}]'],
      ...at,
    );
    expect(write).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^1 change, last row id 1, commit \d+\n$/),
    });
    const read = await onewriter('sql', 'cli', 'SELECT * FROM t', ...at);
    expect(read.stdout).toBe("id  name  data\n──  ────  ─────\n 1  Zoë   x'ff'\n1 row\n");
    const json = await onewriter(
      'sql',
      'cli',
      'SELECT *, 9223372036854775807 AS big FROM t',
      '--json',
      ...at,
    );
    expect(JSON.parse(json.stdout)).toMatchObject({
      kind: 'read',
      columns: ['id', 'name', 'data', 'big'],
      rows: [[1, 'Zoë', { b: '/w==' }, { i: '9223372036854775807' }]],
    });
    const tenants = JSON.parse((await onewriter('tenants', '--json', ...at)).stdout);
    expect(tenants).toContainEqual({
      tenant: 'cli',
      state: 'active',
      bytes: expect.any(Number),
      walBytes: expect.any(Number),
      lastActivity: expect.stringMatching(/^\d{4}-/),
      queuedJobs: 0,
      parked: null,
      durability: null,
      holders: [],
    });
    const token = await onewriter('token', '--tenants', 'cli', '--access', 'read', ...at);
    const response = await fetch(`${stack.gatewayUrl}/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token.stdout.trim()}`, 'content-type': 'application/json' },
      body: JSON.stringify({ tenantId: 'cli', query: 'SELECT name FROM t' }),
    });
    expect(await response.json()).toEqual({ type: 'all', result: [{ name: 'Zoë' }] });
  });

  it('prints an error in one line', async () => {
    const failed = await onewriter('sql', 'cli', 'SELECT * FROM missing', '--data-dir', stack.dataDir);
    expect(failed).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^onewriter: SQL_ERROR .*no such table: missing.*\n$/),
    });
  });

  it.each(['broker', 'gateway', 'dashboard', 'redis'] as const)(
    'starts the %s again when it is killed, on the same port, and works on',
    async name => {
      await query(stack, 'CREATE TABLE IF NOT EXISTS restarts(name TEXT)');
      const before = stack.currentPids()[name];
      process.kill(before, 'SIGKILL');
      await waitFor(() => stack.currentPids()[name] !== before, { timeoutMs: 20_000, what: `a new ${name}` });
      expect(isAlive(stack.currentPids()[name])).toBe(true);
      expect(stack.logs()).toContain(`${name} ended (signal SIGKILL); `);
      await waitFor(async () => (await fetch(`${stack.dashboardUrl}/readyz`)).status === 200, {
        timeoutMs: 20_000,
        what: 'the dashboard',
      });
      await waitFor(() => query(stack, 'INSERT INTO restarts VALUES (?)', [name]), {
        timeoutMs: 30_000,
        what: 'a write after the restart',
      });
      expect(await query(stack, 'SELECT count(*) AS n FROM restarts WHERE name = ?', [name])).toEqual([
        { n: expect.any(Number) },
      ]);
    },
  );
});

describe('a process whose port another took while it was down', () => {
  /** Kills a process of a stack and listens on its port before it is back. */
  async function takePort(stack: Stack, name: 'broker' | 'gateway', url: string) {
    process.kill(stack.currentPids()[name], 'SIGKILL');
    const port = Number(new URL(url).port);
    const server = createServer();
    onTestFinished(() => void server.close());
    await waitFor(
      () =>
        new Promise<boolean>(resolve => {
          server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
        }),
      { intervalMs: 5, what: 'the port to be free' },
    );
    return { port, server };
  }

  it('moves to another where that is a broker, and writes go on', async () => {
    const stack = await startStack();
    onTestFinished(async () => void (await stack.stop()));
    const runFile = () => JSON.parse(readFileSync(join(stack.dataDir, 'onewriter.json'), 'utf8'));
    const url = runFile().brokerUrl;
    await takePort(stack, 'broker', url);
    await waitFor(() => runFile().brokerUrl !== url, { timeoutMs: 30_000, what: 'another port' });
    expect(runFile().brokerUrls).toEqual([runFile().brokerUrl]);
    expect((await fetch(`${runFile().brokerUrl}/metrics`)).status).toBe(200);
    await waitFor(() => query(stack, 'CREATE TABLE moved(a)'), { timeoutMs: 30_000, what: 'a write' });
  });

  it('says which port and setting in one line, and comes back when it is free, where that is the gateway', async () => {
    const stack = await startStack();
    onTestFinished(async () => void (await stack.stop()));
    const { port, server } = await takePort(stack, 'gateway', stack.gatewayUrl);
    const line = new RegExp(`Port ${port} is in use .*EADDRINUSE.*ONEWRITER_GATEWAY_PORT`);
    await waitFor(() => line.test(stack.logs()), { timeoutMs: 30_000, what: 'the line' });
    expect(stack.logs()).not.toMatch(/at Server\.listen|at .*node:net/);
    server.close();
    await waitFor(async () => (await fetch(`${stack.gatewayUrl}/livez`)).status === 200, {
      timeoutMs: 30_000,
      what: 'the gateway',
    });
  });
});

describe('starting', () => {
  it('prints a curl command that works as printed, twice', async () => {
    const running = await up(
      '--data-dir',
      await newDirectory(),
      '--gateway-port',
      '0',
      '--dashboard-port',
      '0',
    );
    await waitFor(() => running.stdout().includes('curl '), { timeoutMs: 60_000, what: 'the curl command' });
    const curl = /^curl .*$/m.exec(running.stdout())![0];
    for (const id of [1, 2]) {
      const { stdout } = await run('sh', ['-c', curl]);
      expect(JSON.parse(stdout)).toEqual({
        results: [{ changes: 0, lastInsertRowid: 0 }, [{ id, text: 'hello' }]],
      });
    }
  });

  it('runs twice at once on one machine without collision', async () => {
    const [one, two] = await Promise.all([startStack(), startStack()]);
    onTestFinished(async () => {
      await one.stop();
      await two.stop();
    });
    const ends = [
      one.gatewayUrl,
      one.dashboardUrl,
      one.redisUrl,
      two.gatewayUrl,
      two.dashboardUrl,
      two.redisUrl,
    ];
    expect(new Set(ends).size).toBe(6);
    for (const [index, stack] of [one, two].entries()) {
      await query(stack, 'CREATE TABLE t(n)');
      await query(stack, 'INSERT INTO t VALUES (?)', [index]);
    }
    expect(await query(one, 'SELECT n FROM t')).toEqual([{ n: 0 }]);
    expect(await query(two, 'SELECT n FROM t')).toEqual([{ n: 1 }]);
    // A token of one opens nothing of the other.
    await expect(query({ ...one, token: two.token }, 'SELECT 1')).rejects.toThrow('401');
  });

  it('uses the Redis and the ports it is given, and leaves that Redis running', async () => {
    await using redis = await startRedis();
    const gatewayPort = await freePort();
    const stack = await startStack({ redisUrl: redis.url, args: ['--gateway-port', String(gatewayPort)] });
    expect(stack.gatewayUrl).toBe(`http://127.0.0.1:${gatewayPort}`);
    expect(stack.redisUrl).toBe(redis.url);
    expect(stack.pids.redis).toBe(0);
    await query(stack, 'CREATE TABLE t(n)');
    await stack.stop();
    expect(isAlive(redis.pid())).toBe(true);
  });

  it.each([
    ['a Redis that may evict keys', { maxmemoryPolicy: 'allkeys-lru' }, /noeviction/],
    ['a Redis that wants a password', { password: 'secret' }, /NOAUTH/],
  ])('refuses %s in one line', async (_, settings, expected) => {
    await using redis = await startRedis(settings);
    const url = `redis://127.0.0.1:${redis.port}`;
    const failed = await onewriter('up', '--data-dir', await newDirectory(), '--redis-url', url);
    expect(failed.code).toBe(1);
    // Another stack on this machine may have the usual ports; separate lines report that.
    const lines = failed.stderr.split('\n').filter(line => !/port \d+ is taken/.test(line));
    expect(lines).toEqual([expect.stringMatching(/^onewriter: MISCONFIGURED /), '']);
    expect(failed.stderr).toMatch(expected);
  });

  it('refuses a port that is taken, and leaves nothing behind', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const dataDir = await newDirectory();
    const failed = await onewriter('up', '--data-dir', dataDir, '--gateway-port', String(port));
    expect(failed).toMatchObject({
      code: 1,
      stderr: `onewriter: MISCONFIGURED Port ${port} for the gateway is taken. Give another, or 0 for any free one.\n`,
    });
    expect(existsSync(join(dataDir, 'onewriter.json'))).toBe(false);
  });
});

describe('stopping', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('drains everything on one %s and exits 0', async signal => {
    const stack = await startStack();
    onTestFinished(async () => void (await stack.stop()));
    await query(stack, 'CREATE TABLE t(n)');
    const pids = Object.values(stack.currentPids()).flat();
    stack.up.kill(signal);
    expect(await stack.up.exited).toEqual({ code: 0, signal: null });
    expect(pids.filter(isAlive)).toEqual([]);
    expect(stack.logs()).not.toContain('is killed');
    expect(existsSync(join(stack.dataDir, 'onewriter.json'))).toBe(false);
  });

  it('kills what does not drain', async () => {
    const stack = await startStack({ env: { ONEWRITER_DRAIN_MS: '500' } });
    onTestFinished(async () => void (await stack.stop()));
    const { dashboard } = stack.currentPids();
    process.kill(dashboard, 'SIGSTOP');
    expect(await stack.stop()).toEqual({ code: 0, signal: null });
    expect(isAlive(dashboard)).toBe(false);
    expect(stack.logs()).toContain('dashboard did not drain within');
  });

  it('keeps data and addresses from one start to the next', async () => {
    const dataDir = await newDirectory();
    const first = await startStack({ dataDir });
    await query(first, 'CREATE TABLE t(n)');
    await query(first, 'INSERT INTO t VALUES (7)');
    await first.stop();
    const second = await startStack({ dataDir });
    onTestFinished(async () => void (await second.stop()));
    expect(second.redisUrl).toBe(first.redisUrl);
    expect(await query({ ...second, token: first.token }, 'SELECT n FROM t')).toEqual([{ n: 7 }]);
  });

  it('leaves nothing running when it is killed itself, and starts again at once', async () => {
    const dataDir = await newDirectory();
    const first = await startStack({ dataDir });
    await query(first, 'CREATE TABLE t(n)');
    const orphans = Object.values(first.currentPids()).flat();
    first.up.kill('SIGKILL');
    await first.up.exited;
    const second = await startStack({ dataDir });
    onTestFinished(async () => void (await second.stop()));
    await query(second, 'INSERT INTO t VALUES (1)');
    for (const pid of orphans) await waitForExit(pid, 20_000);
    await query(second, 'INSERT INTO t VALUES (2)');
    const file = new Database(join(dataDir, 'tenants/acme/tenant.db'), { readonly: true });
    expect(file.prepare('SELECT n FROM t').pluck().all()).toEqual([1, 2]);
    file.close();
  });

  it('takes its children with it when it is killed and not started again', async () => {
    const stack = await startStack({ env: { ONEWRITER_DRAIN_MS: '1000' } });
    onTestFinished(async () => void (await stack.stop()));
    const orphans = Object.values(stack.currentPids()).flat();
    stack.up.kill('SIGKILL');
    for (const pid of orphans) await waitForExit(pid, 30_000);
  });
});
