import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findDatabaseFile, isHibernated, OnewriterError, tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import {
  type Stack,
  startStack,
  type TemporaryDirectory,
  temporaryDirectory,
  waitFor,
} from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

let folder: TemporaryDirectory;
let stack: Stack;
let onewriter: Onewriter;
let env: Record<string, string>;
const fileOf = (tenant: string) => tenantFile(stack.dataDir, tenant, 'tenant.db');

beforeAll(async () => {
  folder = await temporaryDirectory('hibernate');
  for (const name of ['data', 'store']) mkdirSync(join(folder.path, name));
  env = { ONEWRITER_REPLICA_URL: `file://${join(folder.path, 'store')}` };
  stack = await startStack({ dataDir: join(folder.path, 'data'), env });
  onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});

afterAll(async () => {
  await onewriter?.close();
  await stack?.stop();
  await folder?.remove();
});

async function makeTenant(tenant: string, rows: number) {
  const db = onewriter.tenant(tenant);
  await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)');
  const insert = db.prepare('INSERT INTO t(a) VALUES (?)');
  await Promise.all(Array.from({ length: rows }, (_, row) => insert.run(`row ${row}`)));
  return db;
}

const cli = async (...args: string[]) =>
  parseJson(await runCli([...args, '--json', '--data-dir', stack.dataDir], { env }));

async function hibernate(tenant: string): Promise<void> {
  expect(await cli('hibernate', tenant)).toMatchObject([{ tenant, state: 'hibernated', error: null }]);
  expect([findDatabaseFile(fileOf(tenant)), isHibernated(stack.dataDir, tenant)]).toEqual([undefined, true]);
  expect(readdirSync(dirname(fileOf(tenant)))).toEqual([]);
}

const count = (tenant: string) =>
  onewriter.tenant(tenant).prepare<[], { n: number }>('SELECT count(*) AS n FROM t').get();

it('comes back for a read, a write, and a request, with all that was there, and continues its history', async () => {
  const db = await makeTenant('acme', 20);
  await hibernate('acme');
  expect(await count('acme')).toEqual({ n: 20 });
  expect([existsSync(fileOf('acme')), isHibernated(stack.dataDir, 'acme')]).toEqual([true, false]);
  await hibernate('acme');
  const { lastInsertRowid, commitSeq } = await db.prepare('INSERT INTO t(a) VALUES (?)').run('after');
  expect(lastInsertRowid).toBe(21);
  await hibernate('acme');
  const response = await fetch(`${stack.gatewayUrl}/v1/tenants/acme/query`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ sql: 'SELECT count(*) AS n FROM t' }),
  });
  expect(await response.json()).toMatchObject({ rows: [{ n: 21 }] });
  // Each commit stays addressable, and none is stored again as a whole file because of it.
  expect(await cli('replica', 'verify', 'acme')).toMatchObject([{ ok: true, commitSeq, sameAsFile: true }]);
}, 90_000);

it('shows old handles that their file is gone, and never an old or empty tenant', async () => {
  await makeTenant('handles', 3);
  const read = new Database(fileOf('handles'), { readonly: true });
  onTestFinished(() => void read.close());
  expect(read.prepare('SELECT count(*) FROM t').pluck().get()).toBe(3);
  await hibernate('handles');
  expect(() => read.prepare('SELECT count(*) FROM t').pluck().get()).toThrow(/no such table/);
  await onewriter.tenant('handles').prepare('INSERT INTO t(a) VALUES (1)').run();
  expect(() => read.prepare('SELECT count(*) FROM t').pluck().get()).toThrow(/no such table/);
  // The pool of the SDK had it open, too.
  expect(await count('handles')).toEqual({ n: 4 });
}, 60_000);

it('comes back once for many callers at once', async () => {
  await Promise.all(Array.from({ length: 4 }, (_, index) => makeTenant(`many-${index}`, 2)));
  for (let index = 0; index < 4; index++) await hibernate(`many-${index}`);
  const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => count(`many-${index % 4}`)));
  expect(new Set(answers.map(answer => answer?.n))).toEqual(new Set([2]));
}, 120_000);

it('is listed as hibernated, and has no other place in a list than before', async () => {
  await makeTenant('listed', 1);
  await hibernate('listed');
  const listed = (await cli('tenants', 'list')) as { tenant: string; state: string }[];
  expect(listed.find(({ tenant }) => tenant === 'listed')).toMatchObject({ state: 'hibernated' });
  expect(await cli('wake', 'listed')).toMatchObject([{ tenant: 'listed', state: 'awake' }]);
}, 60_000);

const ask = (method: string, path: string, body?: object) =>
  fetch(`${stack.gatewayUrl}/v1/tenants/${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });

it('goes and comes over HTTP, and comes for an export, not for a look at it', async () => {
  await makeTenant('web', 2);
  const gone = await ask('POST', 'web/hibernate', { reason: 'a test' });
  const away = { state: 'hibernated', hibernated: { bytes: expect.any(Number), since: expect.any(String) } };
  expect([gone.status, await gone.json()]).toEqual([200, expect.objectContaining(away)]);
  expect(await (await ask('GET', 'web')).json()).toMatchObject({ ...away, bytes: null });
  const page = await fetch(`${stack.dashboardUrl}/tenants/web`, {
    headers: { authorization: `Bearer ${stack.token}` },
  });
  expect(await page.text()).toMatch(/action="\/tenants\/web\/wake".*is in the replica only/s);
  expect(isHibernated(stack.dataDir, 'web')).toBe(true);
  const exported = await ask('GET', 'web/export?table=t&format=csv');
  expect((await exported.text()).trim().split('\n')).toHaveLength(3);
  expect(await (await ask('POST', 'web/hibernate')).json()).toMatchObject(away);
  expect(await (await ask('POST', 'web/wake')).json()).toMatchObject({ state: 'active', hibernated: null });
  expect(existsSync(fileOf('web'))).toBe(true);
}, 60_000);

it('is deleted, and begins empty under its name', async () => {
  await makeTenant('gone', 2);
  await hibernate('gone');
  const deleted = await fetch(`${stack.gatewayUrl}/v1/tenants/gone`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${stack.token}`, 'confirm-delete': 'gone' },
  });
  expect(await deleted.json()).not.toHaveProperty('error');
  expect(isHibernated(stack.dataDir, 'gone')).toBe(false);
  await waitFor(
    async () => {
      try {
        await count('gone');
        return false;
      } catch (error) {
        return error instanceof OnewriterError && error.code === 'TENANT_NOT_FOUND';
      }
    },
    { what: 'the tenant to be gone' },
  );
}, 60_000);
