import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { groupKeys, isHibernated, tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Stack,
  startS3,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* A branch is an entry in the replica: it costs the same whatever its parent has, and lives without it. */

let folder: TemporaryDirectory;
let s3: Awaited<ReturnType<typeof startS3>>;
let stack: Stack;
let client: Onewriter;
let env: Record<string, string>;
const KEY = Buffer.alloc(32, 7).toString('base64');
const fileOf = (tenant: string) => tenantFile(stack.dataDir, tenant, 'tenant.db');

beforeAll(async () => {
  folder = await temporaryDirectory('branch');
  mkdirSync(join(folder.path, 'data'));
  s3 = await startS3();
  env = {
    ...s3.env,
    ONEWRITER_REPLICA_URL: s3.url,
    ONEWRITER_REPLICA_KEY: KEY,
    ONEWRITER_REPLICA_KEYS: 'tenant',
    ONEWRITER_REPLICA_REHEARSALS: 'false',
    ONEWRITER_LEASE_MS: '1000',
  };
  stack = await startStack({ dataDir: join(folder.path, 'data'), env });
  client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
}, 90_000);

afterAll(async () => {
  await client?.close({ timeoutMs: 100 });
  await stack?.stop();
  await s3?.stop();
  await folder?.remove();
});

const cli = async (...args: string[]) =>
  parseJson(await runCli([...args, '--json', '--data-dir', stack.dataDir], { env }));

const rowsOf = (tenant: string) =>
  client.tenant(tenant).prepare<[], { v: string }>('SELECT v FROM t ORDER BY id').all();

async function makeTenant(tenant: string, rows: number) {
  const db = client.tenant(tenant);
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, big BLOB)');
  const insert = db.prepare('INSERT INTO t(v, big) VALUES (?, randomblob(200000))', { durable: 'replica' });
  for (let row = 0; row < rows; row++) await insert.run(`row ${row}`);
  return { db, insert };
}

/** What the store was asked meanwhile, when it is quiet before and afterwards. */
async function countOf(work: () => Promise<unknown>): Promise<{ puts: number; gets: number; bytes: number }> {
  const look = async () => {
    const { get, put } = await s3.counts();
    return { get, put, bytes: s3.objects.keys().reduce((sum, key) => sum + s3.objects.get(key)!.size, 0) };
  };
  let before = await look();
  await waitFor(
    async () => {
      const now = await look();
      const isQuiet = now.put === before.put && now.get === before.get;
      before = now;
      return isQuiet;
    },
    { intervalMs: 1_500, what: 'a quiet store' },
  );
  await work();
  const after = await look();
  return { puts: after.put - before.put, gets: after.get - before.get, bytes: after.bytes - before.bytes };
}

it('costs one small request, and has what its parent had then, whatever becomes of that', async () => {
  const { db, insert } = await makeTenant('acme', 30);
  const cost = await countOf(async () => {
    expect(await cli('branch', 'acme', 'acme-test')).toMatchObject({
      tenant: 'acme-test',
      from: 'acme',
      rows: null,
    });
  });
  expect(cost.puts + cost.gets).toBeLessThanOrEqual(5);
  expect(cost.bytes).toBeLessThan(10_000);
  expect([existsSync(fileOf('acme-test')), isHibernated(stack.dataDir, 'acme-test')]).toEqual([false, true]);
  await insert.run('later');
  await db.prepare('DELETE FROM t WHERE id <= 20', { durable: 'replica' }).run();
  // A branch of a branch that sleeps.
  await cli('branch', 'acme-test', 'acme-twig');
  const deleted = await fetch(`${stack.gatewayUrl}/v1/tenants/acme`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${stack.token}`, 'confirm-delete': 'acme' },
  });
  expect(deleted.status).toBe(200);
  // Its key is needed as long as branches have no pages of their own.
  const erase = await waitFor(
    async () => {
      const run = await runCli(
        ['replica', 'erase', 'acme', '--confirm', 'acme', '--data-dir', stack.dataDir],
        { env },
      );
      return run.stderr.includes('is deleted') || run.stderr.includes('in use') ? undefined : run;
    },
    { intervalMs: 500, what: 'the deletion in the replica' },
  );
  expect([erase.code, erase.stderr]).toEqual([1, expect.stringContaining('began as acme was')]);
  expect((await rowsOf('acme-test')).map(({ v }) => v)).toEqual(
    Array.from({ length: 30 }, (_, row) => `row ${row}`),
  );
  await client
    .tenant('acme-test')
    .prepare("INSERT INTO t(v) VALUES ('its own')", { durable: 'replica' })
    .run();
  expect(await rowsOf('acme-twig')).toHaveLength(30);
  expect(await rowsOf('acme-test')).toHaveLength(31);
  expect(await cli('replica', 'verify', 'acme-test')).toMatchObject([{ ok: true, sameAsFile: true }]);
}, 120_000);

it('begins at a commit of before, and is stored like any other once it is used', async () => {
  const { insert } = await makeTenant('corp', 3);
  const { commitSeq } = await insert.run('then');
  await insert.run('later');
  expect(await cli('branch', 'corp', 'corp-then', '--at', String(commitSeq))).toMatchObject({
    ...{ pointCommitSeq: commitSeq, rows: null },
  });
  expect((await rowsOf('corp-then')).at(-1)).toEqual({ v: 'then' });
  const taken = await runCli(['branch', 'corp', 'corp-then', '--data-dir', stack.dataDir], { env });
  expect([taken.code, taken.stderr]).toEqual([1, expect.stringContaining('TENANT_BUSY')]);
  await cli('branch', 'corp', 'corp-gone');
  const deleted = await fetch(`${stack.gatewayUrl}/v1/tenants/corp-gone`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${stack.token}`, 'confirm-delete': 'corp-gone' },
  });
  expect(deleted.status).toBe(200);
  await expect(rowsOf('corp-gone')).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
}, 90_000);

it('is there or is not, wherever its broker was killed', async () => {
  const { insert } = await makeTenant('bank', 3);
  const redis = new Redis(stack.redisUrl);
  try {
    for (let round = 0; round < 4; round++) {
      const name = `bank-${round}`;
      await insert.run(`round ${round}`);
      const branching = runCli(['branch', 'bank', name, '--data-dir', stack.dataDir], { env });
      // Later in each round: before the request, after it, while it is stored, after it.
      await waitFor(async () => (await redis.exists(`${groupKeys('default').branches}:${name}`)) === 1, {
        ...{ intervalMs: 2, what: 'the request' },
      });
      const { put } = await s3.counts();
      if (round > 0) await waitFor(async () => (await s3.counts()).put >= put + round - 1, { intervalMs: 2 });
      const { broker } = stack.currentPids();
      process.kill(broker, 'SIGKILL');
      const { code, stderr } = await branching;
      await waitFor(() => stack.currentPids().broker !== broker, {
        timeoutMs: 30_000,
        what: 'the next broker',
      });
      await client.tenant('bank').prepare('DELETE FROM t WHERE id > 1000', { durable: 'replica' }).run();
      const found = await rowsOf(name).catch((error: Error & { code: string }) => error.code);
      // Where the command failed, all of it is there, or nothing.
      if (code === 0 || typeof found !== 'string') expect(found, stderr).toHaveLength(4 + round);
      else expect(found).toBe('TENANT_NOT_FOUND');
      expect(await rowsOf('bank')).toHaveLength(4 + round);
    }
  } finally {
    redis.disconnect();
  }
}, 180_000);
