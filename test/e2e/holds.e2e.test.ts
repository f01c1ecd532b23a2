import { tenantFile, tenantQueue } from '@onewriter/protocol';
import { openRedis, readAudit } from '@onewriter/runtime';
import { connect, type Onewriter, type Receipt, type Tenant } from '@onewriter/sdk';
import { holdKeys, isTenantPaused, pauseTenant, resumeTenant, withHeldTenant } from '@onewriter/tenants';
import { CLI_MAIN, type Stack, spawnProcess, startStack, waitFor, withoutSettings } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';
import { columnInFile } from './tenant-file.ts';

/* What keeps a tenant still while its file is worked on, whatever else is done with the tenant meanwhile. Issue 13. */

const GROUP = 'default';

let stack: Stack;
let app: Onewriter;
let redis: Redis;

beforeAll(async () => {
  // A hold that has run out is found by a sweep.
  stack = await startStack({ env: { ONEWRITER_SWEEP_INTERVAL_MS: '1000' } });
  app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  redis = await openRedis(stack.redisUrl);
});

afterAll(async () => {
  redis?.disconnect();
  await app?.close();
  await stack?.stop();
});

const onewriter = (...args: string[]) => runCli([...args, '--data-dir', stack.dataDir]);

async function newTenant(name: string): Promise<Tenant> {
  const db = app.tenant(name);
  await db.exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
  return db;
}

function gateway(method: string, path: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${stack.gatewayUrl}/v1/tenants/${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.token}`, ...headers },
  });
}

/** Does `work` again and again until it is stopped. */
function repeat(work: () => Promise<unknown>): () => Promise<void> {
  let stopped = false;
  const running = (async () => {
    while (!stopped) await work();
  })();
  const stop = async () => {
    stopped = true;
    await running;
  };
  // Also where the test fails before it stops it.
  onTestFinished(() => {
    stopped = true;
  });
  return stop;
}

/** Writers that note what was acknowledged. */
function startWriters(db: Tenant, count: number) {
  const acknowledged: { readonly n: number; readonly commitSeq: number }[] = [];
  let next = 0;
  const stops = Array.from({ length: count }, () =>
    repeat(async () => {
      const n = next++;
      const { commitSeq } = await db.prepare('INSERT INTO t VALUES (?)').run(n);
      acknowledged.push({ n, commitSeq: commitSeq! });
    }),
  );
  const stop = async () => {
    await Promise.all(stops.map(each => each()));
    return acknowledged;
  };
  return { acknowledged, stop };
}

describe('a restore in the place of a file that is written', () => {
  it('loses no write that was acknowledged with a later commit number, however often the tenant is resumed meanwhile', async () => {
    const db = await newTenant('resumed');
    await db.prepare('INSERT INTO t VALUES (-1)').run();
    const [{ path }] = parseJson(await onewriter('backup', 'resumed', '--json'));
    const writers = startWriters(db, 32);
    const stopResumes = repeat(() => resumeTenant(redis, GROUP, 'resumed'));
    const restores = [];
    for (let round = 0; round < 3; round++) {
      await waitFor(() => writers.acknowledged.length > (round + 1) * 300, { what: 'some writes' });
      restores.push(parseJson(await onewriter('restore', path, 'resumed', '--replace', '--json')));
    }
    await stopResumes();
    const acknowledged = await writers.stop();
    const { commitSeq, paused } = restores.at(-1)!;
    expect(paused).toBe(false);
    const kept = new Set(columnInFile(stack.dataDir, 'resumed', 'SELECT n FROM t'));
    const later = acknowledged.filter(write => write.commitSeq > commitSeq);
    expect(later.filter(({ n }) => !kept.has(n))).toEqual([]);
    expect(later.length).toBeGreaterThan(0);
    const numbersOfRestores = new Set(restores.map(restore => restore.commitSeq));
    expect(acknowledged.filter(write => numbersOfRestores.has(write.commitSeq))).toEqual([]);
    // What a restore took away has a number up to that of the file that it replaced.
    const replaced = restores.at(-1)!.replacedCommitSeq;
    expect(acknowledged.filter(write => write.commitSeq > replaced && !kept.has(write.n))).toEqual([]);
  });
});

describe('a deletion', () => {
  it('leaves a tenant that is written again, however often it is resumed meanwhile', async () => {
    for (let round = 0; round < 3; round++) {
      const tenant = `deleted-${round}`;
      const db = await newTenant(tenant);
      const stopWriters = Array.from({ length: 32 }, (_, n) =>
        repeat(() =>
          db
            .prepare('INSERT INTO t VALUES (?) ON CONFLICT DO NOTHING')
            .run(n)
            .catch(() => {}),
        ),
      );
      const stopResumes = repeat(() => resumeTenant(redis, GROUP, tenant));
      const deleted = await gateway('DELETE', `${tenant}?discardQueued=true`, { 'confirm-delete': tenant });
      expect([deleted.status, await deleted.text()]).toEqual([200, expect.stringContaining('trash')]);
      await stopResumes();
      const began = performance.now();
      // A new file, without the table.
      await db.exec('CREATE TABLE u(n)');
      expect(performance.now() - began).toBeLessThan(3_000);
      await Promise.all(stopWriters.map(stop => stop()));
      await waitFor(async () => (await jobsOf(tenant)).active === 0, { what: 'no active jobs' });
    }
  });
});

describe('a tenant that is held', () => {
  const hold = { name: 'restore', who: 'test', reason: 'of this test', exclusive: true } as const;

  it('is not opened by any broker, whatever is notified and whichever leads, until the hold ends', async () => {
    const db = await newTenant('held');
    const receipts: Receipt[] = [];
    await withHeldTenant(redis, GROUP, 'held', hold, async held => {
      const before = stack.currentPids().broker;
      for (let n = 0; n < 20; n++) receipts.push(await db.enqueue('INSERT INTO t VALUES (?)', [n]));
      await resumeTenant(redis, GROUP, 'held');
      process.kill(before, 'SIGKILL');
      await waitFor(() => stack.currentPids().broker !== before, { what: 'a new broker' });
      // Another tenant is written: the new one leads.
      await newTenant('beside');
      for (let n = 0; n < 20; n++) await resumeTenant(redis, GROUP, 'held');
      await newTenant('beside-2');
      expect(await jobsOf('held')).toEqual({ waiting: 20, active: 0 });
      expect(columnInFile(stack.dataDir, 'held', 'SELECT n FROM t')).toEqual([]);
      await held.assertHeld();
    });
    for (const receipt of receipts) await receipt.committed();
    expect(columnInFile(stack.dataDir, 'held', 'SELECT count(*) FROM t')).toEqual([20]);
  });

  it('says who holds it to those who wait for a receipt, in this process and over HTTP', async () => {
    const db = await newTenant('receipts');
    await withHeldTenant(redis, GROUP, 'receipts', hold, async () => {
      const receipt = await db.enqueue('INSERT INTO t VALUES (1)');
      const holder = {
        name: 'restore',
        who: 'test',
        reason: 'of this test',
        since: expect.any(String),
        expiresAt: expect.any(String),
      };
      await expect(receipt.committed({ timeoutMs: 1_000 })).rejects.toMatchObject({
        code: 'OUTCOME_UNKNOWN',
        message: expect.stringContaining('Tenant receipts is held: restore by test'),
        details: { holders: [holder] },
      });
      expect(await receipt.status()).toEqual({ state: 'pending', holders: [holder] });
      const response = await gateway('GET', `receipts/receipts/${receipt.id}?wait=500`);
      expect(await response.json()).toEqual({ state: 'pending', holders: [holder] });
    });
    expect(await db.receipt((await db.enqueue('INSERT INTO t VALUES (2)')).id).committed()).toBeDefined();
  });

  it('says who holds it, to writers, in its state and on the command line, and refuses a second file operation', async () => {
    await newTenant('named');
    await withHeldTenant(redis, GROUP, 'named', hold, async () => {
      const holder = { name: 'restore', who: 'test', reason: 'of this test', since: expect.any(String) };
      const state = await (await gateway('GET', 'named')).json();
      expect(state).toMatchObject({ state: 'restoring', holders: [holder] });
      const write = await fetch(`${stack.gatewayUrl}/v1/tenants/named/query`, {
        method: 'POST',
        headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ sql: 'INSERT INTO t VALUES (1)' }),
      });
      expect([write.status, await write.json()]).toEqual([
        503,
        {
          error: expect.objectContaining({
            code: 'TENANT_PAUSED',
            message: expect.stringMatching(/restore by test since .* \(of this test\)/),
            details: expect.objectContaining({ holders: [expect.objectContaining(holder)] }),
          }),
        },
      ]);
      const deleted = await gateway('DELETE', 'named', { 'confirm-delete': 'named' });
      expect([deleted.status, await deleted.json()]).toEqual([
        503,
        {
          error: expect.objectContaining({
            code: 'TENANT_UNAVAILABLE',
            details: expect.objectContaining({
              holder: expect.objectContaining(holder),
              retryAfterMs: 1_000,
            }),
          }),
        },
      ]);
      const info = await onewriter('tenants', 'info', 'named');
      expect(info.stdout).toMatch(/^held: +restore by test since .*\(of this test\)$/m);
      expect((await onewriter('tenants', 'list')).stdout).toMatch(/named .*restoring/);
      const page = await fetch(`${stack.dashboardUrl}/tenants/named`, {
        headers: { authorization: `Bearer ${stack.token}` },
      });
      expect(await page.text()).toMatch(/Held by a restore of test .*of this test/);
    });
    expect(await (await gateway('GET', 'named')).json()).toMatchObject({ state: 'active', holders: [] });
  });

  it('stays paused where a person paused it meanwhile, and names that person', async () => {
    const db = await newTenant('both');
    await withHeldTenant(redis, GROUP, 'both', hold, async () => {
      // It joins the hold: the file is closed already.
      await pauseTenant(redis, GROUP, 'both', 'alice', 'to copy the file');
    });
    const receipt = await db.enqueue('INSERT INTO t VALUES (1)');
    expect(await (await gateway('GET', 'both')).json()).toMatchObject({
      state: 'paused',
      holders: [{ name: 'pause', who: 'alice', reason: 'to copy the file', expiresAt: null }],
    });
    await newTenant('beside-3');
    expect(await jobsOf('both')).toEqual({ waiting: 1, active: 0 });
    await resumeTenant(redis, GROUP, 'both');
    await receipt.committed();
  });

  it('is written again when the process that held it died, and paused if that had begun to replace its file', async () => {
    await Promise.all(
      LOST_HOLDS.map(async ({ tenant, pauseIfLost, begun, outcome }) => {
        const db = await newTenant(tenant);
        const pauses = outcome === 'paused';
        let receipt: Receipt | undefined;
        const working = withHeldTenant(redis, GROUP, tenant, { ...hold, pauseIfLost }, async held => {
          receipt = await db.enqueue('INSERT INTO t VALUES (1)');
          if (begun) await held.beginChange();
          await expireHolds(tenant);
          if (pauses) await waitFor(() => isTenantPaused(redis, GROUP, tenant), { timeoutMs: 30_000 });
          else await receipt.committed();
          // What was stopped for so long changes no file.
          await held.assertHeld();
        });
        await expect(working).rejects.toMatchObject({ code: 'TENANT_UNAVAILABLE' });
        const state = await (await gateway('GET', tenant)).json();
        expect(state).toMatchObject({ state: pauses ? 'paused' : 'active' });
        if (pauses) {
          expect(state.holders).toEqual([
            expect.objectContaining({
              name: 'pause',
              who: 'test',
              reason: expect.stringContaining('restore was cut off'),
            }),
          ]);
        }
        await resumeTenant(redis, GROUP, tenant);
        await receipt!.committed();
      }),
    );
    const audit = await readAudit(redis, GROUP, 100);
    const lost = audit.filter(({ action }) => action === 'tenant.hold-lost');
    for (const { tenant, outcome } of LOST_HOLDS) {
      expect(lost.filter(entry => entry.tenant === tenant).map(entry => entry.outcome)).toEqual([outcome]);
    }
  });

  it('is written again after a restore that was killed before it replaced the file, without a resume', async () => {
    const db = await newTenant('killed');
    const [{ path }] = parseJson(await onewriter('backup', 'killed', '--json'));
    // A lock of another program: the restore waits for it when the broker has released the file.
    const other = new Database(tenantFile(stack.dataDir, 'killed'));
    onTestFinished(() => void other.close());
    other.exec('BEGIN IMMEDIATE');
    const args = ['restore', path, 'killed', '--replace', '--data-dir', stack.dataDir];
    const restore = await spawnProcess(process.execPath, [CLI_MAIN, ...args], { env: withoutSettings() });
    const { meta } = holdKeys(GROUP, 'killed');
    await waitFor(async () => (await redis.hexists(meta, 'onewriter.released')) === 1 || undefined, {
      what: 'a released file',
    });
    restore.kill('SIGKILL');
    expect((await restore.exited).signal).toBe('SIGKILL');
    other.exec('ROLLBACK');
    await expireHolds('killed');
    await db.prepare('INSERT INTO t VALUES (1)', { timeoutMs: 30_000 }).run();
    expect(await isTenantPaused(redis, GROUP, 'killed')).toBe(false);
    expect(await readAudit(redis, GROUP, 100)).toContainEqual(
      expect.objectContaining({ action: 'tenant.hold-lost', tenant: 'killed', outcome: 'resumed' }),
    );
  });
});

/** Holds that run out, and how the tenant is then. */
const LOST_HOLDS = [
  { tenant: 'left-unsaid', pauseIfLost: false, begun: true, outcome: 'resumed' },
  { tenant: 'left-before', pauseIfLost: true, begun: false, outcome: 'resumed' },
  { tenant: 'left-within', pauseIfLost: true, begun: true, outcome: 'paused' },
];

/** As half a minute does in which a hold is not renewed. */
async function expireHolds(tenant: string): Promise<void> {
  const { holds } = holdKeys(GROUP, tenant);
  for (const [id, json] of Object.entries(await redis.hgetall(holds))) {
    await redis.hset(holds, id, JSON.stringify({ ...JSON.parse(json), expiresAt: 1 }));
  }
}

async function jobsOf(tenant: string) {
  const { prefix, name } = tenantQueue(GROUP, tenant);
  const [waiting, active] = await Promise.all([
    redis.llen(`${prefix}:${name}:wait`),
    redis.llen(`${prefix}:${name}:active`),
  ]);
  return { waiting, active };
}
