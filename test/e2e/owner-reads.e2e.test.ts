import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { answerKey, LIMITS } from '@onewriter/protocol';
import {
  type ConnectOptions,
  connect,
  type Onewriter,
  type OnewriterError,
  type Tenant,
} from '@onewriter/sdk';
import {
  startRedis,
  startService,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  trackHandle,
  waitFor,
} from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

const READER = join(import.meta.dirname, '../deployment/read-only-reader.js');

let redis: TestRedis;
let data: TemporaryDirectory;
let stopBroker: () => Promise<unknown>;
let tenants = 0;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('owner-reads');
  const env = { ONEWRITER_IDLE_CLOSE_MS: '300' };
  const broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path, env });
  stopBroker = () => broker.stop();
});

afterAll(async () => {
  await stopBroker?.();
  await redis?.stop();
  await data?.remove();
});

/** A client as on another machine: it has nothing but Redis. */
async function connectTo(options: Partial<ConnectOptions> = {}): Promise<Onewriter> {
  const client = await connect({ redis: redis.url, ...options });
  onTestFinished(() => client.close({ timeoutMs: 1_000 }));
  return client;
}

async function newTenant(client: Onewriter): Promise<Tenant> {
  const tenant = client.tenant(`owner-${++tenants}`);
  await tenant.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  return tenant;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    error => (error as OnewriterError).code,
  );

describe('a process with nothing but Redis', () => {
  it('reads what it has written, without waiting for its own writes', async () => {
    const client = await connectTo();
    expect(client.readRoute).toBe('owner');
    const db = await newTenant(client);
    const insert = db.prepare('INSERT INTO t(id, v) VALUES (?, ?)');
    const find = db.prepare<[number], { v: unknown }>('SELECT v FROM t WHERE id = ?');
    const seen = await Promise.all(
      Array.from({ length: 300 }, async (_, id) => {
        const write = insert.run(id, `v${id}`);
        const row = await find.get(id);
        await write;
        return row?.v;
      }),
    );
    expect(seen).toEqual(Array.from({ length: 300 }, (_, id) => `v${id}`));
    expect(await find.get(-1)).toBeUndefined();
  });

  it('gets the same values by every call', async () => {
    const db = await newTenant(await connectTo());
    const values = [null, 1, -1.5, 2n ** 60n, 'text', Buffer.from([0, 255]), ''];
    await Promise.all(values.map((value, id) => db.prepare('INSERT INTO t VALUES (?, ?)').run(id, value)));
    const select = db.prepare<[], { v: unknown }>('SELECT v FROM t ORDER BY id');
    expect((await select.all()).map(({ v }) => v)).toEqual(values);
    const iterated = [];
    for await (const { v } of select.iterate()) iterated.push(v);
    expect(iterated).toEqual(values);
    const exact = await db.execute('SELECT id FROM t WHERE id < 2', [], {
      rowMode: 'array',
      safeIntegers: true,
    });
    expect(exact).toMatchObject({ columns: ['id'], rows: [[0n], [1n]] });
    expect(await db.pragma('user_version', { simple: true })).toBe(0);
    expect(await codeOf(db.prepare('SELECT nope FROM t').get())).toBe('SQL_ERROR');
    expect(await codeOf(db.prepare('SELECT count(*) FROM t a, t b').get())).toBe('READ_TOO_COSTLY');
  });

  it('gets answers that no event can carry, which leave nothing in Redis', async () => {
    const client = await connectTo();
    const db = await newTenant(client);
    const value = 'x'.repeat(3 * LIMITS.maxEventBytes);
    await db.prepare('INSERT INTO t VALUES (1, ?)').run(value);
    const find = db.prepare<[], { v: string }>('SELECT v FROM t WHERE id = 1', { timeoutMs: 10_000 });
    const started = performance.now();
    const rows = await Promise.all(Array.from({ length: 10 }, () => find.get()));
    expect(rows.every(row => row?.v === value)).toBe(true);
    // By the event, and not by the check of late jobs.
    expect(performance.now() - started).toBeLessThan(1_000);
    const commands = new Redis(redis.url);
    onTestFinished(() => commands.disconnect());
    const pattern = answerKey('default', db.id, '*').replaceAll('{', '[{]');
    expect(await commands.keys(pattern)).toEqual([]);
  });

  it('makes no tenant by a read, and settles receipts by the ledger', async () => {
    const client = await connectTo();
    expect(await codeOf(client.tenant('unknown').prepare('SELECT 1').get())).toBe('TENANT_NOT_FOUND');
    expect(existsSync(join(data.path, 'tenants', 'unknown'))).toBe(false);
    const db = await newTenant(client);
    const receipt = await db.enqueue('INSERT INTO t VALUES (1, 1)');
    expect(await receipt.committed()).toMatchObject({ changes: 1 });
    // Another client has no event of it.
    const other = (await connectTo()).tenant(db.id).receipt(receipt.id);
    expect(await other.committed()).toMatchObject({ changes: 1 });
    // Too large for an event, so it comes by way of the ledger.
    const value = 'x'.repeat(2 * LIMITS.maxEventBytes);
    expect(await db.prepare('INSERT INTO t(v) VALUES (?) RETURNING v').get(value)).toEqual({ v: value });
  });
});

it('a client whose data directory is another does not get the rows of this one', async () => {
  const other = await temporaryDirectory('owner-reads-other');
  onTestFinished(() => other.remove());
  const code = await codeOf(connectTo({ dataDir: other.path, reads: 'owner' }));
  expect(code).toBe('MISCONFIGURED');
});

it('a user without the right to write reads also after the tenant was closed', async () => {
  const db = await newTenant(await connectTo());
  await db.exec('ALTER TABLE t ADD COLUMN n; INSERT INTO t(n) VALUES (1), (2)');
  const folder = join(data.path, 'tenants', db.id);
  await waitFor(() => readdirSync(folder).every(name => !name.endsWith('-wal')), {
    timeoutMs: 20_000,
    what: 'the idle close',
  });
  for (const path of [data.path, join(data.path, 'tenants'), folder]) chmodSync(path, 0o755);
  chmodSync(join(data.path, 'identity'), 0o644);
  for (const name of readdirSync(folder)) chmodSync(join(folder, name), 0o644);
  const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  if (process.getuid?.() !== 0) {
    chmodSync(folder, 0o555);
    onTestFinished(() => chmodSync(folder, 0o755));
  }
  const env = { ...process.env, REDIS_URL: redis.url, DATA_DIR: data.path };
  const app = spawn(process.execPath, [READER], { ...user, env, stdio: ['pipe', 'pipe', 'inherit'] });
  const untrack = trackHandle({ what: 'the app without rights', endNow: () => app.kill('SIGKILL') });
  const ended = once(app, 'close');
  let output = '';
  app.stdout.on('data', (text: Buffer) => {
    output += text;
  });
  app.stdin.end(`${db.id}\n`);
  await ended;
  untrack();
  expect(JSON.parse(output)).toEqual({ rows: [1, 2], through: 'owner' });
});
