import { deadLetterQueue, findStatusProblems, groupKeys, parseReceiptId } from '@onewriter/protocol';
import { readAudit, readGroupStatus } from '@onewriter/runtime';
import { connect, OnewriterError } from '@onewriter/sdk';
import { pauseTenant, resumeTenant } from '@onewriter/tenants';
import { startRedis, startService, startStack, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';

const ENDLESS =
  'INSERT INTO t(n) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c) SELECT i FROM c WHERE i < 0';

/** A Redis, a folder, a client, and a way to start brokers; gone when the test is over. */
async function startGround() {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const data = await temporaryDirectory('endless');
  onTestFinished(() => data.remove());
  const client = await connect({ redis: redis.url, dataDir: data.path });
  onTestFinished(() => client.close({ timeoutMs: 1_000 }));
  const startBroker = async (env: Record<string, string>) => {
    const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path, env });
    onTestFinished(async () => void (await broker.stop()));
    return broker;
  };
  return { redis, client, startBroker };
}

const codeOf = (error: unknown) => (error instanceof OnewriterError ? error.code : String(error));

describe('a statement that never ends', () => {
  it('is stopped at its deadline and set aside; writes that shared its job or process are applied', async () => {
    const { redis, client, startBroker } = await startGround();
    const env = { ONEWRITER_STATEMENT_TIMEOUT_MS: '700', ONEWRITER_THREADS: '1' };
    const first = await startBroker(env);
    await startBroker(env);
    const slow = client.tenant('slow');
    const other = client.tenant('other');
    for (const db of [slow, other]) await db.exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
    const insert = 'INSERT INTO t(n) VALUES (?)';

    // In one job: the first write is on its way while the others gather.
    const opening = slow.prepare(insert).run(1);
    const before = slow.prepare(insert).run(2);
    const endless = slow.prepare(ENDLESS).run().catch(codeOf);
    const after = slow.prepare(insert).run(3);
    let others = 0;
    let done = false;
    const writing = (async () => {
      for (; !done; others++) await other.prepare(insert).run(others);
    })();

    expect(await endless).toBe('STATEMENT_TIMEOUT');
    await Promise.all([opening, before, after]);
    done = true;
    await writing;
    expect(await slow.prepare('SELECT n FROM t ORDER BY n').all()).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(await other.prepare<[], { count: number }>('SELECT count(*) AS count FROM t').get()).toEqual({
      count: others,
    });
    expect(first.child.signalCode).toBe('SIGALRM');
    expect(first.logs()).toContain('A statement runs past its deadline');

    const { name, prefix } = deadLetterQueue('default');
    const letters = new Queue(name, { connection: { url: redis.url }, prefix });
    onTestFinished(() => letters.close());
    const [letter] = await letters.getWaiting();
    expect(letter?.data).toMatchObject({
      tenant: 'slow',
      sql: ENDLESS,
      error: { code: 'STATEMENT_TIMEOUT' },
    });
  });

  it('sent again and again holds its own tenant back, longer each time, and no other, and ends the broker once', async () => {
    const timeoutMs = 2_000;
    const stack = await startStack({ env: { ONEWRITER_STATEMENT_TIMEOUT_MS: String(timeoutMs) } });
    onTestFinished(async () => void (await stack.stop()));
    const client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
    onTestFinished(() => client.close({ timeoutMs: 1_000 }));
    const [slow, other] = [client.tenant('slow'), client.tenant('other')];
    for (const db of [slow, other]) await db.exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
    const receipts = [];
    for (let count = 0; count < 3; count++) receipts.push(await slow.enqueue(ENDLESS, []));
    let done = false;
    const writing = (async () => {
      for (let n = 0; !done; n++) {
        await other.prepare('INSERT INTO t(n) VALUES (?)', { timeoutMs: 20_000 }).run(n);
      }
    })();
    const redis = new Redis(stack.redisUrl);
    onTestFinished(() => redis.disconnect());
    const parked = await waitFor(() => redis.hget(groupKeys('default').parked, 'slow'), {
      timeoutMs: 40_000,
      what: 'the finding',
    });
    expect(JSON.parse(parked)).toMatchObject({ code: 'STATEMENT_TIMEOUT' });
    const failed = receipts.map(receipt => receipt.committed({ timeoutMs: 60_000 }).catch(codeOf));
    expect(await Promise.all(failed)).toEqual(Array(3).fill('STATEMENT_TIMEOUT'));
    await slow.prepare('INSERT INTO t(n) VALUES (1)', { timeoutMs: 20_000 }).run();
    done = true;
    await writing;
    await waitFor(async () => (await redis.hlen(groupKeys('default').parked)) === 0, { what: 'its end' });
    const logs = stack.logs();
    const replaced = logs.split('broker ended to be replaced').length - 1;
    expect([replaced, logs.includes('broker ended (')]).toEqual([1, false]);
    // The others ran apart.
    expect(logs.split('ending the process apart').length - 1).toBe(2);
    const pauses = [...logs.matchAll(/Holding a tenant back.*pauseMs=(\d+)/g)].map(([, ms]) => Number(ms));
    expect(pauses).toEqual([timeoutMs, 2 * timeoutMs]);
  });

  it('pauses its tenant at the limit, where people see it, and no other; resumed, its other writes are applied once', async () => {
    const env = { ONEWRITER_STATEMENT_TIMEOUT_MS: '700', ONEWRITER_OFFENCE_LIMIT: '2' };
    const stack = await startStack({ env });
    onTestFinished(async () => void (await stack.stop()));
    const client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
    onTestFinished(() => client.close({ timeoutMs: 1_000 }));
    const redis = new Redis(stack.redisUrl);
    onTestFinished(() => redis.disconnect());
    const [slow, other] = [client.tenant('slow'), client.tenant('other')];
    for (const db of [slow, other]) await db.exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
    // When it is resumed, the broker fetches them all at once.
    await pauseTenant(redis, 'default', 'slow', 'test');
    const receipts = [];
    for (let count = 0; count < 2; count++) receipts.push(await slow.enqueue(ENDLESS, []));
    const behind = await slow.enqueue('INSERT INTO t(n) VALUES (1)', []);
    await resumeTenant(redis, 'default', 'slow');
    expect(await receipts[0]!.committed({ timeoutMs: 30_000 }).catch(codeOf)).toBe('STATEMENT_TIMEOUT');
    const info = async () => {
      const url = `${stack.gatewayUrl}/v1/tenants/slow`;
      const response = await fetch(url, { headers: { authorization: `Bearer ${stack.token}` } });
      return (await response.json()) as { state: string; holders: object[]; parked: object | null };
    };
    const paused = await waitFor(
      async () => {
        const answer = await info();
        return answer.holders.length > 0 ? answer : undefined;
      },
      { timeoutMs: 40_000, what: 'the pause' },
    );
    expect(paused).toMatchObject({
      state: 'paused',
      holders: [
        {
          ...{ name: 'repeat-offender', who: 'broker', expiresAt: null },
          reason: expect.stringContaining('onewriter tenants resume slow'),
        },
      ],
    });
    await other.prepare('INSERT INTO t(n) VALUES (1)', { timeoutMs: 20_000 }).run();
    const finding = await waitFor(
      async () =>
        findStatusProblems(await readGroupStatus(redis, 'default')).find(({ tenant }) => tenant === 'slow'),
      { timeoutMs: 20_000, what: 'the finding' },
    );
    expect(finding).toMatchObject({ level: 'critical', alert: 'OnewriterTenantParked' });
    expect(finding.text).toContain('TENANT_PAUSED: Repeat offender');
    const refused = await fetch(`${stack.gatewayUrl}/v1/tenants/slow/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ sql: 'INSERT INTO t(n) VALUES (3)' }),
    });
    const answer = await refused.text();
    expect(answer).toContain('"code":"TENANT_PAUSED"');
    expect(answer).toContain('onewriter tenants resume slow');
    // What an SDK client queues waits.
    const late = await slow
      .prepare('INSERT INTO t(n) VALUES (2)', { timeoutMs: 3_000 })
      .run()
      .catch((error: unknown) => error);
    expect(late).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      details: { reason: 'paused', holders: [{ name: 'repeat-offender' }] },
    });
    const [entry] = await readAudit(redis, 'default', 1);
    expect(entry).toMatchObject({ action: 'tenant.pause', tenant: 'slow', subject: 'broker' });

    await resumeTenant(redis, 'default', 'slow');
    expect(await redis.hexists(groupKeys('default').backOff, 'slow')).toBe(0);
    expect(await receipts[1]!.committed({ timeoutMs: 20_000 }).catch(codeOf)).toBe('STATEMENT_TIMEOUT');
    await behind.committed({ timeoutMs: 20_000 });
    const rows = () => slow.prepare<[], { n: number }>('SELECT n FROM t ORDER BY n').all();
    await waitFor(async () => (await rows()).length === 2, { what: 'the write that waited' });
    expect(await rows()).toEqual([{ n: 1 }, { n: 2 }]);
    await waitFor(async () => (await info()).parked === null, { what: 'the end of the finding' });
    const replaced = stack.logs().split('broker ended to be replaced').length - 1;
    expect(replaced).toBe(1);
  });

  it('stays set aside while its tenant is paused, whichever broker leads', async () => {
    const { redis: server, client, startBroker } = await startGround();
    const redis = new Redis(server.url);
    onTestFinished(() => redis.disconnect());
    const keys = groupKeys('default');
    const stopped = await client.tenant('slow').enqueue('CREATE TABLE t(n)', []);
    const other = await client.tenant('other').enqueue('CREATE TABLE t(n)', []);
    // As a leader leaves it that has paused the tenant.
    const { jobId } = parseReceiptId(stopped.id);
    const error = { code: 'STATEMENT_TIMEOUT', message: 'It ran too long.' };
    await redis.hset(keys.poisoned, jobId, JSON.stringify({ 0: error }));
    await redis.hset(keys.starts, jobId, 1);
    await redis.hset(keys.backOff, 'slow', JSON.stringify({ times: 5, at: Date.now(), paused: 'why' }));
    // The sweep finds the other; it starts by forgetting what is no longer needed.
    await redis.del(keys.notifications);
    await startBroker({ ONEWRITER_SWEEP_INTERVAL_MS: '100' });
    await other.committed({ timeoutMs: 20_000 });
    await resumeTenant(redis, 'default', 'slow');
    expect(await stopped.committed({ timeoutMs: 20_000 }).catch(codeOf)).toBe('STATEMENT_TIMEOUT');
  });

  it('does not keep a broker from handing over: the rest is finished, and its job left to the next', async () => {
    const { client, startBroker } = await startGround();
    const drainMs = 3_000;
    const first = await startBroker({ ONEWRITER_DRAIN_MS: String(drainMs) });
    const db = client.tenant('slow');
    await db.exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
    const endless = db.prepare(ENDLESS).run().catch(codeOf);
    // It has the thread when another write of the tenant is not answered.
    const ready = async () => (await (await fetch(`${first.url}/readyz`)).json()) as { busyLanes: number };
    await waitFor(async () => (await ready()).busyLanes === 1, { what: 'the statement to run' });
    const queued = db.prepare('INSERT INTO t(n) VALUES (1)').run();
    const startedAt = performance.now();
    first.kill('SIGTERM');
    await first.exited;
    expect(performance.now() - startedAt).toBeLessThan(drainMs);
    expect(first.logs()).toContain('A statement does not end');
    // The next one meets the statement, too, sets it aside and ends; the one after it serves what was behind it.
    const env = { ONEWRITER_STATEMENT_TIMEOUT_MS: '500' };
    await startBroker(env);
    await startBroker(env);
    expect(await endless).toBe('STATEMENT_TIMEOUT');
    await queued;
  });
});
