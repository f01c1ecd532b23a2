import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HistoryPoint, WrittenBy } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Stack,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* What callers do with a tenant's history: compare, bring rows back, restore and branch, by the command line, HTTP and the SDK. */

let folder: TemporaryDirectory;
let stack: Stack;
let client: Onewriter;
const dataDir = () => join(folder.path, 'data');
const replicaEnv = () => ({
  ONEWRITER_REPLICA_URL: `file://${join(folder.path, 'store')}`,
  ONEWRITER_REPLICA_KEY: Buffer.alloc(32, 7).toString('base64'),
});

beforeAll(async () => {
  folder = await temporaryDirectory('replica-doors');
  mkdirSync(join(folder.path, 'store'));
  stack = await startStack({ dataDir: dataDir(), env: replicaEnv() });
  const { redisUrl, gatewayUrl, token } = stack;
  client = await connect({ redis: redisUrl, dataDir: dataDir(), gatewayUrl, token });
});

afterAll(async () => {
  await client?.close({ timeoutMs: 100 });
  await stack?.stop();
  await folder?.remove();
});

const cli = (...args: string[]) =>
  runCli([...args, '--data-dir', dataDir(), '--json'], { env: replicaEnv() });

const rowsOf = (tenant: string) =>
  client.tenant(tenant).prepare<[], { id: number; v: string }>('SELECT id, v FROM t ORDER BY id').all();

/** Three rows, of which one was then deleted by mistake and one changed, and one came later. @returns the commit before the mistake */
async function makeTenant(tenant: string): Promise<number> {
  const db = client.tenant(tenant);
  await db.exec(
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE kept(v); INSERT INTO kept VALUES (1); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
  );
  const { commitSeq } = await db.prepare("INSERT INTO t VALUES (3, 'c')", { durable: 'replica' }).run();
  await db.exec("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'by mistake' WHERE id = 2; DELETE FROM kept");
  await db.prepare("INSERT INTO t VALUES (4, 'later')", { durable: 'replica' }).run();
  return commitSeq;
}

async function ask(method: string, path: string, json?: object, headers: Record<string, string> = {}) {
  const response = await fetch(`${stack.gatewayUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json', ...headers },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });
  // biome-ignore lint/suspicious/noExplicitAny: tests look at what is there
  return { status: response.status, body: (await response.json()) as any };
}

const ended = (id: string) =>
  waitFor(
    async () => {
      const { body } = await ask('GET', `/v1/operations/${id}`);
      return ['queued', 'running'].includes(body.state) ? undefined : body;
    },
    { what: 'the end of an operation', timeoutMs: 60_000 },
  );

const TIMES = { timeout: 120_000 };

test('rows that one mistake took come back out of the replica, and later writes stay', TIMES, async () => {
  const commitSeq = await makeTenant('acme');
  const point = ['--at', String(commitSeq)];
  const found = parseJson(await cli('diff', 'acme', ...point));
  expect(found).toMatchObject({
    former: expect.stringContaining(`commit ${commitSeq}, 2`),
    broughtBack: null,
  });
  expect(found.tables).toMatchObject([
    { table: 'kept', removed: 1 },
    { table: 't', removed: 1, changed: 1, added: 1 },
  ]);
  const then = parseJson(
    await cli('sql', 'acme', 'SELECT v FROM t WHERE id = ?', '--params', '[1]', ...point),
  );
  expect(then).toMatchObject({ kind: 'read', columns: ['v'], rows: [['a']] });
  for (const sql of ['DELETE FROM t', 'SELECT * FROM missing', ''])
    expect((await cli('sql', 'acme', sql, ...point)).code).not.toBe(0);
  expect((await cli('sql', 'acme', ...point)).stderr).toContain('one statement that reads');
  const back = parseJson(await cli('restore', 'acme', ...point, '--rows', 't'));
  expect(back).toMatchObject({ broughtBack: 2, tablesFormer: [] });
  expect((await rowsOf('acme')).map(({ id, v }) => `${id} ${v}`)).toEqual(['1 a', '2 b', '3 c', '4 later']);
  // Only that table.
  expect(await client.tenant('acme').prepare('SELECT count(*) n FROM kept').get()).toEqual({ n: 0 });
  const more = parseJson(await cli('diff', 'acme', ...point, '--bring-back', 'removed'));
  expect(more).toMatchObject({ broughtBack: 1 });
  const scratch = join(dataDir(), 'replica/scratch');
  expect(existsSync(scratch) ? readdirSync(scratch) : []).toEqual([]);

  expect((await cli('diff', 'acme')).code).toBe(2);
  expect((await cli('diff', 'acme', '--at', 'yesterday')).code).toBe(2);
  expect((await cli('restore', 'acme', ...point, '--rows', 't', '--replace')).code).toBe(2);
  expect((await cli('diff', 'acme', '--at', '999')).stderr).toContain('POSITION_UNKNOWN');
});

test('HTTP lists the history, restores beside a tenant and in its place, and asks first', TIMES, async () => {
  const commitSeq = await makeTenant('bank');
  const { body: history } = await ask('GET', '/v1/tenants/bank/history?limit=2');
  expect(history.points.length).toBeLessThanOrEqual(2);
  expect(history.points[0]).toMatchObject({ each: true, toSeq: expect.any(Number) });
  const { body: all } = await ask('GET', '/v1/tenants/bank/history');
  // The first commit is the writer's own: it makes its tables.
  const written: WrittenBy[] = all.points.flatMap((point: HistoryPoint) => point.written ?? []);
  expect(new Set(written.flatMap(each => each.kinds))).toEqual(
    new Set(['DDL', 'INSERT', 'UPDATE', 'DELETE']),
  );
  expect(written[0]!.by[0]!.who).toBe(client.clientId);
  const listed = await runCli(['history', 'bank', '--data-dir', dataDir()], { env: replicaEnv() });
  expect(listed.stdout).toContain(client.clientId);
  expect(await ask('GET', '/v1/tenants/nothing/history')).toMatchObject({
    ...{ status: 404, body: { error: { code: 'TENANT_NOT_FOUND' } } },
  });

  const look = (body: object) => ask('POST', '/v1/tenants/bank/history/query', body);
  expect(await look({ at: commitSeq, sql: 'SELECT v FROM t WHERE id < 3' })).toMatchObject({
    ...{ status: 200, body: { columns: ['v'], rows: [{ v: 'a' }, { v: 'b' }] } },
  });
  const refused = async (body: object) => (await look(body)).body.error.code;
  expect(await refused({ at: commitSeq, sql: 'DELETE FROM t' })).toBe('STATEMENT_NOT_ALLOWED');
  expect(await refused({ at: 999, sql: 'SELECT 1' })).toBe('POSITION_UNKNOWN');
  expect(await refused({ at: 'yesterday', sql: 'SELECT 1' })).toBe('INVALID_ARGUMENT');

  const path = '/v1/tenants/bank/restore';
  for (const wrong of [{ at: commitSeq }, { at: 'yesterday', as: 'x' }, { at: 1, as: 'x', replace: true }])
    expect(await ask('POST', path, wrong)).toMatchObject({ status: 400 });
  const started = await ask('POST', path, { at: commitSeq, as: 'bank-then' });
  expect(started).toMatchObject({ status: 202, body: { kind: 'restore', tenants: ['bank-then'] } });
  expect(await ended(started.body.id)).toMatchObject({
    ...{ state: 'done', result: { tenant: 'bank-then', from: 'bank', pointCommitSeq: commitSeq } },
  });
  expect(await rowsOf('bank-then')).toHaveLength(3);
  expect(await ask('POST', path, { at: commitSeq, as: 'bank-then' })).toMatchObject({
    ...{ status: 409, body: { error: { code: 'TENANT_BUSY' } } },
  });

  const replace = { at: commitSeq, replace: true };
  expect(await ask('POST', path, replace)).toMatchObject({
    ...{ status: 428, body: { error: { code: 'CONFIRMATION_REQUIRED' } } },
  });
  expect(await rowsOf('bank')).toHaveLength(3);
  const replaced = await ask('POST', path, replace, { 'confirm-replace': 'bank' });
  expect(replaced.status).toBe(202);
  const done = await ended(replaced.body.id);
  expect(done).toMatchObject({ state: 'done', result: { tenant: 'bank', replaced: expect.any(String) } });
  await waitFor(async () => (await rowsOf('bank')).some(({ v }) => v === 'a') || undefined, {
    what: 'the restored file',
  });
  // A failure is in the record.
  const failed = await ask('POST', path, { at: 999, as: 'nowhere' });
  expect(await ended(failed.body.id)).toMatchObject({
    ...{ state: 'failed', error: { code: 'POSITION_UNKNOWN' } },
  });
});

test('the SDK branches through the gateway, with a token that covers both tenants', TIMES, async () => {
  const commitSeq = await makeTenant('corp');
  const corp = client.tenant('corp');
  expect((await corp.history({ limit: 1 }))[0]).toMatchObject({ each: true });
  const branch = await corp.branch({ as: 'corp-test', at: commitSeq });
  expect(branch).toMatchObject({ tenant: 'corp-test', pointCommitSeq: commitSeq });
  expect(await rowsOf('corp-test')).toHaveLength(3);
  await client.tenant('corp-test').prepare("INSERT INTO t VALUES (9, 'its own')").run();
  expect(await rowsOf('corp')).toHaveLength(3);
  await expect(corp.branch({ as: 'corp-test' })).rejects.toMatchObject({ code: 'TENANT_BUSY' });
  await expect(corp.branch({ as: 'corp-none', at: 999 })).rejects.toMatchObject({ code: 'POSITION_UNKNOWN' });

  await using alone = await connect({ redis: stack.redisUrl, dataDir: dataDir() });
  await expect(alone.tenant('corp').branch({ as: 'x' })).rejects.toMatchObject({ code: 'MISCONFIGURED' });
  const secret = readFileSync(join(dataDir(), 'token-secret'), 'utf8').trim();
  const narrow = await signToken(secret, { tenants: ['corp'], access: 'admin' }, { expiresInMs: 60_000 });
  const { gatewayUrl, redisUrl } = stack;
  await using other = await connect({ redis: redisUrl, dataDir: dataDir(), gatewayUrl, token: narrow });
  await expect(other.tenant('corp').branch({ as: 'bank-2' })).rejects.toMatchObject({ code: 'FORBIDDEN' });
});
