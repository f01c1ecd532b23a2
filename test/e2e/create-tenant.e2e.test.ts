import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { tenantFile } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { withHeldTenant } from '@onewriter/tenants';
import {
  type Service,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { columnInFile } from './tenant-file.ts';

/** Long enough to be caught in the middle; it takes minutes. */
const SLOW =
  'CREATE TABLE slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000) SELECT max(i) FROM n';
const GOOD =
  'CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1); PRAGMA user_version = 7; PRAGMA journal_mode = WAL';

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
let commands: Redis;
let token: string;

const startGateway = () => startService('gateway', { redisUrl: redis.url, dataDir: data.path });

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('create-tenant');
  broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
  gateway = await startGateway();
  commands = new Redis(redis.url);
  token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
});
afterAll(async () => {
  commands?.disconnect();
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

async function put(tenant: string, script?: string, options: { signal?: AbortSignal; url?: string } = {}) {
  const response = await fetch(`${options.url ?? gateway.url}/v1/tenants/${tenant}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ script }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, body: (await response.json()) as any };
}

/** Neither the file system nor Redis nor the gateway know the tenant. */
async function expectNothing(tenant: string): Promise<void> {
  expect(existsSync(dirname(tenantFile(data.path, tenant)))).toBe(false);
  expect(await commands.keys(`*${tenant}*`)).toEqual([]);
  expect(await commands.zscore('ow:{default}:tenants', tenant)).toBeNull();
  const response = await fetch(`${gateway.url}/v1/tenants/${tenant}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(response.status).toBe(404);
}

async function expectWhole(tenant: string): Promise<void> {
  expect((await put(tenant, GOOD)).status).toBe(201);
  expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([1]);
  expect(columnInFile(data.path, tenant, 'PRAGMA user_version')).toEqual([7]);
}

describe('PUT /v1/tenants/:tenant with a script', () => {
  it.each<[string, string, number, string, number | undefined]>([
    ['syntax', 'CREATE TABLE t(a); INSRT INTO t VALUES (1)', 422, 'SQL_ERROR', 1],
    ['constraint', 'CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1), (1)', 409, 'CONSTRAINT_VIOLATION', 1],
    [
      'keys',
      'CREATE TABLE t(a PRIMARY KEY, b REFERENCES t); INSERT INTO t VALUES (1, 5)',
      409,
      'CONSTRAINT_VIOLATION',
      1,
    ],
    [
      'deferred',
      'CREATE TABLE p(a PRIMARY KEY); CREATE TABLE t(a REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1)',
      409,
      'CONSTRAINT_VIOLATION',
      undefined,
    ],
    ['refused', "CREATE TABLE t(a); ATTACH 'x' AS y", 400, 'STATEMENT_NOT_ALLOWED', 1],
    ['control', 'BEGIN; CREATE TABLE t(a); ROLLBACK', 400, 'STATEMENT_NOT_ALLOWED', 0],
    [
      'rollback',
      'CREATE TABLE t(a UNIQUE); INSERT OR ROLLBACK INTO t VALUES (1), (1)',
      409,
      'CONSTRAINT_VIOLATION',
      1,
    ],
    ['empty', ' -- nothing', 400, 'INVALID_ARGUMENT', undefined],
  ])(
    'that fails (%s) leaves nothing, and its retry runs',
    async (name, script, status, code, statementIndex) => {
      const tenant = `fails-${name}`;
      const failed = await put(tenant, script);
      expect([failed.status, failed.body.error.code, failed.body.error.details?.statementIndex]).toEqual([
        status,
        code,
        statementIndex,
      ]);
      await expectNothing(tenant);
      await expectWhole(tenant);
    },
  );

  it('makes one tenant of many requests at once, and never runs on one that is there', async () => {
    const script = (a: number) => `CREATE TABLE t(a); INSERT INTO t VALUES (${a})`;
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => put('crowd', script(index))));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 200, 200, 200, 200, 201]);
    const winner = answers.findIndex(({ status }) => status === 201);
    expect(columnInFile(data.path, 'crowd', 'SELECT a FROM t')).toEqual([winner]);
    expect((await put('crowd', 'DROP TABLE t')).status).toBe(200);
    expect(columnInFile(data.path, 'crowd', 'SELECT a FROM t')).toEqual([winner]);
  });

  it('waits for another that creates the same tenant, instead of being refused', async () => {
    const request = { name: 'create', who: 'test', reason: '', exclusive: true, closesFile: false } as const;
    const answer = await withHeldTenant(commands, 'default', 'waited', request, async () => {
      const second = put('waited', GOOD);
      // Its script has run, and it was refused the tenant: nothing else makes it wait.
      const first = await Promise.race([second, pause(1_500).then(() => undefined)]);
      expect(first).toBeUndefined();
      return { second };
    });
    expect((await answer.second).status).toBe(201);
  });

  it('whose client gave up leaves nothing', async () => {
    const aborter = new AbortController();
    const aborted = put('given-up', `CREATE TABLE t(a); ${SLOW}`, { signal: aborter.signal });
    await waitFor(async () => (await scratches()) > 0, { what: 'the script to run' });
    aborter.abort();
    await expect(aborted).rejects.toThrow();
    await waitFor(async () => (await scratches()) === 0, { what: 'the end of the script' });
    await expectNothing('given-up');
    await expectWhole('given-up');
  });

  it('leaves nothing where the gateway is killed in the middle', async () => {
    const other = await startGateway();
    onTestFinished(async () => void (await other.stop()));
    const killed = put('killed', `CREATE TABLE t(a); ${SLOW}`, { url: other.url }).catch(() => 'broken off');
    await waitFor(async () => (await scratches()) > 0, { what: 'the script to run' });
    process.kill(other.pid, 'SIGKILL');
    expect(await killed).toBe('broken off');
    await expectNothing('killed');
    await expectWhole('killed');
  });
});

/** Databases that are being made. */
async function scratches(): Promise<number> {
  const names = await readdir(`${data.path}/trash`).catch(() => []);
  return names.filter(name => name.startsWith('scratch.')).length;
}
