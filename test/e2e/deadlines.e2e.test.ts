import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { newJobId, type OnewriterError, receiptId } from '@onewriter/protocol';
import { openRedis, signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import { pauseTenant, resumeTenant } from '@onewriter/tenants';
import {
  type Service,
  startRedis,
  startService,
  startTcpProxy,
  type TcpProxy,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
} from '@onewriter/testkit';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';

/*
 * Every call that takes a deadline ends by it while Redis does not answer: stopped, killed, or behind a network that
 * swallows all. Each would otherwise wait until the connection is given up, 5 s.
 */

const TIMEOUT_MS = 600;
/** 100 is the promise; tests run beside others, and the clients' own waits for a CPU are not counted here. */
const SLACK_MS = 400;

let redis: TestRedis;
let proxy: TcpProxy;
let data: TemporaryDirectory;
let url: string;

beforeEach(async () => {
  redis = await startRedis();
  proxy = await startTcpProxy(redis.port);
  data = await temporaryDirectory('deadlines');
  url = `redis://127.0.0.1:${proxy.port}`;
});
afterEach(async () => {
  proxy.swallow(false);
  redis.kill('SIGCONT');
  await proxy.stop();
  await redis.stop();
  await data.remove();
});

const OUTAGES = {
  stopped: () => redis.kill('SIGSTOP'),
  killed: () => redis.kill('SIGKILL'),
  'behind a black hole': () => proxy.swallow(true),
} as const;
const NAMES = Object.keys(OUTAGES) as (keyof typeof OUTAGES)[];

/** How long each of the calls took. */
async function timeAll(
  calls: Readonly<Record<string, () => Promise<unknown>>>,
): Promise<Map<string, number>> {
  const took = new Map<string, number>();
  await Promise.all(
    Object.entries(calls).map(async ([name, call]) => {
      const began = performance.now();
      await call().catch(() => {}); // what it says is another test's concern
      took.set(name, performance.now() - began);
    }),
  );
  return took;
}

function assertInTime(took: ReadonlyMap<string, number>): void {
  const late = [...took].filter(([, ms]) => ms > TIMEOUT_MS + SLACK_MS);
  expect(late).toEqual([]);
}

describe('the SDK', () => {
  let client: Onewriter | undefined;
  afterEach(async () => {
    await client?.close({ timeoutMs: 0 });
  });

  it.each(NAMES)('answers every call by its deadline while Redis is %s', async outage => {
    client = await connect({ redis: url, dataDir: data.path });
    const db = client.tenant('acme');
    const wait = { timeoutMs: TIMEOUT_MS };
    const sql = 'INSERT INTO t VALUES (1)';
    // Known to the queue, so that its state is worth asking.
    const receipt = await db.enqueue(sql, []);
    OUTAGES[outage]();
    const took = await timeAll({
      run: () => db.prepare(sql, wait).run(),
      returning: () => db.prepare(`${sql} RETURNING 1`, wait).all(),
      exec: () => db.exec(sql, wait),
      execute: () => db.execute(sql, [], wait),
      transaction: () => db.transaction([{ sql }], wait),
      enqueue: () => db.enqueue(sql, [], wait),
      steps: () => db.steps({ steps: [{ sql }] }, wait),
      begin: () => db.steps({ steps: [{ sql: 'BEGIN IMMEDIATE' }] }, wait),
      pragma: () => db.pragma('user_version', wait),
      status: () => receipt.status(wait),
      'status of an unknown receipt': () => db.receipt(receiptId(newJobId(), 0)).status(wait),
      committed: () => receipt.committed(wait),
      ping: () => client!.ping(wait),
    });
    assertInTime(took);
    assertInTime(await timeAll({ close: () => client!.close(wait) }));
  });
});

it('gives a Redis up that takes connections and answers nothing, and prints nothing of its own', async () => {
  const printed = vi.spyOn(console, 'error');
  onTestFinished(() => printed.mockRestore());
  redis.kill('SIGSTOP');
  const began = performance.now();
  await expect(openRedis(url)).rejects.toMatchObject({ code: 'QUEUE_UNAVAILABLE' });
  expect(performance.now() - began).toBeLessThan(4_000);
  await expect(connect({ redis: url, dataDir: data.path })).rejects.toMatchObject({
    code: 'QUEUE_UNAVAILABLE',
    message: 'Cannot connect to Redis: no answer in 5000 ms',
  });
  // The connection that was given up ends within this.
  await pause(500);
  expect(printed).not.toHaveBeenCalled();
});

it('gives up connecting after connectTimeoutMs, which sql --timeout sets', async () => {
  redis.kill('SIGSTOP');
  const begunAt = performance.now();
  await expect(
    connect({ redis: url, dataDir: data.path, connectTimeoutMs: TIMEOUT_MS }),
  ).rejects.toMatchObject({
    code: 'QUEUE_UNAVAILABLE',
  });
  expect(performance.now() - begunAt).toBeLessThan(TIMEOUT_MS + SLACK_MS);
  await expect(connect({ redis: url, dataDir: data.path, connectTimeoutMs: 5_001 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

it('says at the deadline who keeps the tenant still, and why', async () => {
  await using broker = await startService('broker', { redisUrl: url, dataDir: data.path });
  await using client = await connect({ redis: url, dataDir: data.path });
  const db = client.tenant('acme');
  await db.exec('CREATE TABLE t(a)');
  const connection = await openRedis(redis.url);
  try {
    await pauseTenant(connection, 'default', 'acme', 'alice', 'the disk is replaced');
    const write = db.prepare('INSERT INTO t VALUES (1)', { timeoutMs: 1_000 }).run();
    const error = await write.catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      message: expect.stringMatching(/Tenant acme is held: pause by alice since .* \(the disk is replaced\)/),
      details: {
        reason: 'paused',
        holders: [{ name: 'pause', who: 'alice', reason: 'the disk is replaced', since: expect.any(String) }],
      },
    });
    // A job that may begin a transaction is withdrawn.
    const begin = db.steps({ steps: [{ sql: 'BEGIN IMMEDIATE' }], interactive: true }, { timeoutMs: 1_000 });
    await expect(begin).rejects.toMatchObject({
      code: 'TRANSACTION_BUSY',
      message: expect.stringMatching(/^Tenant acme is held: pause by alice since .*; nothing was run\.$/),
      details: { holders: [{ name: 'pause', who: 'alice' }] },
    });
    await resumeTenant(connection, 'default', 'acme');
    const { receiptId } = (error as OnewriterError).details as { receiptId: string };
    expect(await db.receipt(receiptId).committed({ timeoutMs: 10_000 })).toMatchObject({ changes: 1 });
    // Nothing is said about a tenant that is not held.
    broker.kill('SIGSTOP');
    const other = await db.exec('DELETE FROM t', { timeoutMs: 700 }).catch((reason: unknown) => reason);
    expect((other as OnewriterError).details).not.toHaveProperty('holders');
  } finally {
    broker.kill('SIGCONT');
    connection.disconnect();
  }
});

describe('the gateway', () => {
  let gateway: Service | undefined;
  afterEach(async () => {
    redis.kill('SIGCONT');
    proxy.swallow(false);
    await gateway?.stop();
  });

  it.each(NAMES)('answers every call by its deadline while Redis is %s', async outage => {
    gateway = await startService('gateway', {
      redisUrl: url,
      dataDir: data.path,
      env: { ONEWRITER_DRAIN_MS: '1000' },
    });
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
    const send = (method: string, path: string, body?: object) =>
      fetch(`${gateway!.url}${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(20_000),
      }).then(response => response.text());
    const path = '/v1/tenants/acme';
    const sql = 'INSERT INTO t VALUES (1)';
    const timeoutMs = TIMEOUT_MS;
    const accepted = JSON.parse(await send('POST', `${path}/enqueue`, { sql })) as { receiptId: string };
    OUTAGES[outage]();
    assertInTime(
      await timeAll({
        write: () => send('POST', `${path}/query`, { sql, timeoutMs }),
        transaction: () => send('POST', `${path}/transaction`, { statements: [{ sql }], timeoutMs }),
        script: () => send('POST', `${path}/script`, { sql, timeoutMs }),
        enqueue: () => send('POST', `${path}/enqueue`, { sql, timeoutMs }),
        receipt: () => send('GET', `${path}/receipts/${accepted.receiptId}?wait=${timeoutMs}`),
      }),
    );
  });

  it('counts the deadline from the head of a request, also where its body takes its time', async () => {
    gateway = await startService('gateway', {
      redisUrl: url,
      dataDir: data.path,
      env: { ONEWRITER_DRAIN_MS: '1000' },
    });
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
    const bodyAfterMs = 700;
    const body = JSON.stringify({ sql: 'INSERT INTO t VALUES (1)', timeoutMs: bodyAfterMs + 100 });
    const began = performance.now();
    const sending = request(`${gateway.url}/v1/tenants/acme/query`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'content-length': body.length,
      },
    });
    const answered = once(sending, 'response');
    sending.flushHeaders();
    setTimeout(() => sending.end(body), bodyAfterMs);
    const [response] = (await answered) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(504);
    expect(performance.now() - began).toBeLessThan(bodyAfterMs + 100 + SLACK_MS);
  });
});
