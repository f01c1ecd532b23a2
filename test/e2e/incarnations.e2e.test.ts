import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { realDatabasePath, tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* A tenant's file is replaced by another: deleted and created again, or restored. No reader may answer from the old one. */

const READER = join(import.meta.dirname, 'incarnation-reader.js');
let stack: Stack;
let app: Onewriter;

beforeAll(async () => {
  stack = await startStack();
  app = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});

afterAll(async () => {
  await app?.close();
  await stack?.stop();
});

const onewriter = (...args: string[]) => runCli([...args, '--data-dir', stack.dataDir]);
const fileOf = (tenant: string) => tenantFile(stack.dataDir, tenant);

interface AskOptions {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}

const ask = (method: string, path: string, init: AskOptions = {}) =>
  fetch(`${stack.gatewayUrl}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${stack.token}`,
      ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...init.headers,
    },
    ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
    ...(init.signal === undefined ? {} : { signal: init.signal }),
  });

async function destroy(tenant: string): Promise<string> {
  const answer = await ask('DELETE', `/v1/tenants/${tenant}`, { headers: { 'confirm-delete': tenant } });
  expect(answer.status).toBe(200);
  const { trash } = (await answer.json()) as { trash: string };
  return join(stack.dataDir, 'trash', trash);
}

async function fill(tenant: string, value: string): Promise<void> {
  await app.tenant(tenant).exec('CREATE TABLE t(id INTEGER PRIMARY KEY, value)');
  await app.tenant(tenant).prepare('INSERT INTO t VALUES (1, ?), (2, ?)').run(value, value);
}

/** Rows of one read at the gateway: by key, which is quick, or not. */
async function query(tenant: string, sql: string): Promise<unknown> {
  const answer = await ask('POST', `/v1/tenants/${tenant}/query`, { body: { sql } });
  const body = (await answer.json()) as { rows?: unknown; error?: { code: string } };
  return body.rows ?? body.error?.code;
}

/** A libSQL client's stream. */
async function pipeline(tenant: string, requests: unknown[], baton?: string) {
  const answer = await ask('POST', `/t/${tenant}/v2/pipeline`, { body: { baton, requests } });
  return (await answer.json()) as { baton: string | null; results: { type: string }[] };
}

/** SDK clients in processes of their own that read all the time; each answers with what it saw. */
async function startReaders(tenant: string, count: number) {
  const readers = Array.from({ length: count }, () => {
    const child = fork(READER, [stack.dataDir, stack.redisUrl, tenant], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    const lines = createInterface({ input: child.stdout! });
    return { child, lines };
  });
  onTestFinished(async () => {
    for (const { child } of readers) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
  const askAll = () =>
    Promise.all(
      readers.map(async ({ child, lines }) => {
        const answer = once(lines, 'line', { signal: AbortSignal.timeout(20_000) });
        child.send('read');
        const [line] = await answer;
        return JSON.parse(line as string) as Record<string, unknown>;
      }),
    );
  return { askAll };
}

it('answers from the new file at once, through all APIs, after each deletion and restore', async () => {
  const tenant = 'fresh';
  await fill(tenant, 'value 0');
  const { askAll } = await startReaders(tenant, 2);
  expect(await askAll()).toEqual(Array(2).fill({ get: 'value 0', all: 2, iterate: 2, open: null }));
  expect(await query(tenant, 'SELECT value FROM t WHERE id = 1')).toEqual([{ value: 'value 0' }]);
  const names = new Set<string>();
  for (let round = 1; round <= 6; round++) {
    names.add(realDatabasePath(fileOf(tenant)));
    const value = `value ${round}`;
    if (round % 2 === 1) {
      await destroy(tenant);
      expect(await query(tenant, 'SELECT value FROM t WHERE id = 1')).toBe('TENANT_NOT_FOUND');
      expect(await query(tenant, 'SELECT 1 AS one')).toBe('TENANT_NOT_FOUND');
      await fill(tenant, value);
    } else {
      const [{ path }] = parseJson(await onewriter('backup', tenant, '--json'));
      const report = parseJson(await onewriter('restore', path, tenant, '--replace', '--json'));
      expect(report.warnings).toEqual([]);
      await app.tenant(tenant).prepare('UPDATE t SET value = ?').run(value);
    }
    // The first read of each after the change, with an iteration open over it.
    expect(await askAll()).toEqual(Array(2).fill({ get: value, all: 2, iterate: 2, open: 2 }));
    expect(await app.tenant(tenant).prepare('SELECT value FROM t WHERE id = 1').get()).toEqual({ value });
    for (const sql of ['SELECT value FROM t WHERE id = 1', 'SELECT max(value) AS value FROM t']) {
      expect(await query(tenant, sql)).toEqual([{ value }]);
    }
    expect(await query(tenant, "SELECT count(*) AS n FROM pragma_table_info('t')")).toEqual([{ n: 2 }]);
    const { results } = await pipeline(tenant, [
      {
        type: 'execute',
        stmt: { sql: 'SELECT value FROM t WHERE value > ?', args: [{ type: 'text', value: '' }] },
      },
    ]);
    expect(JSON.stringify(results)).toContain(value);
  }
  names.add(realDatabasePath(fileOf(tenant)));
  expect(names.size).toBe(7);
  expect(parseJson(await onewriter('check', tenant, '--json'))).toMatchObject({ errors: 0, warnings: 0 });
}, 120_000);

it('keeps what was deleted whole, so that it can be moved back and written again', async () => {
  const tenant = 'back';
  await fill(tenant, 'first');
  await destroy(tenant);
  await fill(tenant, 'second');
  expect(lstatSync(fileOf(tenant)).isSymbolicLink()).toBe(true);
  await app.tenant(tenant).prepare('SELECT 1 FROM t').all();
  const trash = await destroy(tenant);
  expect(existsSync(dirname(fileOf(tenant)))).toBe(false);
  renameSync(trash, dirname(fileOf(tenant)));
  await app.tenant(tenant).prepare("INSERT INTO t VALUES (3, 'third')").run();
  expect(await app.tenant(tenant).prepare('SELECT value FROM t').all()).toEqual(
    ['second', 'second', 'third'].map(value => ({ value })),
  );
  expect(await query(tenant, 'PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }]);
  // As a backup it can be restored, too.
  const kept = await destroy(tenant);
  const file = realDatabasePath(join(kept, 'tenant.db'));
  const report = parseJson(await onewriter('restore', file, tenant, '--json'));
  expect(report).toMatchObject({ tenant, replaced: null });
  expect(await query(tenant, 'SELECT count(*) AS n FROM t')).toEqual([{ n: 3 }]);
});

it('finds the receipt of the first write to a tenant that was created again', async () => {
  const tenant = 'receipts';
  await fill(tenant, 'old');
  const before = await app.tenant(tenant).enqueue("UPDATE t SET value = 'older'");
  await before.committed();
  await destroy(tenant);
  const receipt = await app.tenant(tenant).enqueue('CREATE TABLE other(a)');
  await receipt.committed();
  const other = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  onTestFinished(() => other.close());
  expect(await app.tenant(tenant).receipt(receipt.id).status()).toMatchObject({ state: 'committed' });
  expect(await other.tenant(tenant).receipt(receipt.id).status()).toMatchObject({ state: 'committed' });
  const answer = await ask('GET', `/v1/tenants/${tenant}/receipts/${receipt.id}`);
  expect(await answer.json()).toMatchObject({ state: 'committed' });
});

/** The first events after an id. */
async function follow(tenant: string, count: number, lastEventId?: string) {
  // Without an event, a follower would wait for ever.
  const signal = AbortSignal.timeout(20_000);
  const response = await ask('GET', `/v1/tenants/${tenant}/events`, {
    headers: lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
    signal,
  });
  let text = '';
  const decoder = new TextDecoder();
  const events = () =>
    [...text.matchAll(/event: (\w+)\nid: (\S+)\ndata: (.*)\n\n/g)].map(([, event, id, json]) => ({
      event,
      id: id!,
      commitSeq: JSON.parse(json!).commitSeq as number,
    }));
  for await (const chunk of response.body!) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (events().length >= count) break;
  }
  return events().slice(0, count);
}

it('sends a follower of events a gap when the file is another, and then each commit of the new file', async () => {
  const tenant = 'events';
  await fill(tenant, 'old');
  for (const id of [3, 4, 5]) await app.tenant(tenant).prepare('INSERT INTO t VALUES (?, 1)').run(id);
  const [ready] = await follow(tenant, 1);
  // The id of a tenant's first file looks as it always did.
  expect(ready!.id).toMatch(/^\d+\.\d+$/);
  await destroy(tenant);
  await fill(tenant, 'new');
  await app.tenant(tenant).prepare('INSERT INTO t VALUES (3, 1)').run();
  const first = await app
    .tenant(tenant)
    .prepare('SELECT min(commit_seq) AS seq FROM sqlite_onewriter_ledger')
    .get();
  const [gap, ...commits] = await follow(tenant, 3, ready!.id);
  expect(gap).toMatchObject({ event: 'gap' });
  expect(gap!.id).toMatch(/^\d+\.\d+\.[0-9a-f]{20}$/);
  expect(commits.map(({ event }) => event)).toEqual(['commit', 'commit']);
  expect(commits[0]!.commitSeq).toBe(first!['seq']);
  // It continues from there as usual.
  expect(await follow(tenant, 2, commits[0]!.id)).toMatchObject([
    { event: 'ready' },
    { event: 'commit', commitSeq: commits[1]!.commitSeq },
  ]);
});

it('refuses a transaction that has read the old file at an equal commit number', async () => {
  const tenant = 'deferred';
  await fill(tenant, 'old');
  const { baton } = await pipeline(tenant, [
    { type: 'execute', stmt: { sql: 'BEGIN' } },
    { type: 'execute', stmt: { sql: 'SELECT value FROM t WHERE id = 1' } },
  ]);
  expect(baton).not.toBeNull();
  const seq = () =>
    app.tenant(tenant).prepare('SELECT max(commit_seq) AS seq FROM sqlite_onewriter_ledger').get();
  const before = await seq();
  await destroy(tenant);
  await fill(tenant, 'new');
  expect(await seq()).toEqual(before);
  const { results } = await pipeline(
    tenant,
    [
      { type: 'execute', stmt: { sql: "UPDATE t SET value = 'of the old one'" } },
      { type: 'execute', stmt: { sql: 'COMMIT' } },
    ],
    baton!,
  );
  expect(JSON.stringify(results[0])).toContain('SQLITE_BUSY_SNAPSHOT');
  expect(await query(tenant, 'SELECT value FROM t WHERE id = 1')).toEqual([{ value: 'new' }]);
});

it('never mixes two files, nor answers from an old one, over many swaps under readers', async () => {
  const tenant = 'swaps';
  await fill(tenant, 'value 0');
  const { askAll } = await startReaders(tenant, 2);
  for (let round = 1; round <= 25; round++) {
    await destroy(tenant);
    await fill(tenant, `value ${round}`);
    for (const answer of await askAll())
      expect(answer).toMatchObject({ get: `value ${round}`, all: 2, iterate: 2 });
  }
  const db = new Database(fileOf(tenant), { readonly: true });
  onTestFinished(() => void db.close());
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
}, 120_000);
