import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createClient } from '@libsql/client/http';
import { groupKeys, newJobId, PROTOCOL_VERSION, tenantFile, tenantQueue } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import { pauseTenant, resumeTenant, withHeldTenant } from '@onewriter/tenants';
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
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { runCli } from './cli-run.ts';
import { columnInFile } from './tenant-file.ts';

/** Far below the deadline of a write, 30 s, and above what a busy machine takes. */
const AT_ONCE_MS = 8_000;

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
let onewriter: Onewriter;
let commands: Redis;
let token: string;

const startBroker = () =>
  startService('broker', {
    redisUrl: redis.url,
    dataDir: data.path,
    env: { ONEWRITER_IDLE_CLOSE_MS: '1000' },
  });

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('parked');
  broker = await startBroker();
  gateway = await startService('gateway', { redisUrl: redis.url, dataDir: data.path });
  onewriter = await connect({ redis: redis.url, dataDir: data.path });
  commands = new Redis(redis.url);
  token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'write' });
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
});
afterAll(async () => {
  commands?.disconnect();
  await onewriter?.close({ timeoutMs: 100 });
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

async function post(path: string, body: unknown) {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return (await response.json()) as any;
}

const INSERT = 'INSERT INTO t VALUES (1)';

/** Each way to write; resolves with the code of the failure. */
const WAYS: Record<string, (tenant: string) => Promise<string>> = {
  SDK: tenant =>
    onewriter
      .tenant(tenant)
      .prepare(INSERT)
      .run()
      .then(
        () => 'ok',
        error => error.code,
      ),
  'SDK steps': tenant =>
    onewriter
      .tenant(tenant)
      .steps({ steps: [{ sql: 'BEGIN' }, { sql: INSERT }], interactive: true })
      .then(
        ({ results }) => (results[0]?.type === 'error' ? results[0].error.code : 'ok'),
        error => error.code,
      ),
  '/v1': async tenant => (await post(`/v1/tenants/${tenant}/query`, { sql: INSERT })).error?.code ?? 'ok',
  'drop-in': async tenant => (await post('/query', { tenantId: tenant, query: INSERT })).code ?? 'ok',
  libSQL: async tenant => {
    const client = createClient({ url: `${gateway.url}/t/${tenant}/`, authToken: token });
    try {
      await client.execute(INSERT);
      return 'ok';
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return code === 'SERVER_ERROR' ? message : code;
    } finally {
      client.close();
    }
  },
};

interface Damage {
  readonly what: string;
  readonly code: string;
  /** As libSQL says it. */
  readonly libsql: string;
  /** @returns what repairs it */
  readonly damage: (file: string) => () => void;
}

const DAMAGES: readonly Damage[] = [
  {
    what: 'damaged',
    code: 'DATABASE_CORRUPT',
    libsql: 'SQLITE_NOTADB|SQLITE_CORRUPT',
    damage: file => {
      const whole = readFileSync(file);
      writeFileSync(file, Buffer.concat([Buffer.alloc(4_096, 0xa5), whole.subarray(4_096)]));
      return () => writeFileSync(file, whole);
    },
  },
  {
    what: 'of a newer format',
    code: 'TENANT_UNAVAILABLE',
    libsql: 'TENANT_UNAVAILABLE|format 99',
    damage: file => {
      const setFormat = (format: number) => {
        const db = new Database(file);
        db.prepare('UPDATE sqlite_onewriter_state SET format = ?').run(format);
        db.close();
      };
      setFormat(99);
      return () => setFormat(3);
    },
  },
  ...['', '-wal', '-shm'].map(suffix => ({
    what: suffix === '' ? 'a folder' : `with a folder as its ${suffix}`,
    code: 'TENANT_UNAVAILABLE',
    libsql: 'TENANT_UNAVAILABLE|folder|regular file',
    damage: (file: string) => {
      const place = file + suffix;
      const away = `${place}.away`;
      const wasThere = existsSync(place);
      if (wasThere) renameSync(place, away);
      mkdirSync(place);
      return () => {
        rmSync(place, { recursive: true });
        if (wasThere) renameSync(away, place);
      };
    },
  })),
];

/** A tenant whose file the broker has closed. */
async function closedTenant(name: string): Promise<string> {
  await onewriter.tenant(name).exec('CREATE TABLE t(a)');
  const hold = { name: 'restore', who: 'test', reason: '', exclusive: true } as const;
  await withHeldTenant(commands, 'default', name, hold, async () => {});
  return name;
}

async function within<Result>(work: Promise<Result>): Promise<Result> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), AT_ONCE_MS);
  try {
    return await Promise.race([
      work,
      once(late.signal, 'abort').then(() => Promise.reject(new Error('No answer at once.'))),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** What the keys of a tenant's queue begin with. */
const queueOf = (tenant: string) => {
  const { prefix, name } = tenantQueue('default', tenant);
  return `${prefix}:${name}:`;
};

/** Of a job that is answered and not yet finished the next leader cannot know that it is applied, once the file is gone. */
const untilFinished = (tenant: string) =>
  waitFor(async () => (await commands.llen(`${queueOf(tenant)}active`)) === 0, {
    what: 'the job to be finished',
  });

const isParked = async (tenant: string) =>
  (await commands.hexists(groupKeys('default').parked, tenant)) === 1;

// At once: each waits for its tenant's next tries most of the time.
describe.concurrent.each(DAMAGES)('a tenant whose file is $what', ({ what, code, libsql, damage }) => {
  it('fails writes at once with the reason, those that wait and those that come, and is written again when it is whole', async () => {
    const tenant = await closedTenant(`t-${what.replaceAll(/ -?/g, '-')}`);
    const file = tenantFile(data.path, tenant);
    const repair = damage(file);
    const writes = Object.values(WAYS);
    const expected = Object.keys(WAYS).map(way => (way === 'libSQL' ? expect.stringMatching(libsql) : code));
    expect(await within(Promise.all(writes.map(write => write(tenant))))).toEqual(expected);
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    // A write that no caller waits for stays, and does not delay the others' answers.
    const receipt = await onewriter.tenant(tenant).enqueue('INSERT INTO t VALUES (7)');
    for (const write of writes) await within(write(tenant));
    expect(await within(Promise.all(writes.map(write => write(tenant))))).toEqual(expected);
    repair();
    expect(await within(receipt.committed())).toMatchObject({ changes: 1 });
    expect(await WAYS['SDK']!(tenant)).toBe('ok');
    expect(await isParked(tenant)).toBe(false);
    // What was said to have failed is never applied.
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([7, 1]);
  });

  it('is known as whole again without a write', async () => {
    const tenant = await closedTenant(`idle-${what.replaceAll(/ -?/g, '-')}`);
    const repair = damage(tenantFile(data.path, tenant));
    expect(await within(WAYS['SDK']!(tenant))).toBe(code);
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    repair();
    await waitFor(async () => !(await isParked(tenant)), {
      timeoutMs: 10_000,
      what: 'the tenant to be parked no more',
    });
  });
});

describe('a job that a broker took before it was killed', () => {
  it('is not said to have failed while its file cannot be opened', async () => {
    const tenant = await closedTenant('taken');
    const db = onewriter.tenant(tenant);
    const file = tenantFile(data.path, tenant);
    // The broker waits for the lock with the job in its thread.
    const lock = new Database(file);
    onTestFinished(() => void lock.close());
    lock.exec('BEGIN IMMEDIATE');
    const write = db
      .prepare(INSERT)
      .withOptions({ timeoutMs: 12_000 })
      .run()
      .then(
        () => 'ok',
        error => error.code,
      );
    await waitFor(async () => (await (await fetch(`${broker.url}/readyz`)).json()).busyLanes === 1, {
      intervalMs: 5,
      what: 'the broker to begin',
    });
    process.kill(broker.pid, 'SIGKILL');
    lock.exec('ROLLBACK');
    lock.close();
    const whole = readFileSync(file);
    writeFileSync(file, Buffer.alloc(whole.length, 0xa5));
    broker = await startBroker();
    await waitFor(() => isParked(tenant), { timeoutMs: 10_000, what: 'the tenant to be parked' });
    writeFileSync(file, whole);
    expect(await write).toBe('ok');
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([1]);
  });
});

/** Batches that files refused, as the broker counts them since its start. */
async function countRefused(): Promise<number> {
  const text = await (await fetch(`${broker.url}/metrics`)).text();
  const counts = text.matchAll(/^onewriter_refused_batches_total\{[^}]*\} (\d+)/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

describe('jobs of a parked tenant', () => {
  it('are never taken for poison, however often the broker is killed while they wait', async () => {
    const tenant = await closedTenant('waiting');
    const file = tenantFile(data.path, tenant);
    const whole = readFileSync(file);
    writeFileSync(file, Buffer.alloc(whole.length, 0xa5));
    const receipts = await Promise.all([1, 2, 3, 4, 5].map(() => onewriter.tenant(tenant).enqueue(INSERT)));
    const active = `${queueOf(tenant)}active`;
    for (let kills = 0; kills < 5; kills++) {
      await waitFor(async () => (await commands.llen(active)) > 0 && (await countRefused()) > 1, {
        timeoutMs: 15_000,
        what: 'the file to be tried',
      });
      process.kill(broker.pid, 'SIGKILL');
      broker = await startBroker();
    }
    // A kill in the very moment of a try may count as one.
    const starts = Object.values(await commands.hgetall(groupKeys('default').starts)).map(Number);
    expect(Math.max(0, ...starts)).toBeLessThan(2);
    writeFileSync(file, whole);
    const settled = await Promise.all(receipts.map(receipt => receipt.committed({ timeoutMs: 20_000 })));
    expect(settled.map(({ changes }) => changes)).toEqual([1, 1, 1, 1, 1]);
    await waitFor(async () => (await commands.exists(groupKeys('default').starts)) === 0, {
      what: 'the counts to be forgotten',
    });
  });
});

describe('a job of a protocol version that the broker does not know', () => {
  it('stays in its place, visible, until a broker leads that knows it', async () => {
    const tenant = 'newer-app';
    const db = onewriter.tenant(tenant);
    await db.exec('CREATE TABLE t(a)');
    const id = newJobId();
    const encode = (v: number) =>
      JSON.stringify({
        v,
        client: 'c-newer',
        seq: 1,
        at: 0,
        sql: ['INSERT INTO t VALUES (2)'],
        ops: [{ s: 0 }],
      });
    const key = queueOf(tenant);
    const newer = encode(PROTOCOL_VERSION + 1);
    await commands.hset(key + id, { name: 'newer', data: newer, opts: '{}', timestamp: Date.now() });
    await commands.lpush(`${key}wait`, id);
    const later = await db.enqueue('INSERT INTO t VALUES (3)');
    await waitFor(() => isParked(tenant), { timeoutMs: 10_000, what: 'the tenant to be parked' });
    const record = JSON.parse((await commands.hget(groupKeys('default').parked, tenant))!);
    expect(record).toMatchObject({
      code: 'UNSUPPORTED_VERSION',
      message: expect.stringContaining(`version ${PROTOCOL_VERSION + 1} `),
    });
    // Callers behind it get their answers at once; other tenants are not touched.
    const ways = Object.entries(WAYS);
    const answers = await within(Promise.all(ways.map(([, write]) => write(tenant))));
    expect(answers).toEqual(
      ways.map(([way]) =>
        way === 'libSQL' ? expect.stringContaining('TENANT_UNAVAILABLE') : 'TENANT_UNAVAILABLE',
      ),
    );
    await within(onewriter.tenant('same-app').exec('CREATE TABLE t(a)'));
    expect(await later.status()).toMatchObject({ state: 'pending' });
    expect(await commands.hget(key + id, 'finishedOn')).toBeNull();

    await broker.stop();
    const oldestFirst = (await commands.lrange(`${key}wait`, 0, -1)).reverse();
    expect(oldestFirst).toEqual([id, later.id.split('.')[0]]);
    // For the broker that is started now it is of a version that it knows.
    await commands.hset(key + id, 'data', encode(PROTOCOL_VERSION));
    broker = await startBroker();
    await later.committed({ timeoutMs: 15_000 });
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t ORDER BY rowid')).toEqual([2, 3]);
    await waitFor(async () => !(await isParked(tenant)), { what: 'the tenant to be parked no more' });
  });
});

describe('a tenant whose file another program writes while the broker has it open', () => {
  const found = async (tenant: string) => {
    const env = { ONEWRITER_REDIS_URL: redis.url };
    const [status, doctor] = await Promise.all([
      runCli(['status', '--data-dir', data.path], { env }),
      runCli(['doctor', '--data-dir', data.path], { env }),
    ]);
    const finding = `Another process wrote to the file .*onewriter tenants pause ${tenant}, then resume`;
    return [status.stdout, doctor.stdout].map(text => new RegExp(finding).test(text.replaceAll(/\s+/g, ' ')));
  };
  const writeElsewhere = (tenant: string) => {
    const file = new Database(tenantFile(data.path, tenant), { fileMustExist: true });
    file.exec('INSERT INTO t VALUES (99)');
    file.close();
  };

  it('is refused before the next commit, by each API with its remedy, and continues after a pause', async () => {
    const tenant = 'shared';
    const db = onewriter.tenant(tenant);
    await db.exec('CREATE TABLE t(a)');
    writeElsewhere(tenant);
    const expected = Object.keys(WAYS).map(way =>
      way === 'libSQL'
        ? expect.stringMatching('TENANT_UNAVAILABLE|Another process wrote')
        : 'TENANT_UNAVAILABLE',
    );
    expect(await within(Promise.all(Object.values(WAYS).map(write => write(tenant))))).toEqual(expected);
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    await waitFor(async () => (await found(tenant)).every(Boolean), {
      timeoutMs: 20_000,
      what: 'status and doctor to say it',
    });
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([99]);
    await pauseTenant(commands, 'default', tenant, 'test');
    expect(await isParked(tenant)).toBe(false);
    await resumeTenant(commands, 'default', tenant);
    expect(await WAYS['SDK']!(tenant)).toBe('ok');
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([99, 1]);
  });

  it('is parked when its file is closed for being idle, without a write', async () => {
    const tenant = 'shared-idle';
    await onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    writeElsewhere(tenant);
    await waitFor(() => isParked(tenant), { timeoutMs: 15_000, what: 'the tenant to be parked' });
    expect(await WAYS['SDK']!(tenant)).toBe('TENANT_UNAVAILABLE');
  });
});

async function asAdmin(method: string, tenant: string): Promise<Response> {
  const admin = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  return fetch(`${gateway.url}/v1/tenants/${tenant}`, {
    method,
    headers: { authorization: `Bearer ${admin}`, 'confirm-delete': tenant },
  });
}

describe('a tenant whose folder was moved away before its broker was killed', () => {
  it('gets no new file from the next leader, says where it was, and is written again when it is back', async () => {
    const tenant = 'moved';
    await onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    expect(await WAYS['SDK']!(tenant)).toBe('ok');
    const folder = dirname(tenantFile(data.path, tenant));
    const away = join(data.path, 'moved-away');
    renameSync(folder, away);
    process.kill(broker.pid, 'SIGKILL');
    broker = await startBroker();
    // Before any write finds it.
    expect(await (await asAdmin('GET', tenant)).json()).toMatchObject({ state: 'parked', bytes: null });
    const checked = await runCli(['check', '--all', '--data-dir', data.path], {
      env: { ONEWRITER_REDIS_URL: redis.url },
    });
    expect(checked.stdout).toContain(`${folder} is gone`);
    const expected = Object.keys(WAYS).map(way =>
      way === 'libSQL' ? expect.stringMatching('TENANT_UNAVAILABLE|is gone from') : 'TENANT_UNAVAILABLE',
    );
    expect(await within(Promise.all(Object.values(WAYS).map(write => write(tenant))))).toEqual(expected);
    expect((await within(asAdmin('PUT', tenant))).status).toBe(503);
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    const record = JSON.parse((await commands.hget(groupKeys('default').parked, tenant))!);
    expect(record.message).toContain(`onewriter tenants pause ${tenant}, then resume`);
    expect(existsSync(folder)).toBe(false);
    renameSync(away, folder);
    expect(await within(WAYS['SDK']!(tenant))).toBe('ok');
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([1, 1]);
    expect(await isParked(tenant)).toBe(false);
  });

  it('is known as whole again without a write by the next leader', async () => {
    const tenant = 'back-later';
    await onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    await untilFinished(tenant);
    const folder = dirname(tenantFile(data.path, tenant));
    const away = join(data.path, 'moved-for-longer');
    renameSync(folder, away);
    process.kill(broker.pid, 'SIGKILL');
    broker = await startBroker();
    expect(await within(WAYS['SDK']!(tenant))).toBe('TENANT_UNAVAILABLE');
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    process.kill(broker.pid, 'SIGKILL');
    renameSync(away, folder);
    broker = await startBroker();
    await waitFor(async () => !(await isParked(tenant)), { what: 'the tenant to be known as whole' });
  });

  it('is written again when a backup is restored in its place', async () => {
    const tenant = 'restored';
    await onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    expect(await WAYS['SDK']!(tenant)).toBe('ok');
    const env = { ONEWRITER_REDIS_URL: redis.url };
    const run = (...args: string[]) => runCli([...args, '--data-dir', data.path], { env });
    const [{ path }] = JSON.parse((await run('backup', tenant, '--json')).stdout);
    rmSync(dirname(tenantFile(data.path, tenant)), { recursive: true });
    process.kill(broker.pid, 'SIGKILL');
    broker = await startBroker();
    expect(await within(WAYS['SDK']!(tenant))).toBe('TENANT_UNAVAILABLE');
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    expect(await run('restore', path, tenant)).toMatchObject({ code: 0 });
    expect(await within(WAYS['SDK']!(tenant))).toBe('ok');
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([1, 1]);
    expect(await isParked(tenant)).toBe(false);
  });

  it('begins with an empty file when a person has paused and resumed it, knowing that it is gone', async () => {
    const tenant = 'given-up';
    await onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    await untilFinished(tenant);
    rmSync(dirname(tenantFile(data.path, tenant)), { recursive: true });
    process.kill(broker.pid, 'SIGKILL');
    broker = await startBroker();
    const pauseAndResume = async () => {
      await pauseTenant(commands, 'default', tenant, 'test');
      await resumeTenant(commands, 'default', tenant);
    };
    // Paused for something else: nothing was found yet.
    await pauseAndResume();
    expect(await within(WAYS['SDK']!(tenant))).toBe('TENANT_UNAVAILABLE');
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    await pauseAndResume();
    await within(onewriter.tenant(tenant).exec('CREATE TABLE t(a)'));
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([]);
    expect(await isParked(tenant)).toBe(false);
    // Deleted by Onewriter, it may be made again at once.
    expect((await within(asAdmin('DELETE', tenant))).status).toBe(200);
    await within(onewriter.tenant(tenant).exec('CREATE TABLE t(b)'));
  });

  it('is served again when its broker, which stood still past its lease meanwhile, continues', async () => {
    const tenant = 'stood-still';
    await onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    await untilFinished(tenant);
    rmSync(dirname(tenantFile(data.path, tenant)), { recursive: true });
    process.kill(broker.pid, 'SIGKILL');
    broker = await startBroker();
    // The second, too, is notified alone: from then on a fetch of its jobs waits behind the next notification.
    for (let n = 0; n < 2; n++) expect(await within(WAYS['SDK']!(tenant))).toBe('TENANT_UNAVAILABLE');
    await waitFor(() => isParked(tenant), { what: 'the tenant to be parked' });
    process.kill(broker.pid, 'SIGSTOP');
    onTestFinished(() => void process.kill(broker.pid, 'SIGCONT'));
    await waitFor(async () => (await commands.exists(groupKeys('default').lease)) === 0, {
      what: 'the lease to run out',
    });
    await pauseTenant(commands, 'default', tenant, 'test');
    await resumeTenant(commands, 'default', tenant);
    const written = onewriter.tenant(tenant).exec('CREATE TABLE t(a)');
    process.kill(broker.pid, 'SIGCONT');
    await within(written);
    expect(columnInFile(data.path, tenant, 'SELECT a FROM t')).toEqual([]);
    expect(await isParked(tenant)).toBe(false);
  });
});
