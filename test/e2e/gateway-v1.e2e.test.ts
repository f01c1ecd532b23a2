import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { type Access, signToken } from '@onewriter/runtime';
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ADMIN: Access = { tenants: '*', access: 'admin' };
const NDJSON = 'application/x-ndjson';
const run = promisify(execFile);

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
  readonly access?: Access;
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

  it('stop a read at its deadline, while others go on', async () => {
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
    expect([again.status, again.body.lastInsertRowid, again.body.changes]).toEqual([
      200,
      first.body.lastInsertRowid,
      1,
    ]);
    const other = await keyed('"order-77"', { ...insert, params: ['y'] });
    expect([other.status, other.body.error.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED']);
    const twins = await Promise.all(Array.from({ length: 10 }, () => keyed('twins', insert)));
    expect(new Set(twins.map(twin => twin.body.lastInsertRowid)).size).toBe(1);
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
  it('accepts a write, and tells later what became of it', async () => {
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
        queuedJobs: 0,
        lastActivity: expect.any(String),
        parked: null,
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
    const access: Access = { tenants: ['page-3', 'nowhere'], access: 'read' };
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
    expect((await post('rest/pause', undefined)).body).toMatchObject({ state: 'paused', queuedJobs: 0 });
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
    const access: Access = { tenants: ['rest'], access: 'admin' };
    expect((await ask('GET', '/v1/audit', { access })).status).toBe(403);
  });

  it('tell their schema', async () => {
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
    });
    expect(body.triggers).toEqual([
      { name: 'tr', table: 'items', sql: expect.stringContaining('CREATE TRIGGER') },
    ]);
    expect(body.commitSeq).toBe(1);
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
  });
});
