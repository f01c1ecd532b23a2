import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { tenantFile } from '@onewriter/protocol';
import { type Grant, signToken } from '@onewriter/runtime';
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { slowSchema } from './slow-schema.ts';

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
let admin: string;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('long-work-http');
  for (const tenant of ['slow', 'slower', 'slowest']) {
    const file = tenantFile(data.path, tenant);
    mkdirSync(dirname(file), { recursive: true });
    const db = new Database(file);
    db.exec(slowSchema());
    db.close();
  }
  broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
  gateway = await startGateway();
  admin = await sign({ tenants: '*', access: 'admin' });
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  for (const tenant of ['acme', 'globex'])
    await write(tenant, 'CREATE TABLE t(a)', 'INSERT INTO t VALUES (1)');
});
afterAll(async () => {
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

const startGateway = () => startService('gateway', { redisUrl: redis.url, dataDir: data.path });
const sign = (grant: Grant) => signToken(TEST_TOKEN_SECRET, grant, { subject: 'ada' });

async function request(method: string, path: string, body?: unknown, token = admin, url = gateway.url) {
  const response = await fetch(`${url}/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

async function write(tenant: string, ...statements: string[]): Promise<void> {
  const body = { statements: statements.map(sql => ({ sql })) };
  expect((await request('POST', `/tenants/${tenant}/transaction`, body)).status).toBe(200);
}

async function valuesOf(tenant: string): Promise<unknown[]> {
  const { body } = await request('POST', `/tenants/${tenant}/query`, {
    sql: 'SELECT a FROM t',
    method: 'values',
  });
  return body.rows.flat();
}

const start = (body: unknown, token?: string) => request('POST', '/operations', body, token);
const get = async (id: string) => (await request('GET', `/operations/${id}`)).body;

async function ended(id: string) {
  const isOver = async () => !['queued', 'running'].includes((await get(id)).state);
  await waitFor(isOver, { timeoutMs: 30_000, what: 'the operation ends' });
  return get(id);
}

/** Starts a check that takes a minute. @returns its id, when it runs */
async function startSlow(tenant: string): Promise<string> {
  const { body } = await start({ kind: 'check', tenants: [tenant] });
  await waitFor(async () => (await get(body.id)).state === 'running', { timeoutMs: 20_000 });
  return body.id;
}

/** The events of an operation, until the stream ends. */
async function follow(id: string): Promise<string[]> {
  const response = await fetch(`${gateway.url}/v1/operations/${id}`, {
    headers: { authorization: `Bearer ${admin}`, accept: 'text/event-stream' },
  });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const states: string[] = [];
  for (const event of (await response.text()).trim().split('\n\n')) {
    expect(event).toMatch(/^event: operation\ndata: /);
    states.push(JSON.parse(event.slice(event.indexOf('data: ') + 6)).state);
  }
  return states;
}

describe('/v1/operations', () => {
  it('backs up, and restores in the place of a tenant that is written', async () => {
    const started = await start({ kind: 'backup', tenants: ['acme'] });
    expect(started).toMatchObject({ status: 202, body: { kind: 'backup', who: 'ada', tenants: ['acme'] } });
    expect(started.headers.get('location')).toBe(`/v1/operations/${started.body.id}`);
    const states = await follow(started.body.id);
    expect(states.at(-1)).toBe('done');
    const { result } = await ended(started.body.id);
    expect(result).toMatchObject({ tenants: 1, failed: 0 });
    const backup = `acme/${result.backups[0].file}`;

    await write('acme', 'INSERT INTO t VALUES (2)');
    expect(await valuesOf('acme')).toEqual([1, 2]);
    const refused = await start({ kind: 'restore', tenant: 'acme', backup });
    expect(await ended(refused.body.id)).toMatchObject({ state: 'failed', error: { code: 'TENANT_BUSY' } });
    const restored = await start({ kind: 'restore', tenant: 'acme', backup, replace: true });
    expect(await ended(restored.body.id)).toMatchObject({
      state: 'done',
      progress: { done: 2, total: 2 },
      result: { tenant: 'acme', rows: 1, paused: false },
      log: ['The backup is sound.'],
    });
    expect(await valuesOf('acme')).toEqual([1]);
    await write('acme', 'INSERT INTO t VALUES (3)');
    expect(await valuesOf('acme')).toEqual([1, 3]);
    const actions = (await request('GET', '/audit')).body.entries.map(
      ({ action }: { action: string }) => action,
    );
    expect(actions).toContain('operation.start');
  });

  it('restores a backup as a new tenant', async () => {
    const { body } = await start({ kind: 'backup', tenants: ['globex'], verify: 'quick' });
    const { result } = await ended(body.id);
    const backup = `globex/${result.backups[0].file}`;
    const restored = await start({ kind: 'restore', tenant: 'globex-copy', backup });
    expect(await ended(restored.body.id)).toMatchObject({ state: 'done' });
    expect(await valuesOf('globex-copy')).toEqual([1]);
  });

  it('checks, and lists what a token covers', async () => {
    const { body } = await start({ kind: 'check', tenants: ['acme', 'globex', 'acme'], quick: true });
    expect(await ended(body.id)).toMatchObject({ state: 'done', result: { tenants: 2, errors: 0 } });
    const ids = async (token: string) =>
      (await request('GET', '/operations', undefined, token)).body.operations.map(
        ({ id }: { id: string }) => id,
      );
    expect(await ids(admin)).toContain(body.id);
    const one = await sign({ tenants: ['globex'], access: 'admin' });
    expect(await ids(one)).not.toContain(body.id);
    expect(await request('GET', `/operations/${body.id}`, undefined, one)).toMatchObject({ status: 404 });
    expect(await request('POST', `/operations/${body.id}/cancel`, undefined, one)).toMatchObject({
      status: 404,
    });
    const both = await sign({ tenants: ['globex', 'acme'], access: 'admin' });
    expect(await ids(both)).toContain(body.id);
  });

  it('refuses what a token does not allow, and what is no backup', async () => {
    const one = await sign({ tenants: ['globex'], access: 'admin' });
    const writer = await sign({ tenants: '*', access: 'write' });
    const existing = (await request('GET', '/operations')).body.operations.find(
      ({ kind, tenants }: { kind: string; tenants: string[] }) => kind === 'backup' && tenants[0] === 'acme',
    );
    const backup = `acme/${(await get(existing.id)).result.backups[0].file}`;
    for (const [body, token, status] of [
      [{ kind: 'backup', tenants: ['acme'] }, one, 403],
      [{ kind: 'backup', tenants: '*' }, one, 403],
      [{ kind: 'check', tenants: ['acme'] }, writer, 403],
      [{ kind: 'restore', tenant: 'globex', backup, replace: true }, one, 403],
      [{ kind: 'restore', tenant: 'new', backup: 'acme/none.db' }, admin, 404],
      [{ kind: 'restore', tenant: 'new', backup: '../tenants/acme/tenant.db' }, admin, 400],
      [{ kind: 'restore', tenant: 'new', backup: 'acme/../../x.db' }, admin, 400],
      [{ kind: 'restore', tenant: 'new', backup: 'acme/.1.2.db' }, admin, 400],
      [{ kind: 'vacuum', tenants: ['acme'] }, admin, 400],
      [{ kind: 'backup', tenants: [] }, admin, 400],
    ] as const) {
      expect([body, (await start(body, token)).status]).toEqual([body, status]);
    }
    expect((await request('GET', '/operations', undefined, writer)).status).toBe(403);
    expect((await request('GET', '/operations/op-1')).status).toBe(404);
    expect((await request('GET', '/operations?state=asleep')).status).toBe(400);
  });

  it('runs two, of one tenant one, queues more, refuses too many, and cancels what waits and what runs', async () => {
    const first = await startSlow('slow');
    const second = await startSlow('slower');
    const waits = (await start({ kind: 'check', tenants: ['globex'] })).body.id;
    expect((await get(waits)).state).toBe('queued');
    const more: string[] = [];
    let refused: Awaited<ReturnType<typeof start>> | undefined;
    while (refused === undefined && more.length < 20) {
      const answer = await start({ kind: 'check', tenants: ['slow'] });
      if (answer.status === 202) more.push(answer.body.id);
      else refused = answer;
    }
    expect(refused).toMatchObject({ status: 429, body: { error: { code: 'RATE_LIMITED' } } });
    expect(more.length).toBeLessThan(4);
    for (const id of [...more, waits]) {
      expect((await request('POST', `/operations/${id}/cancel`)).status).toBe(202);
      expect(await ended(id)).toMatchObject({ state: 'cancelled', cancelledBy: 'ada', startedAt: null });
    }
    for (const id of [first, second]) {
      await request('POST', `/operations/${id}/cancel`);
      expect(await ended(id)).toMatchObject({ state: 'cancelled' });
    }
    // Its place is free again.
    const { body } = await start({ kind: 'check', tenants: ['globex'], quick: true });
    expect(await ended(body.id)).toMatchObject({ state: 'done' });
  });

  it('records an import that takes long, and cancels it', async () => {
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await pause(20);
        controller.enqueue(new TextEncoder().encode('{"a":1}\n'.repeat(10)));
      },
    });
    const importing = fetch(`${gateway.url}/v1/tenants/globex/import?table=t`, {
      method: 'POST',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/x-ndjson' },
      body,
      duplex: 'half',
    } as RequestInit).then(response => response.text());
    const id = await waitFor(
      async () =>
        (await request('GET', '/operations?state=running')).body.operations.find(
          ({ kind }: { kind: string }) => kind === 'import',
        )?.id,
      { timeoutMs: 20_000, what: 'the import is listed' },
    );
    await waitFor(async () => (await get(id)).progress.done > 0, { timeoutMs: 20_000 });
    expect(await get(id)).toMatchObject({
      tenants: ['globex'],
      detail: 'table t',
      progress: { unit: 'rows' },
    });
    await request('POST', `/operations/${id}/cancel`);
    expect((await importing).trim().split('\n').at(-1)).toContain('"event":"interrupted"');
    expect(await ended(id)).toMatchObject({ state: 'cancelled', cancelledBy: 'ada' });
  });

  it('records an export that takes long, and no short one', async () => {
    const rows = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)';
    await write(
      'acme',
      'CREATE TABLE large(a)',
      `INSERT INTO large ${rows} SELECT hex(randomblob(500)) FROM n`,
    );
    const open = () =>
      fetch(`${gateway.url}/v1/tenants/acme/export?table=large`, {
        headers: { authorization: `Bearer ${admin}` },
      });
    const exports = async () =>
      (await request('GET', '/operations')).body.operations.filter(
        ({ kind }: { kind: string }) => kind === 'export',
      );
    const slow = await open();
    const [operation] = await waitFor(
      async () => {
        const found = await exports();
        return found.length > 0 && found;
      },
      { timeoutMs: 20_000, what: 'the export is listed, which its reader keeps waiting' },
    );
    expect(operation).toMatchObject({ state: 'running', detail: 'ndjson, table large', who: 'ada' });
    const { byteLength } = await slow.arrayBuffer();
    expect(await ended(operation.id)).toMatchObject({ state: 'done', result: { bytes: byteLength } });
    const short = await fetch(`${gateway.url}/v1/tenants/acme/export?table=t`, {
      headers: { authorization: `Bearer ${admin}` },
    });
    await short.text();
    expect(await exports()).toHaveLength(1);
  });

  it('interrupts what runs where the gateway stops, which ends soon', async () => {
    const id = await startSlow('slowest');
    await gateway.stop();
    gateway = await startGateway();
    expect(await get(id)).toMatchObject({ state: 'interrupted', error: { code: 'ABORTED' } });
  });
});
