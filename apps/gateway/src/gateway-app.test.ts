import { OnewriterError, receiptId } from '@onewriter/protocol';
import { createLogger, createTokenVerifier, type Grant, signToken } from '@onewriter/runtime';
import type { Onewriter } from '@onewriter/sdk';
import { describe, expect, it } from 'vitest';
import { Leniency } from './dialects/drop-in/leniency.ts';
import { createGatewayApp } from './gateway-app.ts';
import type { GatewayOptions } from './gateway-options.ts';
import type { HealthReport } from './http/health.ts';
import type { ReadResult, TenantReads } from './reads/tenant-reads.ts';
import { createRateLimits } from './security/rate-limits.ts';
import type { PauseFlags } from './tenants/pause-flags.ts';

const SECRET = 'a-secret-for-tests-only';
const HEALTHY: HealthReport = { healthy: true, reasons: [], checks: { redis: 'ok', broker: 'ok' } };

interface Execution {
  readonly tenant: string;
  readonly sql: string;
  readonly params: unknown;
  readonly options?: unknown;
}

/** A gateway whose database answers what the test says; what it was asked is in `executions`. */
async function createTestGateway(
  answer: (execution: Execution) => unknown = () => ({
    kind: 'write',
    changes: 1,
    lastInsertRowid: 7,
    commitSeq: 3,
  }),
  options: {
    access?: Grant;
    health?: HealthReport;
    maxBodyBytes?: number;
    corsOrigins?: string[];
    perToken?: number;
    perTenant?: number;
  } = {},
) {
  const executions: Execution[] = [];
  const run = async (tenant: string, sql: string, params: unknown, options?: unknown) => {
    executions.push({ tenant, sql, params });
    return answer({ tenant, sql, params, options });
  };
  const onewriter = {
    stats: () => ({ openReaders: 0 }),
    tenant: (tenant: string) => ({
      execute: (sql: string, params: unknown, options: unknown) => run(tenant, sql, params, options),
      transaction: (statements: unknown) => run(tenant, 'transaction', statements),
    }),
  } as unknown as Pick<Onewriter, 'tenant' | 'stats'>;
  const reads: TenantReads = {
    openFiles: 4,
    forget: () => {},
    stream: () => Promise.reject(new Error('nothing streams here')),
    read: async ({ tenant, statements }) => {
      const { sql, params } = statements[0]!;
      const { columns, rows } = (await run(tenant, sql, params)) as ReadResult;
      return { results: [{ columns, rows }], commitSeq: 5 };
    },
  };
  const app = createGatewayApp({
    onewriter,
    reads,
    pauses: { assertNotPaused: async () => {} } as unknown as PauseFlags,
    verifyToken: createTokenVerifier({ secret: SECRET }),
    limits: createRateLimits({ perToken: options.perToken ?? 0, perTenant: options.perTenant ?? 0 }),
    tenants: {} as GatewayOptions['tenants'],
    audit: {} as GatewayOptions['audit'],
    operations: {} as GatewayOptions['operations'],
    leniency: new Leniency({
      doubleQuotes: false,
      repeatedDdl: false,
      reads,
      uses: { count: () => {} },
    }),
    revocations: { add: () => {}, list: () => [] },
    hrana: {} as GatewayOptions['hrana'],
    exporter: () => Promise.reject(new Error('nothing is exported here')),
    corsOrigins: options.corsOrigins ?? [],
    closing: new AbortController().signal,
    health: async () => options.health ?? HEALTHY,
    checkIntegrity: async () => ({ integrity: 'ok', unchecked: [] }),
    draining: () => false,
    maxBodyBytes: options.maxBodyBytes ?? 10_000,
    writeTimeoutMs: 1_000,
    readTimeoutMs: 1_000,
    log: createLogger('test', 'silent'),
  });
  const token = await signToken(SECRET, options.access ?? { tenants: '*', access: 'admin' });
  const request = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    app.request(path, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
  const post = (path: string, body: unknown, headers?: Record<string, string>) =>
    request('POST', path, body, headers);
  return { app, request, post, executions };
}

const INSERT = { tenantId: 'acme', query: 'INSERT INTO t VALUES (?)', params: [1] };
const SELECT = { tenantId: 'acme', query: 'SELECT 1' };

describe('access', () => {
  it('needs a token on everything but the probes', async () => {
    const { app } = await createTestGateway();
    for (const path of ['/livez', '/readyz', '/health']) expect((await app.request(path)).status).toBe(200);
    for (const [method, path] of [
      ['POST', '/query'],
      ['POST', '/transaction'],
      ['GET', '/info/acme'],
      ['POST', '/v1/tenants/acme/query'],
      ['GET', '/v1/tenants/acme/receipts/x'],
    ] as const) {
      const response = await app.request(path, { method });
      expect([path, response.status]).toEqual([path, 401]);
      expect(response.headers.get('www-authenticate')).toMatch(/^Bearer/);
    }
  });

  it.each(['Bearer', 'Bearer x', 'Basic YTpi', 'Bearer a.b.c', `Bearer ${'x'.repeat(20_000)}`])(
    'refuses the authorization %.20s',
    async authorization => {
      const { post, executions } = await createTestGateway();
      const response = await post('/query', INSERT, { authorization });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ code: 'UNAUTHENTICATED', error: expect.any(String) });
      expect(executions).toEqual([]);
    },
  );

  it('keeps a token to its tenants', async () => {
    const { request, post, executions } = await createTestGateway(undefined, {
      access: { tenants: ['globex'], access: 'admin' },
    });
    for (const response of [
      await post('/query', SELECT),
      await post('/query', INSERT),
      await post('/transaction', { tenantId: 'acme', queries: [{ query: 'SELECT 1' }] }),
      await post('/v1/tenants/acme/query', { sql: 'SELECT 1', values: 'tagged' }),
      await request('GET', '/info/acme'),
      await request('GET', '/v1/tenants/acme/receipts/x'),
    ]) {
      expect(response.status).toBe(403);
    }
    expect(executions).toEqual([]);
  });

  it('lets a token for reads read, and nothing else', async () => {
    const { post, executions } = await createTestGateway(() => ({ kind: 'read', columns: [], rows: [] }), {
      access: { tenants: ['acme'], access: 'read' },
    });
    expect((await post('/query', SELECT)).status).toBe(200);
    for (const query of [INSERT.query, 'WITH x AS (SELECT 1) DELETE FROM t', '/* SELECT */ DROP TABLE t']) {
      expect((await post('/query', { tenantId: 'acme', query })).status).toBe(403);
      expect((await post('/v1/tenants/acme/query', { sql: query, values: 'tagged' })).status).toBe(403);
    }
    const queries = [{ query: 'SELECT 1' }];
    expect((await post('/transaction', { tenantId: 'acme', queries })).status).toBe(403);
    expect(executions.map(execution => execution.sql)).toEqual(['SELECT 1']);
  });

  it.each(['../acme', 'acme/../x', 'ACME', 'a'.repeat(64), '', '%2e%2e', 'ac me', 'acme\u0000'])(
    'refuses the tenant id %j',
    async tenantId => {
      const { request, post } = await createTestGateway();
      const response = await post('/query', { tenantId, query: 'SELECT 1' });
      expect([response.status, (await response.json()).code]).toEqual([400, 'INVALID_TENANT']);
      const info = await request('GET', `/info/${encodeURIComponent(tenantId)}`);
      expect([400, 404]).toContain(info.status);
    },
  );
});

describe('POST /query', () => {
  it('answers run, all and get by what the statement does, not by its text', async () => {
    const rows = () => ({ columns: ['a'], rows: [[1], [2]] });
    const reads = await createTestGateway(rows);
    for (const query of [
      'SELECT a FROM t LIMIT 10',
      '-- x\nWITH c AS (SELECT 1) SELECT * FROM c',
      'PRAGMA table_info(t)',
    ]) {
      expect(await (await reads.post('/query', { tenantId: 'acme', query })).json()).toEqual({
        type: 'all',
        result: [{ a: 1 }, { a: 2 }],
      });
    }
    const written = {
      kind: 'write',
      columns: ['a'],
      rows: [[1], [2]],
      changes: 2,
      lastInsertRowid: 0,
    };
    const deletes = await createTestGateway(() => written);
    const returning = await deletes.post('/query', {
      tenantId: 'acme',
      query: 'DELETE FROM t RETURNING a',
      method: 'get',
    });
    expect(await returning.json()).toEqual({ type: 'get', result: { a: 1 } });

    const writes = await createTestGateway();
    expect(await (await writes.post('/query', INSERT)).json()).toEqual({
      type: 'run',
      result: { changes: 1, lastInsertRowid: 7 },
    });
    expect(writes.executions).toEqual([{ tenant: 'acme', sql: INSERT.query, params: [1] }]);
  });

  it('answers null where get finds no row', async () => {
    const { post } = await createTestGateway(() => ({ columns: ['a'], rows: [] }));
    expect(await (await post('/query', { ...SELECT, method: 'get' })).json()).toEqual({
      type: 'get',
      result: null,
    });
  });

  it('refuses a method that needs rows before the statement runs', async () => {
    const { post, executions } = await createTestGateway();
    for (const method of ['get', 'all']) {
      const response = await post('/query', { ...INSERT, method });
      expect([response.status, (await response.json()).code]).toEqual([400, 'INVALID_ARGUMENT']);
    }
    expect(executions).toEqual([]);
  });

  it('never rounds an integer, in either direction', async () => {
    const { app, post, executions } = await createTestGateway(() => ({
      kind: 'read',
      columns: ['n', 'small', 'inf', 'blob'],
      rows: [[9007199254740993n, 1, Number.POSITIVE_INFINITY, new Uint8Array([1, 2])]],
    }));
    void app;
    const response = await post(
      '/query',
      '{"tenantId":"acme","query":"SELECT ?","params":[9007199254740993]}',
    );
    expect(executions[0]?.params).toEqual([9007199254740993n]);
    expect(await response.text()).toBe(
      '{"type":"all","result":[{"n":"9007199254740993","small":1,"inf":"Infinity","blob":{"type":"Buffer","data":[1,2]}}]}',
    );
  });
});

describe('POST /transaction', () => {
  it('answers rows or changes per statement', async () => {
    const { post } = await createTestGateway(() => [
      { changes: 1, lastInsertRowid: 2, commitSeq: 9 },
      { changes: 0, lastInsertRowid: 0, columns: ['a'], rows: [[1]], commitSeq: 9 },
    ]);
    const queries = [{ query: 'INSERT INTO t VALUES (1)' }, { query: 'SELECT a FROM t', params: [] }];
    expect(await (await post('/transaction', { tenantId: 'acme', queries })).json()).toEqual({
      results: [{ changes: 1, lastInsertRowid: 2 }, [{ a: 1 }]],
    });
  });

  it('names the failing statement', async () => {
    const { post } = await createTestGateway(() => {
      throw new OnewriterError('CONSTRAINT_VIOLATION', 'UNIQUE failed', {
        statementIndex: 1,
        sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE',
      });
    });
    const queries = [{ query: 'INSERT INTO t VALUES (1)' }, { query: 'INSERT INTO t VALUES (1)' }];
    const response = await post('/transaction', { tenantId: 'acme', queries });
    expect(response.status).toBe(409);
    expect(await response.json()).toEqual({
      error: 'UNIQUE failed',
      code: 'CONSTRAINT_VIOLATION',
      index: 1,
      sqliteCode: 'SQLITE_CONSTRAINT_UNIQUE',
      requestId: expect.any(String),
    });
    const bad = await post('/transaction', {
      tenantId: 'acme',
      queries: [{ query: 'SELECT 1' }, { query: 'SELECT ?', params: [[[]]] }],
    });
    expect(await bad.json()).toMatchObject({ code: 'INVALID_VALUE', index: 1 });
  });

  it('refuses what is no list, or an empty one', async () => {
    const { post } = await createTestGateway();
    for (const queries of [[], 'SELECT 1']) {
      expect((await post('/transaction', { tenantId: 'acme', queries })).status).toBe(400);
    }
  });
});

describe('errors', () => {
  it.each<[string, string | undefined, Record<string, string>, number, string]>([
    ['malformed JSON', '{"tenantId":', {}, 400, 'INVALID_ARGUMENT'],
    ['no body', undefined, {}, 400, 'INVALID_ARGUMENT'],
    ['a wrong field', '{"tenantId":1,"query":"SELECT 1"}', {}, 400, 'INVALID_ARGUMENT'],
    ['an unknown method', '{"tenantId":"a","query":"SELECT 1","method":"each"}', {}, 400, 'INVALID_ARGUMENT'],
    ['no statement', '{"tenantId":"a","query":" ; "}', {}, 400, 'INVALID_ARGUMENT'],
    ['a refused statement', '{"tenantId":"a","query":"BEGIN"}', {}, 400, 'STATEMENT_NOT_ALLOWED'],
    [
      'another media type',
      'a=b',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    ],
    ['a large body', `"${'x'.repeat(10_001)}"`, {}, 413, 'PAYLOAD_TOO_LARGE'],
    ['a body that says it is large', '{}', { 'content-length': '99999999' }, 413, 'PAYLOAD_TOO_LARGE'],
  ])('answers %s as JSON', async (_, body, headers, status, code) => {
    const { request } = await createTestGateway();
    const response = await request('POST', '/query', body, headers);
    expect([response.status, await response.json()]).toEqual([
      status,
      expect.objectContaining({ error: expect.any(String), code, requestId: expect.any(String) }),
    ]);
  });

  it('refuses a body that is not UTF-8 instead of storing something else', async () => {
    const { app } = await createTestGateway();
    const token = await signToken(SECRET, { tenants: '*', access: 'admin' });
    const response = await app.request('/query', {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: Buffer.concat([
        Buffer.from('{"tenantId":"acme","query":"SELECT \''),
        Buffer.of(0xff),
        Buffer.from('\'"}'),
      ]),
    });
    expect(response.status).toBe(400);
  });

  it('answers 404 and 405 as JSON, with Allow', async () => {
    const { request } = await createTestGateway();
    const missing = await request('GET', '/nowhere');
    expect([missing.status, (await missing.json()).code]).toEqual([404, 'NOT_FOUND']);
    const wrong = await request('GET', '/query');
    expect([wrong.status, (await wrong.json()).code]).toEqual([405, 'METHOD_NOT_ALLOWED']);
    expect(wrong.headers.get('allow')).toBe('POST');
    expect((await request('DELETE', '/info/acme')).status).toBe(405);
    // A thing that is missing is not a route that is missing.
    const gone = await createTestGateway(() => {
      throw new OnewriterError('TENANT_NOT_FOUND', 'gone');
    });
    expect((await (await gone.post('/query', SELECT)).json()).code).toBe('TENANT_NOT_FOUND');
  });

  it('says when to try again, and where to ask', async () => {
    const id = receiptId('w-x', 0);
    const busy = await createTestGateway(() => {
      throw new OnewriterError('TENANT_OVERLOADED', 'full', { retryAfterMs: 1_500 });
    });
    const overloaded = await busy.post('/query', INSERT);
    expect([overloaded.status, overloaded.headers.get('retry-after')]).toEqual([429, '2']);
    expect(await overloaded.json()).toMatchObject({ retryAfterMs: 1_500 });
    const unknown = await createTestGateway(() => {
      throw new OnewriterError('OUTCOME_UNKNOWN', 'ask later', { receiptId: id });
    });
    const response = await unknown.post('/query', INSERT);
    expect([response.status, (await response.json()).receiptId]).toEqual([504, id]);
  });

  it('answers an internal error without its message', async () => {
    const { post } = await createTestGateway(() => {
      throw new Error('secret path /data');
    });
    const response = await post('/query', INSERT);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('secret');
  });

  it('has another shape under /v1, which fromWireError reads', async () => {
    const { post, request } = await createTestGateway(() => {
      throw new OnewriterError('SQL_ERROR', 'no such table: t', { sqliteCode: 'SQLITE_ERROR' });
    });
    const response = await post('/v1/tenants/acme/query', { sql: 'SELECT * FROM t', values: 'tagged' });
    expect(response.status).toBe(422);
    expect(await response.json()).toEqual({
      error: {
        code: 'SQL_ERROR',
        message: 'no such table: t',
        details: { sqliteCode: 'SQLITE_ERROR' },
        requestId: expect.any(String),
      },
    });
    expect((await (await request('GET', '/v1/nothing')).json()).error.code).toBe('NOT_FOUND');
  });
});

describe('POST /v1/tenants/:tenant/query', () => {
  it('is exact both ways', async () => {
    const { post, executions } = await createTestGateway(() => ({
      kind: 'read',
      columns: ['a', 'a', 'b'],
      rows: [
        [9007199254740993n, 1n, Buffer.from([1])],
        [null, -0, 'x'],
        [1, 2 ** 53, Number.POSITIVE_INFINITY],
      ],
    }));
    const response = await post('/v1/tenants/acme/query', {
      sql: 'SELECT ?, ?',
      params: [{ i: '9007199254740993' }, { b: 'AQ==' }],
      values: 'tagged',
    });
    expect(executions[0]?.params).toEqual([9007199254740993n, Buffer.from([1])]);
    expect(await response.json()).toEqual({
      columns: ['a', 'a', 'b'],
      rows: [
        [{ i: '9007199254740993' }, { i: '1' }, { b: 'AQ==' }],
        [null, { f: '-0' }, 'x'],
        [1, { f: '9007199254740992' }, { f: 'Infinity' }],
      ],
    });
  });

  it('answers a write with its commit', async () => {
    const { post } = await createTestGateway();
    const response = await post('/v1/tenants/acme/query', { sql: 'DELETE FROM t', values: 'tagged' });
    expect(await response.json()).toEqual({ changes: 1, lastInsertRowid: { i: '7' }, commitSeq: 3 });
    const plain = await post('/v1/tenants/acme/query', { sql: 'DELETE FROM t' });
    expect(await plain.json()).toEqual({ changes: 1, lastInsertRowid: 7, commitSeq: 3 });
  });
});

describe('headers', () => {
  it('carry a request id, the given one if it is harmless, and forbid caching and framing', async () => {
    const { request } = await createTestGateway();
    const own = await request('GET', '/livez', undefined, { 'x-request-id': 'req-42' });
    expect(own.headers.get('x-request-id')).toBe('req-42');
    for (const id of ['a b', 'x'.repeat(200), '<script>']) {
      const response = await request('GET', '/livez', undefined, { 'x-request-id': id });
      expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    }
    const error = await request('GET', '/nowhere');
    expect(error.headers.get('cache-control')).toBe('no-store');
    expect(error.headers.get('x-content-type-options')).toBe('nosniff');
    expect(error.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(error.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('the document', () => {
  it('has every route under /v1, and each has an id of its own', async () => {
    const { app } = await createTestGateway();
    const { paths } = (await (await app.request('/openapi.json')).json()) as {
      paths: Record<string, Record<string, { operationId?: string; security?: unknown }>>;
    };
    const routes = new Set(
      app.routes
        .filter(({ path, method }) => path.startsWith('/v1/') && method !== 'ALL')
        .map(({ path, method }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`),
    );
    const documented = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item).map(method => `${method.toUpperCase()} ${path}`),
    );
    expect(documented.filter(route => route.includes('/v1/')).sort()).toEqual([...routes].sort());
    const operations = Object.entries(paths)
      .filter(([path]) => path.startsWith('/v1/'))
      .flatMap(([, item]) => Object.values(item));
    expect(new Set(operations.map(operation => operation.operationId)).size).toBe(operations.length);
    for (const operation of operations) expect(operation.security).toEqual([{ bearer: [] }]);
  });

  it('is of routes that all ask for a token', async () => {
    const { app } = await createTestGateway();
    for (const { path, method } of app.routes.filter(route => route.path.startsWith('/v1/'))) {
      const response = await app.request(path.replace(/:\w+/g, 'acme'), { method });
      expect([method, path, response.status]).toEqual([method, path, 401]);
    }
  });
});

describe('limits', () => {
  it.each(['perToken', 'perTenant'] as const)(
    '%s refuse requests with 429, and say when to try again',
    async limit => {
      const rows = () => ({ columns: ['a'], rows: [] });
      const { post, executions } = await createTestGateway(rows, { [limit]: 3 });
      for (let count = 0; count < 3; count++) expect((await post('/query', SELECT)).status).toBe(200);
      for (const [path, body] of [
        ['/query', SELECT],
        ['/v1/tenants/acme/query', { sql: 'SELECT 1' }],
      ] as const) {
        const response = await post(path, body);
        expect([response.status, response.headers.get('retry-after')]).toEqual([429, '1']);
      }
      expect(executions).toHaveLength(3);
      const other = await post('/query', { ...SELECT, tenantId: 'globex' });
      expect(other.status).toBe(limit === 'perTenant' ? 200 : 429);
    },
  );
});

describe('pages of other origins', () => {
  const preflight = { origin: 'https://app.example', 'access-control-request-method': 'POST' };

  it('may not call the gateway unless they are allowed', async () => {
    const closed = await createTestGateway();
    const refused = await closed.app.request('/v1/tenants/acme/query', {
      method: 'OPTIONS',
      headers: preflight,
    });
    expect(refused.headers.get('access-control-allow-origin')).toBeNull();
    const open = await createTestGateway(undefined, { corsOrigins: ['https://app.example'] });
    const allowed = await open.app.request('/v1/tenants/acme/query', {
      method: 'OPTIONS',
      headers: preflight,
    });
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(allowed.headers.get('access-control-allow-headers')).toContain('Idempotency-Key');
    const other = await open.app.request('/livez', { headers: { origin: 'https://evil.example' } });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('Idempotency-Key', () => {
  it.each([
    ['"8e03978e"', '8e03978e'],
    ['8e03978e', '8e03978e'],
    ['"a \\"b\\" \\\\"', 'a "b" \\'],
  ])('is read as a string of structured fields: %s', async (header, key) => {
    const keys: unknown[] = [];
    const { post } = await createTestGateway(execution => {
      keys.push(execution.options);
      return { kind: 'write', changes: 1, lastInsertRowid: 7, commitSeq: 3 };
    });
    const sql = 'DELETE FROM t';
    expect((await post('/v1/tenants/acme/query', { sql }, { 'idempotency-key': header })).status).toBe(200);
    expect(keys).toEqual([expect.objectContaining({ idempotencyKey: key })]);
  });

  it.each(['', '"', '"a', 'a b', 'é', 'x'.repeat(256)])('is refused where it is none: %s', async header => {
    const { post, executions } = await createTestGateway();
    const response = await post(
      '/v1/tenants/acme/query',
      { sql: 'DELETE FROM t' },
      { 'idempotency-key': header },
    );
    expect(response.status).toBe(400);
    expect(executions).toEqual([]);
  });
});

describe('health', () => {
  it('has the shape that probes of existing proxies know', async () => {
    const { app } = await createTestGateway();
    expect(await (await app.request('/health')).json()).toEqual({
      status: 'healthy',
      connections: 4,
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });

  it('is 503 with reasons when something is wrong', async () => {
    const { app } = await createTestGateway(undefined, {
      health: { healthy: false, reasons: ['No broker leads.'], checks: { broker: 'No broker leads.' } },
    });
    const health = await app.request('/health');
    expect([health.status, await health.json()]).toEqual([
      503,
      { status: 'unhealthy', connections: 4, timestamp: expect.any(String), reasons: ['No broker leads.'] },
    ]);
    const ready = await app.request('/readyz');
    expect([ready.status, await ready.json()]).toEqual([
      503,
      {
        status: 'not ready',
        reasons: ['No broker leads.'],
        checks: { draining: 'ok', broker: 'No broker leads.' },
      },
    ]);
    expect((await app.request('/livez')).status).toBe(200);
  });
});
