import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Stack,
  startRedis,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { expect, onTestFinished, test } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* The replica as people and callers see it: `npm start` with a store in a folder, and then the machine is lost. */

interface Place {
  readonly folder: TemporaryDirectory;
  readonly url: string;
  readonly dataDir: string;
}

async function makePlace(label: string): Promise<Place> {
  const folder = await temporaryDirectory(label);
  onTestFinished(() => folder.remove());
  const store = join(folder.path, 'store');
  mkdirSync(store);
  return { folder, url: `file://${store}`, dataDir: join(folder.path, 'data') };
}

async function start({ url, dataDir }: Place, env: Record<string, string> = {}): Promise<Stack> {
  const stack = await startStack({ dataDir, env: { ONEWRITER_REPLICA_URL: url, ...env } });
  onTestFinished(async () => void (await stack.stop()));
  return stack;
}

async function connectTo(stack: Stack): Promise<Onewriter> {
  const { redisUrl, dataDir, gatewayUrl, token } = stack;
  const client = await connect({ redis: redisUrl, dataDir, gatewayUrl, token });
  onTestFinished(() => client.close({ timeoutMs: 100 }));
  return client;
}

/** The machine is lost: all processes at once, and the disk. */
async function loseMachine(stack: Stack, { dataDir }: Place): Promise<void> {
  await stack.kill();
  rmSync(dataDir, { recursive: true, force: true });
}

const cli = (place: Place, ...args: string[]) =>
  runCli([...args, '--data-dir', place.dataDir, '--json'], { env: { ONEWRITER_REPLICA_URL: place.url } });

const rowsOf = (client: Onewriter, tenant: string) =>
  client.tenant(tenant).prepare<[], { v: string }>('SELECT v FROM t ORDER BY id').all();

test('a write that waited for the replica survives the loss of the machine, with all tenants', {
  timeout: 180_000,
}, async () => {
  const place = await makePlace('replica-lost');
  const stack = await start(place);
  const client = await connectTo(stack);
  const tenants = ['acme', 'bank', 'corp'];
  for (const tenant of tenants) {
    const db = client.tenant(tenant);
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
    for (let number = 1; number <= 20; number++)
      await db.prepare('INSERT INTO t(v) VALUES (?)').run(`${tenant} ${number}`);
  }
  const last: number[] = [];
  for (const tenant of tenants) {
    const beganAt = Date.now();
    const insert = client.tenant(tenant).prepare('INSERT INTO t(v) VALUES (?)', { durable: 'replica' });
    const { replicatedAt, commitSeq } = await insert.run('the last');
    expect(replicatedAt).toBeGreaterThanOrEqual(beganAt);
    last.push(commitSeq);
  }
  // Over HTTP, and a receipt.
  const answer = await fetch(`${stack.gatewayUrl}/v1/tenants/acme/script`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ sql: "INSERT INTO t(v) VALUES ('over http')", durable: 'replica' }),
  });
  expect(await answer.json()).toEqual({ commitSeq: last[0]! + 1, replicatedAt: expect.any(Number) });
  const receipt = await client
    .tenant('bank')
    .enqueue('INSERT INTO t(v) VALUES (?)', ['by receipt'], { durable: 'replica' });
  expect(await client.tenant('bank').receipt(receipt.id).committed()).toMatchObject({
    replicatedAt: expect.any(Number),
  });
  // The broker says it once a second.
  const status = await waitFor(
    async () => {
      const { code, stdout, stderr } = await cli(place, 'replica', 'status');
      return code === 0 ? parseJson({ code, stdout, stderr }) : undefined;
    },
    { what: 'the status of the replica', timeoutMs: 20_000 },
  );
  expect(status).toMatchObject({ available: true, gaps: 0, stores: [{ ok: true }] });
  await waitFor(
    async () =>
      parseJson(await cli(place, 'replica', 'status', '--tenant', 'bank')).commitSeq === last[1]! + 1,
    { what: 'the status of a tenant', timeoutMs: 10_000 },
  );
  parseJson(await cli(place, 'tenants', 'set', 'corp', '--durability', 'sync'));
  await waitFor(() => existsSync(join(place.folder.path, 'store', 'durabilities.json')) || undefined, {
    what: 'the durability in the replica',
  });
  await client.close();
  await loseMachine(stack, place);

  const restored = parseJson(await cli(place, 'restore', '--all', '--from', place.url));
  expect(restored).toMatchObject({ failed: [], present: [] });
  expect(restored.restored.map(({ tenant }: { tenant: string }) => tenant).sort()).toEqual(tenants);
  // A second run finds nothing to do.
  expect(parseJson(await cli(place, 'restore', '--all', '--from', place.url))).toMatchObject({
    restored: [],
  });
  // The new machine goes on with the same store.
  const again = await connectTo(await start(place));
  const first = Array.from({ length: 20 }, (_, index) => index + 1);
  const expected = (tenant: string, ...more: string[]) =>
    [...first.map(number => `${tenant} ${number}`), 'the last', ...more].map(v => ({ v }));
  expect(await rowsOf(again, 'acme')).toEqual(expected('acme', 'over http'));
  expect(await rowsOf(again, 'bank')).toEqual(expected('bank', 'by receipt'));
  expect(await rowsOf(again, 'corp')).toEqual(expected('corp'));
  const more = again.tenant('corp').prepare('INSERT INTO t(v) VALUES (?)', { durable: 'replica' });
  expect((await more.run('on the new machine')).replicatedAt).toBeGreaterThan(0);
  // Its Redis was lost, too.
  expect(
    (await again.tenant('corp').exec("INSERT INTO t(v) VALUES ('as chosen')")).replicatedAt,
  ).toBeGreaterThan(0);
});

test('a new machine takes over the group of a Redis that was not lost, once nothing leads it', {
  timeout: 180_000,
}, async () => {
  const place = await makePlace('replica-redis');
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const env = { ONEWRITER_REPLICA_URL: place.url, ONEWRITER_REDIS_URL: redis.url };
  const startHere = async () => {
    const stack = await startStack({ dataDir: place.dataDir, redisUrl: redis.url, env });
    onTestFinished(async () => void (await stack.stop()));
    return stack;
  };
  const restore = (...args: string[]) =>
    runCli(['restore', '--all', ...args, '--data-dir', place.dataDir, '--json'], { env });
  const stack = await startHere();
  const client = await connectTo(stack);
  await client
    .tenant('acme')
    .exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t(v) VALUES ('one')", {
      durable: 'replica',
    });
  await client.close();
  // Another directory does not get what a broker leads.
  const other = await runCli(
    ['restore', '--all', '--take-over', '--data-dir', join(place.folder.path, 'other')],
    { env },
  );
  expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('That broker has to stop')]);
  await loseMachine(stack, place);
  const refused = await restore();
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('--take-over')]);
  const taken = await waitFor(
    async () => {
      const run = await restore('--take-over');
      return run.code === 0 ? parseJson(run) : undefined;
    },
    { what: 'the lease of the lost broker to expire', timeoutMs: 60_000 },
  );
  expect(taken).toMatchObject({ restored: [{ tenant: 'acme' }], failed: [] });
  const again = await connectTo(await startHere());
  expect(await rowsOf(again, 'acme')).toEqual([{ v: 'one' }]);
});

test('a tenant that is sync is answered when the replica has it, through every API', {
  timeout: 120_000,
}, async () => {
  const place = await makePlace('replica-sync');
  const stack = await start(place);
  const client = await connectTo(stack);
  const db = client.tenant('acme');
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
  expect(await db.prepare("INSERT INTO t(v) VALUES ('one')").run()).not.toHaveProperty('replicatedAt');
  expect(parseJson(await cli(place, 'tenants', 'set', 'acme', '--durability', 'sync'))).toEqual({
    tenant: 'acme',
    durability: 'sync',
  });
  const insert = db.prepare("INSERT INTO t(v) VALUES ('two')");
  const result = await waitFor(
    async () => {
      const written = await insert.run();
      return written.replicatedAt === undefined ? undefined : written;
    },
    { what: 'the durability that was chosen' },
  );
  expect(result.replicatedAt).toBeGreaterThan(0);
  const headers = { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' };
  const url = `${stack.gatewayUrl}/v1/tenants/acme`;
  const described = await (await fetch(url, { headers })).json();
  expect(described).toMatchObject({ durability: 'sync' });
  const off = await fetch(`${url}/durability`, {
    ...{ method: 'PUT', headers, body: JSON.stringify({ durability: 'off' }) },
  });
  expect(await off.json()).toMatchObject({ durability: 'off' });
  const refused = await waitFor(
    () =>
      db
        .prepare("INSERT INTO t(v) VALUES ('three')", { durable: 'replica' })
        .run()
        .then(
          () => undefined,
          error => error,
        ),
    { what: 'a refusal' },
  );
  expect(refused).toMatchObject({ code: 'REPLICA_UNAVAILABLE' });
  expect(refused.message).toContain('durability is off');
  // A new tenant of its name has the durability of the settings.
  expect(
    (await fetch(url, { method: 'DELETE', headers: { ...headers, 'confirm-delete': 'acme' } })).status,
  ).toBe(200);
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
  expect(await (await fetch(url, { headers })).json()).toMatchObject({ durability: null });
});

test('a write that would wait for a replica is refused where there is none, and nothing is applied', async () => {
  const folder = await temporaryDirectory('replica-none');
  onTestFinished(() => folder.remove());
  const stack = await startStack({ dataDir: folder.path });
  onTestFinished(async () => void (await stack.stop()));
  const client = await connectTo(stack);
  const db = client.tenant('acme');
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
  await expect(db.exec("INSERT INTO t(v) VALUES ('x')", { durable: 'replica' })).rejects.toMatchObject({
    code: 'REPLICA_UNAVAILABLE',
    retryable: true,
  });
  expect(await rowsOf(client, 'acme')).toEqual([]);
  await expect(db.history()).rejects.toMatchObject({ code: 'REPLICA_UNAVAILABLE' });
  await expect(db.branch({ as: 'copy' })).rejects.toMatchObject({ code: 'REPLICA_UNAVAILABLE' });
  // No caller waits for it: it is applied, and its receipt says that it is not replicated.
  const receipt = await db.enqueue('INSERT INTO t(v) VALUES (?)', ['y'], { durable: 'replica' });
  expect(await receipt.committed()).toMatchObject({ replicated: false });
  expect(await rowsOf(client, 'acme')).toEqual([{ v: 'y' }]);
});

test('a point is restored beside the tenant and in its place, tested, and listed', {
  timeout: 180_000,
}, async () => {
  const place = await makePlace('replica-point');
  const stack = await start(place);
  const client = await connectTo(stack);
  const db = client.tenant('acme');
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
  const insert = db.prepare('INSERT INTO t(v) VALUES (?)', { durable: 'replica' });
  const { commitSeq } = await insert.run('kept');
  await db.prepare('DELETE FROM t').run();
  await insert.run('later');

  const history = parseJson(await cli(place, 'history', 'acme'));
  expect(history[0]).toMatchObject({ each: true });
  const then = parseJson(await cli(place, 'restore', 'acme', '--at', String(commitSeq), '--as', 'acme-then'));
  expect(then).toMatchObject({ tenant: 'acme-then', pointCommitSeq: commitSeq, rows: 1 });
  expect(await rowsOf(client, 'acme-then')).toEqual([{ v: 'kept' }]);
  expect(await rowsOf(client, 'acme')).toEqual([{ v: 'later' }]);
  await client.tenant('acme-then').prepare("INSERT INTO t(v) VALUES ('goes its own way')").run();

  const verified = parseJson(await cli(place, 'replica', 'verify', 'acme'));
  expect(verified).toMatchObject([{ tenant: 'acme', ok: true, sameAsFile: true }]);
  const missing = await cli(place, 'restore', 'acme', '--at', '999', '--as', 'nowhere');
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('POSITION_UNKNOWN')]);
  expect((await cli(place, 'restore', 'acme', '--at', 'yesterday')).code).toBe(2);

  const back = parseJson(await cli(place, 'restore', 'acme', '--at', String(commitSeq), '--replace'));
  expect(back).toMatchObject({ tenant: 'acme', replaced: expect.any(String) });
  expect(await waitFor(() => rowsOf(client, 'acme'), { what: 'the restored file' })).toEqual([{ v: 'kept' }]);
  // The history goes on in the new file.
  expect((await insert.run('after the restore')).replicatedAt).toBeGreaterThan(0);
  expect(parseJson(await cli(place, 'branch', 'acme', 'acme-branch'))).toMatchObject({
    tenant: 'acme-branch',
    rows: null,
  });
  expect(await rowsOf(client, 'acme-branch')).toHaveLength(2);
});
