import { execFile } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { tenantFile, tenantQueue } from '@onewriter/protocol';
import { type Grant, signToken } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
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
import { Ajv2020 } from 'ajv/dist/2020.js';
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

const ADMIN: Grant = { tenants: '*', access: 'admin' };
const NDJSON = 'application/x-ndjson';
const run = promisify(execFile);

const isInstalled = (program: string): Promise<boolean> =>
  run('sh', ['-c', 'command -v "$0"', program]).then(
    () => true,
    () => false,
  );

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
/** Validates an answer against /openapi.json. */
let validate: (method: string, path: string, status: number, type: string, body: unknown) => void;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('gateway-v1');
  broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
  gateway = await startService('gateway', {
    redisUrl: redis.url,
    dataDir: data.path,
    env: { ONEWRITER_READ_TIMEOUT_MS: '3000' },
  });
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  validate = createValidator(await (await fetch(`${gateway.url}/openapi.json`)).json());
});
afterAll(async () => {
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

interface Document {
  openapi: string;
  paths: Record<string, Record<string, { responses: Record<string, { content?: Record<string, unknown> }> }>>;
}

/** Every answer of a route must be one that the document says, of the shape that it says. */
function createValidator(document: Document): typeof validate {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  ajv.addSchema(document, 'document');
  const routes = Object.keys(document.paths).map(template => ({
    template,
    pattern: new RegExp(`^${template.replace(/\{\w+\}/g, '[^/]+')}$`),
  }));
  return (method, path, status, type, body) => {
    const route = routes.find(({ pattern }) => pattern.test(path));
    if (route === undefined) return;
    const responses = document.paths[route.template]?.[method.toLowerCase()]?.responses;
    if (responses === undefined) return;
    const key = String(status) in responses ? String(status) : 'default';
    const content = responses[key]?.content ?? {};
    expect(Object.keys(content), `${method} ${path} answered ${status} ${type}`).toContain(type);
    if (type !== 'application/json') return;
    const pointer = [
      'paths',
      route.template,
      method.toLowerCase(),
      'responses',
      key,
      'content',
      type,
      'schema',
    ]
      .map(part => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/');
    const check = ajv.getSchema(`document#/${pointer}`);
    if (check === undefined) throw new Error(`The document has no schema at ${pointer}`);
    check(body);
    expect(check.errors ?? [], `${method} ${path} ${status}: ${JSON.stringify(body).slice(0, 500)}`).toEqual(
      [],
    );
  };
}

interface Ask extends Omit<RequestInit, 'body'> {
  readonly body?: unknown;
  readonly access?: Grant;
  readonly headers?: Record<string, string>;
}

/** Sends a request, and checks the answer against the document. */
async function ask(method: string, path: string, options: Ask = {}) {
  const { access = ADMIN, body, headers = {}, ...init } = options;
  const token = await signToken(TEST_TOKEN_SECRET, access);
  const response = await fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...init,
  });
  const text = await response.text();
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  const parsed: any = type === 'application/json' ? JSON.parse(text) : text;
  validate(method, new URL(path, gateway.url).pathname, response.status, type, parsed);
  return { status: response.status, body: parsed, headers: response.headers };
}

const post = (path: string, body: unknown, options: Ask = {}) =>
  ask('POST', `/v1/tenants/${path}`, { body, ...options });
const get = (path: string, options: Ask = {}) => ask('GET', `/v1/tenants/${path}`, options);
const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
const commitSeqOf = async (tenant: string) => (await get(tenant)).body.commitSeq as number;

describe('statements', () => {
  it('write and read, with the commit of every write', async () => {
    const created = await post('shop/script', {
      sql: 'CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE, price REAL); CREATE INDEX by_price ON items(price)',
    });
    expect([created.status, created.body]).toEqual([200, { commitSeq: 1 }]);
    const insert = await post('shop/query', {
      sql: 'INSERT INTO items(name, price) VALUES (?, ?), (?, ?)',
      params: ['a', 1.5, 'b', 2],
    });
    expect(insert.body).toEqual({ changes: 2, lastInsertRowid: 2, commitSeq: 2 });
    expect(insert.headers.get('commit-seq')).toBe('2');

    const sql = 'SELECT id, name FROM items ORDER BY id';
    const all = await post('shop/query', { sql });
    expect(all.body).toEqual({
      columns: ['id', 'name'],
      rows: [
        { id: 1, name: 'a' },
        { id: 2, name: 'b' },
      ],
    });
    expect(all.headers.get('commit-seq')).toBe('2');
    expect((await post('shop/query', { sql, method: 'get' })).body.row).toEqual({ id: 1, name: 'a' });
    expect((await post('shop/query', { sql: `${sql} LIMIT 0`, method: 'get' })).body.row).toBeNull();
    expect((await post('shop/query', { sql, method: 'values' })).body.rows).toEqual([
      [1, 'a'],
      [2, 'b'],
    ]);
    expect((await post('shop/query', { sql, method: 'run' })).body).toEqual({});
    const returning = await post('shop/query', { sql: "DELETE FROM items WHERE name = 'b' RETURNING id" });
    expect(returning.body).toEqual({
      columns: ['id'],
      rows: [{ id: 2 }],
      changes: 1,
      lastInsertRowid: 0,
      commitSeq: 3,
    });
  });

  it('keep values exact, in either mode', async () => {
    await post('values/script', { sql: 'CREATE TABLE v(x)' });
    const text =
      '{"sql":"INSERT INTO v VALUES (?), (?), (?), (?)","params":[9007199254740993,{"b":"AAH/"},"x",1.5]}';
    await post('values/query', text);
    const plain = await post('values/query', { sql: 'SELECT x, 9e999 AS inf FROM v', method: 'values' });
    expect(plain.body.rows).toEqual([
      ['9007199254740993', 'Infinity'],
      ['AAH/', 'Infinity'],
      ['x', 'Infinity'],
      [1.5, 'Infinity'],
    ]);
    const tagged = await post('values/query', {
      sql: 'SELECT x, 9e999 AS inf FROM v LIMIT 2',
      values: 'tagged',
    });
    expect(tagged.body.rows).toEqual([
      [{ i: '9007199254740993' }, { f: 'Infinity' }],
      [{ b: 'AAH/' }, { f: 'Infinity' }],
    ]);
  });

  it('apply a transaction as a whole or not at all, and keep to what it expects', async () => {
    await post('bank/script', { sql: 'CREATE TABLE a(id TEXT PRIMARY KEY, cents INT CHECK (cents >= 0))' });
    const good = await post('bank/transaction', {
      statements: [
        { sql: "INSERT INTO a VALUES ('x', 100), ('y', 0)" },
        {
          sql: 'UPDATE a SET cents = cents - @n WHERE id = @id',
          params: { n: 40, id: 'x' },
          expect: { changes: 1 },
        },
        { sql: 'SELECT cents FROM a WHERE id = ?', params: ['x'] },
      ],
    });
    expect(good.body).toEqual({
      results: [
        { changes: 2, lastInsertRowid: 2 },
        { changes: 1, lastInsertRowid: 0 },
        { columns: ['cents'], rows: [{ cents: 60 }], changes: 0, lastInsertRowid: 0 },
      ],
      commitSeq: 2,
    });
    const unmet = await post('bank/transaction', {
      statements: [
        { sql: 'DELETE FROM a' },
        { sql: "UPDATE a SET cents = 1 WHERE id = 'x'", expect: { changes: 1 } },
      ],
    });
    expect([unmet.status, unmet.body.error]).toEqual([
      409,
      expect.objectContaining({
        code: 'EXPECTATION_FAILED',
        details: expect.objectContaining({ statementIndex: 1 }),
        requestId: expect.any(String),
      }),
    ]);
    expect((await post('bank/query', { sql: 'SELECT count(*) AS n FROM a' })).body.rows).toEqual([{ n: 2 }]);
  });

  it('wait for a commit that a read must see', async () => {
    await post('seen/script', { sql: 'CREATE TABLE t(a)' });
    const now = await commitSeqOf('seen');
    const read = (seq: number, timeoutMs = 2_000) =>
      post(
        'seen/query',
        { sql: 'SELECT count(*) AS n FROM t', timeoutMs },
        { headers: { 'if-commit-seq-at-least': String(seq) } },
      );
    expect((await read(now)).status).toBe(200);
    const late = await read(now + 1, 100);
    expect([late.status, late.body.error.code, late.body.error.details.commitSeq]).toEqual([
      412,
      'COMMIT_SEQ_NOT_REACHED',
      now,
    ]);
    const waiting = read(now + 1);
    await post('seen/query', { sql: 'INSERT INTO t VALUES (1)' });
    expect((await waiting).body.rows).toEqual([{ n: 1 }]);
  });

  it('stream a result of any length', async () => {
    await post('long/script', { sql: 'CREATE TABLE t(a)' });
    const sql =
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 150000) SELECT i FROM n';
    expect((await post('long/query', { sql })).body.error.code).toBe('RESULT_TOO_LARGE');
    const streamed = await post('long/query', { sql, method: 'values' }, { headers: { accept: NDJSON } });
    const answer = lines(streamed.body);
    expect([answer.length, answer[0], answer[1], answer.at(-1)]).toEqual([
      150_002,
      { columns: ['i'] },
      [1],
      { end: true, rows: 150_000 },
    ]);
    const broken = await post(
      'long/query',
      { sql: `${sql} UNION ALL SELECT abs(-9223372036854775807 - 1)` },
      { headers: { accept: NDJSON } },
    );
    expect(lines(broken.body).at(-1).error.code).toBe('SQL_ERROR');
  });

  it('stop a read at its deadline, while others continue', async () => {
    await post('slow/script', { sql: 'CREATE TABLE t(a)' });
    const sql = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n';
    const endless = post('slow/query', { sql, timeoutMs: 500 });
    for (let count = 0; count < 20; count++) {
      expect((await post('shop/query', { sql: 'SELECT 1 AS one' })).body.rows).toEqual([{ one: 1 }]);
    }
    const { status, body } = await endless;
    expect([status, body.error.code]).toEqual([504, 'READ_TIMEOUT']);
    expect((await post('slow/query', { sql: 'SELECT 1 AS one' })).status).toBe(200);
  });
});

describe('Idempotency-Key', () => {
  const keyed = (key: string, body: unknown, path = 'once/query') =>
    post(path, body, { headers: { 'idempotency-key': key } });

  it('applies a write once, and returns its result again', async () => {
    await post('once/script', { sql: 'CREATE TABLE t(id INTEGER PRIMARY KEY, a)' });
    const insert = { sql: 'INSERT INTO t(a) VALUES (?)', params: ['x'] };
    const first = await keyed('"order-77"', insert);
    const again = await keyed('order-77', insert);
    expect([again.status, again.body]).toEqual([200, first.body]);
    expect(again.headers.get('commit-seq')).toBe(first.headers.get('commit-seq'));
    const other = await keyed('"order-77"', { ...insert, params: ['y'] });
    expect([other.status, other.body.error.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
    const twins = await Promise.all(Array.from({ length: 10 }, () => keyed('twins', insert)));
    expect(new Set(twins.map(twin => twin.body.lastInsertRowid)).size).toBe(1);
    expect(new Set(twins.map(twin => twin.body.commitSeq)).size).toBe(1);
    expect((await post('once/query', { sql: 'SELECT count(*) AS n FROM t' })).body.rows).toEqual([{ n: 2 }]);
    const transaction = { statements: [insert] };
    await keyed('t-1', transaction, 'once/transaction');
    await keyed('t-1', transaction, 'once/transaction');
    const script = { sql: "INSERT INTO t(a) VALUES ('s')" };
    await keyed('s-1', script, 'once/script');
    await keyed('s-1', script, 'once/script');
    expect((await post('once/query', { sql: 'SELECT count(*) AS n FROM t' })).body.rows).toEqual([{ n: 4 }]);
    expect((await keyed('"', insert)).status).toBe(400);
    expect((await keyed('x'.repeat(256), insert)).status).toBe(400);
  });
});

describe('enqueue and receipts', () => {
  it('accepts a write, and reports its outcome later', async () => {
    await post('later/script', { sql: 'CREATE TABLE t(a UNIQUE)' });
    const accepted = await post('later/enqueue', { sql: 'INSERT INTO t VALUES (?)', params: [1] });
    expect(accepted.status).toBe(202);
    expect(accepted.headers.get('location')).toBe(accepted.body.href);
    const outcome = await ask('GET', `${accepted.body.href}?wait=5000&values=plain`);
    expect(outcome.body).toEqual({
      state: 'committed',
      commitSeq: expect.any(Number),
      result: { changes: 1, lastInsertRowid: 1, commitSeq: expect.any(Number) },
    });
    const twice = await post('later/enqueue', { sql: 'INSERT INTO t VALUES (?)', params: [1] });
    const failed = await ask('GET', `${twice.body.href}?wait=5000`);
    expect([failed.body.state, failed.body.error.code]).toEqual(['failed', 'CONSTRAINT_VIOLATION']);
    expect((await post('later/enqueue', { sql: 'SELECT 1' })).status).toBe(400);
    expect((await get('later/receipts/nonsense')).status).toBe(400);
  });

  it('takes a stream of many', async () => {
    await post('many/script', { sql: 'CREATE TABLE t(a)' });
    const body = Array.from({ length: 1_200 }, (_, a) =>
      JSON.stringify(a === 7 ? { sql: 'BEGIN' } : { sql: 'INSERT INTO t VALUES (?)', params: [a] }),
    ).join('\n');
    const answer = await post('many/enqueue', body, { headers: { 'content-type': NDJSON } });
    const answers = lines(answer.body);
    expect(answers.map(line => line.index)).toEqual(Array.from({ length: 1_200 }, (_, index) => index));
    expect(answers.filter(line => line.error).map(line => [line.index, line.error.code])).toEqual([
      [7, 'STATEMENT_NOT_ALLOWED'],
    ]);
    await get(`many/receipts/${answers.at(-1).receiptId}?wait=10000`);
    expect((await post('many/query', { sql: 'SELECT count(*) AS n FROM t' })).body.rows).toEqual([
      { n: 1_199 },
    ]);
  });

  it('keeps the order of a stream with long lines, and what they say', async () => {
    await post('long-lines/script', { sql: 'CREATE TABLE t(a, b)' });
    const writes = Array.from({ length: 12 }, (_, a) => ({
      sql: 'INSERT INTO t VALUES (?, ?)',
      params: [a, 'x'.repeat(a % 3 === 1 ? 300_000 : 1)],
      idempotencyKey: `long-${a}`,
    }));
    const names = Object.fromEntries(Array.from({ length: 40_000 }, (_, n) => [`n${n}`, 1]));
    const body = [
      ...writes,
      { sql: 'SELECT ?', params: ['x'.repeat(70_000)] },
      { sql: 'DELETE FROM t', params: names },
    ]
      .map(line => JSON.stringify(line))
      .join('\n');
    const send = async () =>
      lines((await post('long-lines/enqueue', body, { headers: { 'content-type': NDJSON } })).body);
    const answers = await send();
    expect(answers.map(line => [line.index, line.error?.code])).toEqual([
      ...writes.map((_, index) => [index, undefined]),
      [12, 'INVALID_ARGUMENT'],
      [13, 'STATEMENT_TOO_LARGE'],
    ]);
    // Each has its idempotency key, and is applied once.
    const again = await send();
    await get(`long-lines/receipts/${again[11].receiptId}?wait=10000`);
    const { rows } = (
      await post('long-lines/query', { sql: 'SELECT a, length(b) AS n FROM t ORDER BY rowid' })
    ).body;
    expect(rows).toEqual(writes.map(({ params: [a, b] }) => ({ a, n: (b as string).length })));
  });
});

describe('tenants', () => {
  it('are created, listed by page and described', async () => {
    const script = 'CREATE TABLE t(a); INSERT INTO t VALUES (1)';
    const created = await ask('PUT', '/v1/tenants/page-1', { body: { script } });
    expect([created.status, created.body]).toEqual([
      201,
      {
        tenant: 'page-1',
        state: 'active',
        bytes: expect.any(Number),
        walBytes: expect.any(Number),
        hibernated: null,
        queuedJobs: 0,
        lastActivity: expect.any(String),
        durability: null,
        parked: null,
        holders: [],
        commitSeq: 1,
        lastWrite: expect.any(String),
      },
    ]);
    expect((await ask('PUT', '/v1/tenants/page-1', { body: { script } })).status).toBe(200);
    for (const tenant of ['page-2', 'page-3']) await ask('PUT', `/v1/tenants/${tenant}`);
    const first = await ask('GET', '/v1/tenants?after=page-&limit=2');
    expect([first.body.tenants.map((t: { tenant: string }) => t.tenant), first.body.next]).toEqual([
      ['page-1', 'page-2'],
      'page-2',
    ]);
    const access: Grant = { tenants: ['page-3', 'nowhere'], access: 'read' };
    const own = await ask('GET', '/v1/tenants', { access });
    expect([own.body.tenants.map((t: { tenant: string }) => t.tenant), own.body.next]).toEqual([
      ['page-3'],
      null,
    ]);
    expect((await get('nowhere')).status).toBe(404);
    expect(
      (await ask('PUT', '/v1/tenants/page-4', { access: { tenants: '*', access: 'write' } })).status,
    ).toBe(403);
  });

  it('are paused and resumed', async () => {
    await ask('PUT', '/v1/tenants/rest', { body: { script: 'CREATE TABLE t(a)' } });
    const openFiles = () => {
      const folder = `/proc/${broker.pid}/fd`;
      const links = readdirSync(folder).flatMap(name => {
        const link = readlinkSync(join(folder, name), { encoding: 'utf8' });
        return link.includes('/rest/') ? [link] : [];
      });
      return links.length;
    };
    expect(openFiles()).toBeGreaterThan(0);
    expect((await post('rest/pause', undefined)).body).toMatchObject({ state: 'paused', queuedJobs: 0 });
    expect(openFiles()).toBe(0);
    const refused = await post('rest/query', { sql: 'INSERT INTO t VALUES (1)' });
    expect([refused.status, refused.body.error.code]).toEqual([503, 'TENANT_PAUSED']);
    expect(refused.headers.get('retry-after')).toBe('1');
    const dropIn = await ask('POST', '/query', {
      body: { tenantId: 'rest', query: 'INSERT INTO t VALUES (1)' },
    });
    expect([dropIn.status, dropIn.body.code]).toEqual([503, 'TENANT_PAUSED']);
    expect((await post('rest/query', { sql: 'SELECT * FROM t' })).body.rows).toEqual([]);
    expect((await post('rest/resume', undefined)).body.state).toBe('active');
    expect((await post('rest/query', { sql: 'INSERT INTO t VALUES (1)' })).status).toBe(200);
    const { body } = await ask('GET', '/v1/audit?limit=3');
    expect(
      body.entries.map((entry: { action: string; outcome: string }) => [entry.action, entry.outcome]),
    ).toEqual([
      ['tenant.resume', 'ok'],
      ['tenant.pause', 'ok'],
      ['tenant.create', 'ok'],
    ]);
    const access: Grant = { tenants: ['rest'], access: 'admin' };
    expect((await ask('GET', '/v1/audit', { access })).status).toBe(403);
  });

  it('return their schema', async () => {
    await post('schema/script', {
      sql: `CREATE TABLE owners(id INTEGER PRIMARY KEY);
        CREATE TABLE items(id TEXT NOT NULL, owner INT DEFAULT (1 + 1) REFERENCES owners(id) ON DELETE CASCADE,
          total REAL GENERATED ALWAYS AS (owner * 2) STORED, PRIMARY KEY (id)) WITHOUT ROWID, STRICT;
        CREATE UNIQUE INDEX by_owner ON items(owner) WHERE owner > 0;
        CREATE VIEW v AS SELECT id FROM items;
        CREATE TRIGGER tr AFTER INSERT ON items BEGIN SELECT 1; END`,
    });
    const { body } = await get('schema/schema');
    expect(body.tables.map((table: { name: string; type: string }) => [table.name, table.type])).toEqual([
      ['items', 'table'],
      ['owners', 'table'],
      ['v', 'view'],
    ]);
    expect(body.tables[0]).toMatchObject({
      strict: true,
      withoutRowid: true,
      columns: [
        { name: 'id', type: 'TEXT', notNull: true, default: null, primaryKey: 1, generated: false },
        { name: 'owner', type: 'INT', notNull: false, default: '1 + 1', primaryKey: 0, generated: false },
        { name: 'total', type: 'REAL', generated: true },
      ],
      foreignKeys: [
        {
          columns: ['owner'],
          table: 'owners',
          references: ['id'],
          onUpdate: 'NO ACTION',
          onDelete: 'CASCADE',
        },
      ],
    });
    expect(body.tables[0].indexes).toContainEqual({
      name: 'by_owner',
      unique: true,
      partial: true,
      origin: 'c',
      columns: ['owner'],
      sql: expect.stringContaining('CREATE UNIQUE INDEX'),
      error: null,
    });
    expect(body.triggers).toEqual([
      { name: 'tr', table: 'items', sql: expect.stringContaining('CREATE TRIGGER'), error: null },
    ]);
    expect(body.commitSeq).toBe(1);
  });

  it('return what can be described of a schema whose views on each other take SQLite for ever', async () => {
    const views = Array.from({ length: 60 }, (_, n) => {
      const before = n === 0 ? 'a_table' : `v${n - 1}`;
      return `CREATE VIEW v${n} AS SELECT x.a FROM ${before} x, ${before} y`;
    });
    await post('views/script', { sql: `CREATE TABLE a_table(a); CREATE TABLE z(b); ${views.join(';')}` });
    const begunAt = performance.now();
    const { status, body } = await get('views/schema');
    expect(performance.now() - begunAt).toBeLessThan(10_000);
    expect(status).toBe(200);
    const tables = new Map<string, { described: boolean; error: string | null; columns: { name: string }[] }>(
      body.tables.map((table: { name: string }) => [table.name, table]),
    );
    expect(tables.size).toBe(62);
    for (const name of ['a_table', 'z', 'v0', 'v1']) {
      expect(tables.get(name), name).toMatchObject({ described: true, error: null });
      expect(tables.get(name)!.columns).toHaveLength(1);
    }
    expect(tables.get('v59')).toMatchObject({
      described: false,
      error: expect.stringContaining('Not described'),
      columns: [],
    });
  });
});

describe('export', () => {
  const script = `
    CREATE TABLE kinds(id INTEGER PRIMARY KEY AUTOINCREMENT, "odd ""name" TEXT, n NUMERIC, b BLOB);
    INSERT INTO kinds VALUES (1, 'it''s', 9007199254740993, x'00ff'), (2, '', 1.0, NULL), (3, NULL, -9e999, x''),
      (9, 'a' || char(0) || 'b', -9223372036854775808, 'text'), (10, 'line' || char(10) || '"q", ü🧵', 0.1, 1);
    CREATE TABLE gen(a, c AS (a * 2)); INSERT INTO gen VALUES (4);
    CREATE VIRTUAL TABLE search USING fts5(body); INSERT INTO search VALUES ('hello world');
    CREATE INDEX by_n ON kinds(n); CREATE VIEW v AS SELECT id FROM kinds;
    CREATE TRIGGER tr AFTER INSERT ON gen BEGIN DELETE FROM gen WHERE a IS NULL; END;
    PRAGMA user_version = 42`;

  beforeAll(async () => {
    await post('out/script', { sql: script });
  });

  async function download(query: string): Promise<{ bytes: Buffer; headers: Headers }> {
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: ['out'], access: 'read' });
    const response = await fetch(`${gateway.url}/v1/tenants/out/export?${query}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(response.status).toBe(200);
    return { bytes: Buffer.from(await response.arrayBuffer()), headers: response.headers };
  }

  const content = (db: Database.Database) => {
    const kinds = db
      .prepare('SELECT *, typeof(n), typeof(b) FROM kinds ORDER BY id')
      .safeIntegers()
      .raw()
      .all();
    const names = db.prepare(
      "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_onewriter%' ESCAPE '\\'",
    );
    return {
      kinds,
      gen: db.prepare('SELECT * FROM gen').raw().all(),
      found: db.prepare("SELECT body FROM search WHERE search MATCH 'hello'").pluck().all(),
      sequence: db.prepare('SELECT * FROM sqlite_sequence').raw().all(),
      version: db.pragma('user_version', { simple: true }),
      names: (names.pluck().all() as string[]).filter(name => !name.startsWith('sqlite_autoindex')).sort(),
    };
  };

  it('gives a dump and a snapshot that hold the same as the tenant', async () => {
    const original = new Database(tenantFile(data.path, 'out'), { readonly: true });
    const expected = content(original);
    original.close();
    const dump = await download('format=sql');
    expect(dump.headers.get('commit-seq')).toBe('1');
    const restored = new Database(':memory:');
    restored.exec(dump.bytes.toString('utf8'));
    expect(content(restored)).toEqual(expected);
    restored.close();

    const snapshot = await download('format=sqlite');
    expect(snapshot.headers.get('content-disposition')).toBe('attachment; filename="out.db"');
    const copy = new Database(snapshot.bytes);
    expect(content(copy)).toEqual(expected);
    expect(copy.pragma('integrity_check', { simple: true })).toBe('ok');
    copy.close();
    const scratch = () => readdirSync(join(data.path, 'trash')).filter(name => name.startsWith('scratch'));
    await waitFor(() => scratch().length === 0, { what: 'the copy to be gone' });
  });

  it('gives NDJSON and CSV, and takes them back', async () => {
    const ndjson = await download('table=kinds');
    expect(lines(ndjson.bytes.toString())[0]).toEqual({
      id: { i: '1' },
      'odd "name': "it's",
      n: { i: '9007199254740993' },
      b: { b: 'AP8=' },
    });
    expect(lines((await download('')).bytes.toString()).map(line => line.table)).toContain('gen');
    const csv = await download('table=kinds&format=csv');
    expect(csv.bytes.toString().split('\r\n')[0]).toBe('id,"odd ""name",n,b');

    const create =
      'CREATE TABLE kinds(id INTEGER PRIMARY KEY AUTOINCREMENT, "odd ""name" TEXT, n NUMERIC, b BLOB)';
    await post('back/script', { sql: create });
    const body = ndjson.bytes.toString();
    expect(body).toContain('{"f":"-Infinity"}');
    const imported = await post('back/import?table=kinds', body, { headers: { 'content-type': NDJSON } });
    expect(lines(imported.body).at(-1)).toMatchObject({ event: 'done', rows: 5, accepted: 5, rejected: 0 });
    const sql = 'SELECT id, "odd ""name", n, b FROM kinds WHERE id <> 3 ORDER BY id';
    const [there, here] = await Promise.all(
      ['out', 'back'].map(tenant => post(`${tenant}/query`, { sql, values: 'tagged' })),
    );
    expect(here!.body.rows).toEqual(there!.body.rows);
    expect((await get('out/export?format=csv')).status).toBe(400);
    expect((await get('out/export?table=nothing')).status).toBe(404);
    expect((await get('nobody/export?format=sqlite')).status).toBe(404);
  });
});

describe('import', () => {
  it('reports rejected rows, and is resumed under its key without applying a row twice', async () => {
    await post('in/script', {
      sql: 'CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n INT CHECK (n > 0))',
    });
    const rows = Array.from(
      { length: 3_000 },
      (_, id) => `${id},"name, ${id}",${id === 1_500 ? -1 : id + 1}`,
    );
    const csv = (count: number) => ['id,name,n', ...rows.slice(0, count)].join('\r\n');
    const send = (body: string, query = 'table=t') =>
      post(`in/import?${query}`, body, {
        headers: { 'content-type': 'text/csv', 'idempotency-key': '"import-1"' },
      });
    const first = lines((await send(csv(2_000))).body);
    expect(first.filter(event => event.event === 'rejected')).toEqual([
      {
        event: 'rejected',
        row: 1_500,
        line: 1_502,
        error: expect.objectContaining({ code: 'CONSTRAINT_VIOLATION' }),
      },
    ]);
    expect(first.at(-1)).toMatchObject({
      event: 'done',
      idempotencyKey: 'import-1',
      rows: 2_000,
      accepted: 1_999,
      skipped: 0,
      rejected: 1,
    });
    const jobs = new Database(tenantFile(data.path, 'in'), { readonly: true });
    const largest = jobs
      .prepare('SELECT max(json_array_length(results)) FROM sqlite_onewriter_ledger')
      .pluck()
      .get();
    jobs.close();
    expect(largest).toBeLessThanOrEqual(500);
    const again = lines((await send(csv(3_000))).body);
    expect(again.at(-1)).toMatchObject({
      event: 'done',
      rows: 3_000,
      accepted: 1_000,
      skipped: 1_999,
      rejected: 1,
      unknown: 0,
    });
    const count = await post('in/query', { sql: 'SELECT count(*) AS n, sum(n) AS s FROM t' });
    const sum = rows.reduce((total, _, id) => total + (id === 1_500 ? 0 : id + 1), 0);
    expect(count.body.rows).toEqual([{ n: 2_999, s: sum }]);
    const bad = lines((await send(csv(3_000), 'table=t&maxRejected=0')).body);
    expect(bad.at(-1)).toMatchObject({
      event: 'failed',
      skipped: 2_999,
      rejected: 1,
      error: { code: 'INVALID_ARGUMENT', message: expect.stringContaining('line 1502') },
    });
    // Only a row that was refused may be another one when it comes again.
    const fixed = csv(3_000).replace('"name, 1500",-1', '"name, 1500",5');
    expect(lines((await send(fixed)).body).at(-1)).toMatchObject({
      event: 'done',
      accepted: 1,
      skipped: 2_999,
      rejected: 0,
    });
    for (const other of [fixed.replace('"name, 7",8', '"name, 7",9'), csv(2_000)]) {
      expect(lines((await send(other)).body).at(-1)).toMatchObject({
        event: 'failed',
        accepted: 0,
        error: { code: 'IDEMPOTENCY_KEY_REUSED' },
      });
    }
    const replacing = lines((await send(fixed, 'table=t&onConflict=replace')).body);
    expect(replacing.at(-1)).toMatchObject({ error: { code: 'IDEMPOTENCY_KEY_REUSED' } });
  });

  it('refuses what cannot be imported', async () => {
    const headers = { 'content-type': NDJSON };
    await post('in2/script', { sql: 'CREATE TABLE t(a)' });
    expect((await post('in2/import?table=nothing', '{}', { headers })).status).toBe(404);
    expect((await post('in2/import?table=sqlite_onewriter_ledger', '{}', { headers })).body.error.code).toBe(
      'STATEMENT_NOT_ALLOWED',
    );
    expect((await post('in2/import?table=t', '{}')).status).toBe(415);
    const access: Grant = { tenants: ['in2'], access: 'read' };
    expect((await post('in2/import?table=t', '{}', { headers, access })).status).toBe(403);
    const mixed = await post('in2/import?table=t', '{"a":1}\nnonsense\n[]\n{"b":1}\n{"a":[1]}\n', {
      headers,
    });
    expect(lines(mixed.body).map(event => event.error?.code ?? event.event)).toEqual([
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_VALUE',
      'done',
    ]);
    expect(lines(mixed.body).map(event => event.line)).toEqual([2, 3, 4, 5, undefined]);
    const csv = { headers: { 'content-type': 'text/csv' } };
    expect((await post('in2/import', 'a\n1', csv)).status).toBe(400);
    const duplicate = await post('in2/import?table=t', 'a,A\n1,2\n', csv);
    expect(lines(duplicate.body)).toEqual([
      expect.objectContaining({
        event: 'failed',
        rows: 0,
        error: {
          code: 'INVALID_ARGUMENT',
          message: expect.stringContaining('"a" and "A"'),
          details: { line: 1 },
        },
      }),
    ]);
  });
});

describe('events', () => {
  /** Reads events until there are `count`, and goes away. */
  async function follow(tenant: string, count: number, lastEventId?: string) {
    const token = await signToken(TEST_TOKEN_SECRET, { tenants: [tenant], access: 'read' });
    const caller = new AbortController();
    const response = await fetch(`${gateway.url}/v1/tenants/${tenant}/events`, {
      headers: {
        authorization: `Bearer ${token}`,
        ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
      },
      signal: caller.signal,
    });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    let text = '';
    const decoder = new TextDecoder();
    const events = () =>
      [...text.matchAll(/event: (\w+)\nid: (\S+)\ndata: (.*)\n\n/g)].map(([, event, id, json]) => ({
        event,
        id: id!,
        data: JSON.parse(json!),
      }));
    const done = (async () => {
      for await (const chunk of response.body!) {
        text += decoder.decode(chunk as Uint8Array, { stream: true });
        if (events().length >= count) break;
      }
      caller.abort();
      return events();
    })();
    return { events, done };
  }

  it('send each commit once, in order, also after a new connection', async () => {
    await post('feed/script', { sql: 'CREATE TABLE t(a UNIQUE)' });
    const first = await follow('feed', 3);
    await waitFor(() => first.events().length === 1, { what: 'the beginning' });
    const receipts: string[] = [];
    for (const a of [1, 2]) {
      const { body } = await post('feed/enqueue', { sql: 'INSERT INTO t VALUES (?)', params: [a] });
      receipts.push(body.receiptId);
      await ask('GET', `${body.href}?wait=5000`);
    }
    const [ready, one, two] = await first.done;
    expect([ready!.event, ready!.data]).toEqual(['ready', { commitSeq: 1 }]);
    expect([one!.data, two!.data]).toEqual([
      { commitSeq: 2, committedAt: expect.any(String), receipts: [receipts[0]], failed: [] },
      { commitSeq: 3, committedAt: expect.any(String), receipts: [receipts[1]], failed: [] },
    ]);
    const failing = await post('feed/enqueue', { sql: 'INSERT INTO t VALUES (1)' });
    await ask('GET', `${failing.body.href}?wait=5000`);
    await post('feed/query', { sql: 'INSERT INTO t VALUES (3)' });
    const resumed = await (await follow('feed', 4, one!.id)).done;
    expect(resumed.map(event => [event.event, event.data.commitSeq])).toEqual([
      ['ready', 2],
      ['commit', 3],
      ['commit', 4],
      ['commit', 5],
    ]);
    expect([resumed[2]!.data.receipts, resumed[2]!.data.failed]).toEqual([[], [failing.body.receiptId]]);
    const lost = await (await follow('feed', 1, '9999.9999')).done;
    expect(lost.map(event => event.event)).toEqual(['gap']);
    const wrong = await get('feed/events', { headers: { 'last-event-id': 'x' } });
    expect(wrong.status).toBe(400);
    expect((await get('nobody/events')).status).toBe(404);
  });

  it('send every commit of a write or job that has several', async () => {
    const client = await connect({ redis: redis.url, dataDir: data.path });
    onTestFinished(() => client.close({ timeoutMs: 1 }));
    const db = client.tenant('parts');
    await db.exec('CREATE TABLE t(a); CREATE TABLE p(id INTEGER PRIMARY KEY)');
    const followed = await follow('parts', 9);
    await waitFor(() => followed.events().length === 1, { what: 'the beginning' });
    // Savepoints of the caller's own need transactions of their own.
    const twice = ['BEGIN', 'INSERT INTO t VALUES (1)', 'SAVEPOINT s', 'RELEASE s', 'COMMIT'];
    await db.steps({ steps: [...twice, ...twice].map(sql => ({ sql })) });
    // A commit in front of a transaction that stays open, and is given up.
    const open = await db.steps({
      steps: ['INSERT INTO t VALUES (2)', 'BEGIN', 'INSERT INTO t VALUES (3)'].map(sql => ({ sql })),
      interactive: true,
    });
    await db.steps({ steps: [{ sql: 'ROLLBACK' }], transaction: open.transaction!.id });
    // Each write of this file is judged alone, so it has a commit of its own.
    await db.exec('CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)');
    const receipts = await Promise.all([1, 2, 3].map(id => db.enqueue('INSERT INTO p VALUES (?)', [id])));
    for (const receipt of receipts) await receipt.committed();
    const missing = await db.enqueue('INSERT INTO c VALUES (4)');
    await expect(missing.committed()).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' });
    const [ready, ...commits] = await followed.done;
    expect(ready!.data).toEqual({ commitSeq: 1 });
    expect(commits.map(({ data }) => data.commitSeq)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect(commits.slice(0, 4).map(({ data }) => data.receipts.length)).toEqual([1, 1, 1, 1]);
    expect(commits[0]!.data.receipts).toEqual(commits[1]!.data.receipts);
    expect(commits.slice(4).flatMap(({ data }) => data.receipts)).toEqual(receipts.map(({ id }) => id));
    expect(commits.at(-1)!.data.failed).toEqual([missing.id]);
    // From the middle of a job.
    const resumed = await (await follow('parts', 4, commits[4]!.id)).done;
    expect(resumed.map(({ data }) => data.commitSeq)).toEqual([6, 7, 8, 9]);
  });
});

describe('deleting a tenant', () => {
  it('needs a confirmation, and moves its folder to the trash', async () => {
    await ask('PUT', '/v1/tenants/gone', { body: { script: 'CREATE TABLE t(a); INSERT INTO t VALUES (1)' } });
    await post('gone/query', { sql: 'SELECT * FROM t' });
    const path = '/v1/tenants/gone';
    const unsure = await ask('DELETE', path);
    expect([unsure.status, unsure.body.error.code]).toEqual([428, 'CONFIRMATION_REQUIRED']);
    const headers = { 'confirm-delete': 'gone' };
    const access: Grant = { tenants: ['gone'], access: 'write' };
    expect((await ask('DELETE', path, { headers, access })).status).toBe(403);
    const deleted = await ask('DELETE', path, { headers });
    expect([deleted.status, deleted.body]).toEqual([
      200,
      {
        tenant: 'gone',
        trash: expect.stringMatching(/^gone\.\d+\.\d+$/),
        deletedAt: expect.any(String),
        expiresAt: expect.any(String),
      },
    ]);
    expect(existsSync(dirname(tenantFile(data.path, 'gone')))).toBe(false);
    const kept = new Database(join(data.path, 'trash', deleted.body.trash, 'tenant.db'), { readonly: true });
    expect(kept.prepare('SELECT a FROM t').pluck().all()).toEqual([1]);
    kept.close();
    expect((await get('gone')).status).toBe(404);
    expect((await post('gone/query', { sql: 'SELECT * FROM t' })).status).toBe(404);
    expect((await ask('DELETE', path, { headers })).status).toBe(404);
    // A new tenant of the same name starts empty: no process writes into the old file.
    await ask('PUT', path, { body: { script: 'CREATE TABLE t(b)' } });
    expect((await post('gone/query', { sql: 'SELECT * FROM t' })).body.rows).toEqual([]);
    expect((await ask('GET', '/v1/audit?limit=2')).body.entries[1]).toMatchObject({
      action: 'tenant.delete',
      tenant: 'gone',
      outcome: 'TENANT_NOT_FOUND',
    });
  });

  it('is done once where many ask at the same time', async () => {
    await ask('PUT', '/v1/tenants/crowd', { body: { script: 'CREATE TABLE t(a)' } });
    const headers = { 'confirm-delete': 'crowd' };
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => ask('DELETE', '/v1/tenants/crowd', { headers })),
    );
    const statuses = answers.map(answer => answer.status).sort();
    expect(statuses.filter(status => status === 200)).toHaveLength(1);
    expect(statuses.every(status => [200, 404, 503].includes(status))).toBe(true);
    await ask('PUT', '/v1/tenants/crowd', { body: { script: 'CREATE TABLE t(b)' } });
    expect((await post('crowd/query', { sql: 'INSERT INTO t VALUES (1)' })).status).toBe(200);
  });

  it('does not lose queued writes unless the caller asks for it', async () => {
    await ask('PUT', '/v1/tenants/full', { body: { script: 'CREATE TABLE t(a)' } });
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    const { prefix, name } = tenantQueue('default', 'full');
    await connection.hset(`${prefix}:${name}:meta`, 'paused', 1);
    const client = await connect({ redis: redis.url });
    onTestFinished(() => client.close({ timeoutMs: 1 }));
    await client.tenant('full').enqueue('INSERT INTO t VALUES (1)');
    const headers = { 'confirm-delete': 'full' };
    const busy = await ask('DELETE', '/v1/tenants/full', { headers });
    expect([busy.status, busy.body.error.code, busy.body.error.details.queuedJobs]).toEqual([
      409,
      'TENANT_BUSY',
      1,
    ]);
    expect((await ask('DELETE', '/v1/tenants/full?discardQueued=true', { headers })).status).toBe(200);
    expect((await get('full')).status).toBe(404);
  });
});

describe('keys', () => {
  it('may be a public key and a fixed token, without a secret', async () => {
    await ask('PUT', '/v1/tenants/keys', { body: { script: 'CREATE TABLE t(a)' } });
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const other = await startService('gateway', {
      redisUrl: redis.url,
      dataDir: data.path,
      env: {
        ONEWRITER_TOKEN_SECRET: undefined,
        ONEWRITER_TOKEN_PUBLIC_KEY: publicKey.export({ type: 'spki', format: 'pem' }) as string,
        ONEWRITER_ADMIN_TOKEN: 'a-fixed-token-for-emergencies',
      },
    });
    onTestFinished(async () => void (await other.stop()));
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'EdDSA' })}.${part({ tenants: ['keys'], access: 'write', sub: 'ada', iat: Math.floor(Date.now() / 1_000) })}`;
    const signed = `${text}.${sign(null, Buffer.from(text), privateKey).toString('base64url')}`;
    for (const [token, path, status] of [
      [signed, 'keys/query', 200],
      [signed, 'shop/query', 403],
      ['a-fixed-token-for-emergencies', 'shop/query', 200],
      ['a-fixed-token-for-emergencie', 'shop/query', 401],
      [await signToken(TEST_TOKEN_SECRET, ADMIN), 'keys/query', 401],
    ] as const) {
      const response = await fetch(`${other.url}/v1/tenants/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{"sql":"SELECT 1 AS one"}',
      });
      expect([path, response.status]).toEqual([path, status]);
    }
    expect(other.logs()).not.toContain('"token":');
  });
});

describe('shutting down', () => {
  it('ends streams with the truth', async () => {
    await post('end/script', { sql: 'CREATE TABLE t(a)' });
    const other = await startService('gateway', { redisUrl: redis.url, dataDir: data.path });
    onTestFinished(async () => void (await other.stop()));
    const authorization = `Bearer ${await signToken(TEST_TOKEN_SECRET, ADMIN)}`;
    const events = await fetch(`${other.url}/v1/tenants/end/events`, { headers: { authorization } });
    let rows = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull: controller => {
        if (rows < 100) controller.enqueue(Buffer.from(`{"a":${rows++}}\n`));
      },
    });
    const imported = await fetch(`${other.url}/v1/tenants/end/import?table=t`, {
      method: 'POST',
      headers: { authorization, 'content-type': NDJSON },
      body: endless,
      duplex: 'half',
    } as RequestInit);
    const count = async () =>
      (await post('end/query', { sql: 'SELECT count(*) AS n FROM t' })).body.rows[0].n;
    await waitFor(async () => (await count()) === 100, { what: 'the rows to be written' });
    const start = performance.now();
    const stopped = other.stop();
    expect(lines(await imported.text()).at(-1)).toMatchObject({ event: 'interrupted', accepted: 100 });
    expect(await events.text()).toContain('event: ready');
    expect(await stopped).toEqual({ code: 0, signal: null });
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});

describe('documentation', () => {
  it('is an OpenAPI 3.1 document of all routes', async () => {
    const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as Document;
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(['/query', '/v1/tenants/{tenant}/query', '/v1/tenants/{tenant}/receipts/{id}']),
    );
  });

  it('is a page that loads nothing from elsewhere, with examples that work', async () => {
    const response = await fetch(`${gateway.url}/docs`);
    const page = await response.text();
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(page).not.toMatch(/<script|(?:src|href)="https?:/);
    expect((await fetch(`${gateway.url}/docs/style.css`)).headers.get('content-type')).toContain('text/css');
    const env = { ...process.env, ONEWRITER_TOKEN: await signToken(TEST_TOKEN_SECRET, ADMIN) };
    const example = (language: string) => {
      const code = new RegExp(`<pre data-language="${language}"><code>([^<]*)`).exec(page)![1]!;
      return code.replace(/&#(\d+);/g, (_, number) => String.fromCharCode(Number(number)));
    };
    const shell = await run('bash', ['-euc', example('curl')], { env });
    expect(shell.stdout).toContain('"title":"one"');
    const python = await run('python3', ['-c', example('Python')], { env });
    expect(python.stdout).toBe('two\n');
    for (const language of ['Go', 'PHP'])
      expect(example(language)).toContain(`${gateway.url}/v1/tenants/acme`);
    // Not every machine has these tools; the test does not install them.
    const code = await temporaryDirectory('examples');
    onTestFinished(() => code.remove());
    if (await isInstalled('php')) {
      await writeFile(join(code.path, 'example.php'), example('PHP'));
      const php = await run('php', ['example.php'], { env, cwd: code.path });
      expect(php.stdout).toMatch(/\[id\] => t4\s+\[title\] => four/);
    }
    if (await isInstalled('go')) {
      await writeFile(join(code.path, 'main.go'), example('Go'));
      const go = await run('go', ['run', 'main.go'], { env: { ...env, GO111MODULE: 'off' }, cwd: code.path });
      expect(go.stdout).toContain('map[id:t3 title:three]');
    }
  });
});
