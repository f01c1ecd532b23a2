import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { getPriority } from 'node:os';
import { dirname } from 'node:path';
import { groupKeys, newJobId, tenantFile } from '@onewriter/protocol';
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
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';

const ADMIN: Grant = { tenants: '*', access: 'admin' };

let redis: TestRedis;
let data: TemporaryDirectory;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('gateway');
});
afterAll(async () => {
  await redis?.stop();
  await data?.remove();
});

async function startGateway(env: Record<string, string | undefined> = {}): Promise<Service> {
  const gateway = await startService('gateway', { redisUrl: redis.url, dataDir: data.path, env });
  onTestFinished(async () => void (await gateway.stop()));
  return gateway;
}

/** A tenant's file as another program may have put it in place. */
function createFile(tenant: string, script: string): string {
  const path = tenantFile(data.path, tenant);
  mkdirSync(dirname(path), { recursive: true });
  const database = new Database(path);
  database.pragma('journal_mode = WAL');
  database.exec(script);
  database.close();
  return path;
}

async function send(
  gateway: Pick<Service, 'url'>,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  init: RequestInit & { access?: Grant } = {},
) {
  const { access = ADMIN, ...rest } = init;
  const token = await signToken(TEST_TOKEN_SECRET, access);
  const response = await fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...rest,
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, body: (await response.json()) as any, headers: response.headers };
}

function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
}

describe('without a broker', () => {
  it('reads, and says why it is not healthy', async () => {
    createFile('reader', "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (2, NULL)");
    const gateway = await startGateway();
    const read = await send(gateway, 'POST', '/query', { tenantId: 'reader', query: 'SELECT * FROM t' });
    expect(read.body).toEqual({
      type: 'all',
      result: [
        { a: 1, b: 'x' },
        { a: 2, b: null },
      ],
    });
    const health = await send(gateway, 'GET', '/health');
    expect([health.status, health.body]).toEqual([
      503,
      {
        status: 'unhealthy',
        // In the process that ran the read, and in the gateway, which looked at its plan.
        connections: 2,
        timestamp: expect.any(String),
        reasons: ['No broker leads: writes wait in the queue.'],
      },
    ]);
    const connection = new Redis(redis.url);
    onTestFinished(async () => {
      await connection.del(groupKeys('default').lease);
      connection.disconnect();
    });
    await connection.set(groupKeys('default').lease, '{}');
    expect((await send(gateway, 'GET', '/health')).body).toEqual({
      status: 'healthy',
      connections: 2,
      timestamp: expect.any(String),
    });
    expect((await send(gateway, 'GET', '/readyz')).status).toBe(200);
  });

  it('answers health by its deadline when Redis is stopped, and recovers', async () => {
    await using own = await startRedis();
    await using gateway = await startService('gateway', { redisUrl: own.url, dataDir: data.path });
    own.kill('SIGSTOP');
    const start = performance.now();
    const { status, body } = await send(gateway, 'GET', '/health');
    expect([status, body.reasons]).toEqual([503, [expect.stringContaining('Redis does not answer')]]);
    expect(performance.now() - start).toBeLessThan(3_000);
    expect((await send(gateway, 'GET', '/livez')).status).toBe(200);
    own.kill('SIGCONT');
    await waitFor(
      async () => (await send(gateway, 'GET', '/health')).body.reasons[0].includes('No broker leads'),
      { what: 'Redis to be seen again' },
    );
  });

  it('stops waiting when its caller goes away', async () => {
    const gateway = await startGateway({ ONEWRITER_LOG_LEVEL: 'debug' });
    const caller = new AbortController();
    const write = send(
      gateway,
      'POST',
      '/query',
      { tenantId: 'gone', query: 'CREATE TABLE t(a)' },
      { signal: caller.signal },
    );
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    await waitFor(() => connection.zscore(groupKeys('default').notifications, 'gone'), {
      what: 'the write to be queued',
    });
    caller.abort();
    await expect(write).rejects.toThrow();
    await waitFor(() => gateway.logs().includes('"code":"OUTCOME_UNKNOWN"'), { what: 'the end of the wait' });
  });

  it('answers the requests under way when it gets SIGTERM: with the truth', async () => {
    const gateway = await startGateway({ ONEWRITER_DRAIN_MS: '1500' });
    const write = send(gateway, 'POST', '/query', { tenantId: 'drain', query: 'CREATE TABLE t(a)' });
    const connection = new Redis(redis.url);
    onTestFinished(() => connection.disconnect());
    await waitFor(() => connection.zscore(groupKeys('default').notifications, 'drain'), {
      what: 'the write to be queued',
    });
    const stopped = gateway.stop();
    const { status, body } = await write;
    expect([status, body]).toEqual([
      504,
      expect.objectContaining({ code: 'OUTCOME_UNKNOWN', receiptId: expect.stringMatching(/^w-.*\.0$/) }),
    ]);
    expect(await stopped).toEqual({ code: 0, signal: null });
  });

  it('is not held up by idle connections', async () => {
    const gateway = await startGateway();
    await send(gateway, 'GET', '/livez'); // fetch keeps this one for later
    const unused = connect(gateway.port, '127.0.0.1');
    await once(unused, 'connect');
    const start = performance.now();
    expect(await gateway.stop()).toEqual({ code: 0, signal: null });
    expect(performance.now() - start).toBeLessThan(2_000);
    unused.destroy();
  });

  it('never runs open: without a secret it makes one, and prints a token for it once', async () => {
    createFile('open', 'CREATE TABLE t(a)');
    const gateway = await startGateway({ ONEWRITER_TOKEN_SECRET: undefined });
    const body = JSON.stringify({ tenantId: 'open', query: 'SELECT 1 AS one' });
    const type = { 'content-type': 'application/json' };
    expect((await fetch(`${gateway.url}/query`, { method: 'POST', headers: type, body })).status).toBe(401);
    expect((await send(gateway, 'POST', '/query', body)).status).toBe(401);
    const tokens = [...gateway.logs().matchAll(/"token":"([^"]+)"/g)].map(match => match[1]);
    expect(tokens).toHaveLength(1);
    const response = await fetch(`${gateway.url}/query`, {
      method: 'POST',
      headers: { ...type, authorization: `Bearer ${tokens[0]}` },
      body,
    });
    expect(await response.json()).toEqual({ type: 'all', result: [{ one: 1 }] });
  });
});

describe('GET /info/:tenantId', () => {
  it('checks the file in full only when asked', async () => {
    createFile('info', 'CREATE TABLE t(a)');
    const gateway = await startGateway();
    const quick = { tenantId: 'info', journalMode: 'wal', synchronous: null, integrity: 'unchecked' };
    expect((await send(gateway, 'GET', '/info/info')).body).toEqual(quick);
    expect((await send(gateway, 'GET', '/info/info?check=full')).body).toEqual({ ...quick, integrity: 'ok' });
    for (const path of ['/info/nobody', '/info/nobody?check=full']) {
      const { status, body } = await send(gateway, 'GET', path);
      expect([status, body.code]).toEqual([404, 'TENANT_NOT_FOUND']);
    }
  });

  it('reports damage', async () => {
    const path = createFile(
      'damaged',
      `CREATE TABLE t(a); CREATE INDEX i ON t(a);
       WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) INSERT INTO t SELECT x FROM n;`,
    );
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.alloc(2_000, 0x7f), 0, 2_000, 40 * 4_096 + 500);
    closeSync(file);
    const { status, body } = await send(await startGateway(), 'GET', '/info/damaged?check=full');
    expect(status).toBe(200);
    expect(body.integrity).not.toBe('ok');
    expect(body.integrity.length).toBeGreaterThan(10);
  });

  it('bounds the memory of a check, which computes what the schema says', async () => {
    createFile(
      'costly',
      `CREATE TABLE t(n); CREATE INDEX i ON t(length(hex(zeroblob(n)))); INSERT INTO t VALUES (150000000)`,
    );
    const gateway = await startGateway({ ONEWRITER_READ_MEMORY_BYTES: String(256 * 1024 * 1024) });
    const { status, body } = await send(gateway, 'GET', '/info/costly?check=full');
    expect([status, body.code]).toEqual([413, 'RESULT_TOO_LARGE']);
  });

  it('stops a check at its deadline, and serves others meanwhile', async () => {
    createFile(
      'large',
      `CREATE TABLE t(a, b); CREATE INDEX i ON t(b);
       WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000)
       INSERT INTO t SELECT x, hex(x * 7919) FROM n;`,
    );
    const gateway = await startGateway({ ONEWRITER_WRITE_TIMEOUT_MS: '400' });
    await send(gateway, 'GET', '/info/large'); // the reading process is there
    const before = childrenOf(gateway.pid);
    // What a tenant keeps busy for long leaves the CPU to what serves all.
    expect(before.map(pid => getPriority(Number(pid)))).toEqual(before.map(() => 5));
    const check = send(gateway, 'GET', '/info/large?check=full');
    await waitFor(() => childrenOf(gateway.pid).length > before.length, {
      intervalMs: 2,
      what: 'the checking process',
    });
    const start = performance.now();
    const read = await send(gateway, 'POST', '/query', {
      tenantId: 'large',
      query: 'SELECT a FROM t LIMIT 1',
      method: 'get',
    });
    expect(read.body).toEqual({ type: 'get', result: { a: 1 } });
    expect(performance.now() - start).toBeLessThan(350);
    const { status, body } = await check;
    expect([status, body.code]).toEqual([504, 'STATEMENT_TIMEOUT']);
    expect(childrenOf(gateway.pid)).toEqual(before);
  });
});

describe('requests', () => {
  /** Sends bytes as they are, and reads until the server closes. */
  async function raw(gateway: Service, text: string): Promise<string> {
    const socket = connect(gateway.port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('data', chunk => {
      answer += chunk;
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('close', () => resolve()).once('error', reject);
      socket.write(text);
    });
    return answer;
  }

  it('that are malformed are answered as JSON', async () => {
    const gateway = await startGateway();
    for (const [text, status] of [
      ['rubbish\r\n\r\n', '400'],
      ['GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n', '400'],
      [`GET /livez HTTP/1.1\r\nHost: x\r\nBig: ${'y'.repeat(20_000)}\r\nConnection: close\r\n\r\n`, '431'],
    ] as const) {
      const answer = await raw(gateway, text);
      expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(answer).toMatch(/"code":"INVALID_ARGUMENT"/);
    }
  });

  it('of any size are bounded, also without a length', async () => {
    createFile('size', 'CREATE TABLE t(a)');
    const gateway = await startGateway({ ONEWRITER_MAX_BODY_BYTES: '100000' });
    const ask = (bytes: number) =>
      JSON.stringify({ tenantId: 'size', query: 'SELECT length(?) AS n', params: ['x'.repeat(bytes)] });
    expect((await send(gateway, 'POST', '/query', ask(99_000))).body).toEqual({
      type: 'all',
      result: [{ n: 99_000 }],
    });
    expect((await send(gateway, 'POST', '/query', ask(100_000))).status).toBe(413);

    const token = await signToken(TEST_TOKEN_SECRET, ADMIN);
    const chunked = (bytes: number) =>
      new Promise<number>((resolve, reject) => {
        const outgoing = httpRequest(`${gateway.url}/query`, {
          method: 'POST',
          headers: { authorization: `Bearer ${token}`, 'transfer-encoding': 'chunked' },
        });
        outgoing.once('response', response => {
          response.resume();
          resolve(response.statusCode!);
        });
        outgoing.once('error', reject);
        for (const part of ask(bytes).match(/.{1,10000}/g)!) outgoing.write(part);
        outgoing.end();
      });
    expect(await chunked(50_000)).toBe(200);
    expect(await chunked(5_000_000)).toBe(413);
  });
});

describe('with a broker', () => {
  let gateway: Service;
  let broker: Service;

  beforeAll(async () => {
    broker = await startService('broker', { redisUrl: redis.url, dataDir: data.path });
    gateway = await startService('gateway', { redisUrl: redis.url, dataDir: data.path });
    await waitFor(async () => (await send(gateway, 'GET', '/health')).status === 200, {
      what: 'a leading broker',
    });
  });
  afterAll(async () => {
    await gateway?.stop();
    await broker?.stop();
  });

  const query = (tenantId: string, text: string, params: unknown = [], method?: string) =>
    send(gateway, 'POST', '/query', { tenantId, query: text, params, ...(method ? { method } : {}) });

  it('writes, reads back, and returns what RETURNING returns', async () => {
    expect(
      (await query('shop', 'CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE)')).body,
    ).toEqual({
      type: 'run',
      result: { changes: 0, lastInsertRowid: 0 },
    });
    expect((await query('shop', "INSERT INTO items(name) VALUES ('a'), ('b')")).body).toEqual({
      type: 'run',
      result: { changes: 2, lastInsertRowid: 2 },
    });
    for (const text of [
      'SELECT * FROM items LIMIT 10',
      '/* first */ WITH i AS (SELECT * FROM items) SELECT * FROM i -- LIMIT 1',
    ]) {
      expect((await query('shop', text)).body).toEqual({
        type: 'all',
        result: [
          { id: 1, name: 'a' },
          { id: 2, name: 'b' },
        ],
      });
    }
    const returning = 'UPDATE items SET name = name || @suffix RETURNING name';
    expect((await query('shop', returning, { suffix: '!' })).body).toEqual({
      type: 'all',
      result: [{ name: 'a!' }, { name: 'b!' }],
    });
    expect((await query('shop', returning, { suffix: '?' }, 'get')).body).toEqual({
      type: 'get',
      result: { name: 'a!?' },
    });
    expect((await query('shop', returning, { suffix: '.' }, 'run')).body).toEqual({
      type: 'run',
      result: { changes: 2, lastInsertRowid: 0 },
    });
    expect((await query('shop', 'SELECT name FROM items WHERE id = ?', [9], 'get')).body).toEqual({
      type: 'get',
      result: null,
    });
    expect((await send(gateway, 'GET', '/info/shop?check=full')).body).toEqual({
      tenantId: 'shop',
      journalMode: 'wal',
      synchronous: 2,
      integrity: 'ok',
    });
  });

  it('applies a transaction as a whole or not at all, and names the failing statement', async () => {
    await query('bank', 'CREATE TABLE accounts(id TEXT PRIMARY KEY, cents INTEGER CHECK (cents >= 0))');
    const transaction = (queries: unknown) =>
      send(gateway, 'POST', '/transaction', { tenantId: 'bank', queries });
    const good = await transaction([
      { query: 'INSERT INTO accounts VALUES (?, ?)', params: ['a', 100] },
      { query: 'INSERT INTO accounts VALUES (@id, @cents)', params: { id: 'b', cents: 0 } },
      { query: 'SELECT count(*) AS n FROM accounts' },
    ]);
    expect(good.body).toEqual({
      results: [{ changes: 1, lastInsertRowid: 1 }, { changes: 1, lastInsertRowid: 2 }, [{ n: 2 }]],
    });
    const bad = await transaction([
      { query: "UPDATE accounts SET cents = cents + 500 WHERE id = 'b'" },
      { query: "UPDATE accounts SET cents = cents - 500 WHERE id = 'a'" },
    ]);
    expect([bad.status, bad.body]).toEqual([
      409,
      {
        error: expect.stringContaining('CHECK constraint failed'),
        code: 'CONSTRAINT_VIOLATION',
        index: 1,
        sqliteCode: 'SQLITE_CONSTRAINT_CHECK',
        requestId: expect.any(String),
      },
    ]);
    expect((await query('bank', 'SELECT * FROM accounts ORDER BY id')).body.result).toEqual([
      { id: 'a', cents: 100 },
      { id: 'b', cents: 0 },
    ]);
    const refused = await transaction([{ query: 'SELECT 1' }, { query: 'COMMIT' }]);
    expect([refused.status, refused.body.code, refused.body.index]).toEqual([
      400,
      'STATEMENT_NOT_ALLOWED',
      1,
    ]);
  });

  it('distinguishes errors', async () => {
    await query('errors', 'CREATE TABLE t(id INTEGER PRIMARY KEY)');
    await query('errors', 'INSERT INTO t VALUES (1)');
    for (const [text, params, status, code, sqliteCode] of [
      ['INSERT INTO t VALUES (1)', [], 409, 'CONSTRAINT_VIOLATION', 'SQLITE_CONSTRAINT_PRIMARYKEY'],
      ['INSERT INTO missing VALUES (1)', [], 422, 'SQL_ERROR', 'SQLITE_ERROR'],
      ['SELEC 1', [], 422, 'SQL_ERROR', 'SQLITE_ERROR'],
      ['SELECT * FROM missing', [], 422, 'SQL_ERROR', 'SQLITE_ERROR'],
      ['BEGIN', [], 400, 'STATEMENT_NOT_ALLOWED', undefined],
      ['/**/ VACUUM  INTO "x"', [], 400, 'STATEMENT_NOT_ALLOWED', undefined],
      ['INSERT INTO t VALUES (?)', [], 400, 'INVALID_ARGUMENT', undefined],
      ['INSERT INTO t VALUES (?)', [1, 2], 400, 'INVALID_ARGUMENT', undefined],
      ['SELECT ?', [], 400, 'INVALID_ARGUMENT', undefined],
      ['INSERT INTO t VALUES (?)', ['\ud800'], 400, 'INVALID_VALUE', undefined],
    ] as const) {
      const answer = await query('errors', text, params);
      expect([text, answer.status, answer.body.code, answer.body.sqliteCode]).toEqual([
        text,
        status,
        code,
        sqliteCode,
      ]);
    }
    expect((await query('errors', 'SELECT count(*) AS n FROM t')).body.result).toEqual([{ n: 1 }]);
  });

  it('keeps values exact on the whole way', async () => {
    await query('values', 'CREATE TABLE v(id INTEGER PRIMARY KEY, x)');
    const stored = [
      ['9223372036854775807', 'integer', '"9223372036854775807"'],
      ['-9223372036854775808', 'integer', '"-9223372036854775808"'],
      ['9007199254740993', 'integer', '"9007199254740993"'],
      ['{"i":"5"}', 'integer', '5'],
      ['0.1', 'real', '0.1'],
      ['1e300', 'real', '1e+300'],
      ['"Zoë 🧵 \\u0000 x"', 'text', '"Zoë 🧵 \\u0000 x"'],
      ['""', 'text', '""'],
      ['null', 'null', 'null'],
      ['true', 'real', '1'],
      ['{"type":"Buffer","data":[0,1,255]}', 'blob', '{"type":"Buffer","data":[0,1,255]}'],
      ['{"b":"AAH/"}', 'blob', '{"type":"Buffer","data":[0,1,255]}'],
    ] as const;
    const token = await signToken(TEST_TOKEN_SECRET, ADMIN);
    const post = async (text: string) => {
      const response = await fetch(`${gateway.url}/query`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: text,
      });
      return response.text();
    };
    for (const [index, [json, type, answer]] of stored.entries()) {
      await post(`{"tenantId":"values","query":"INSERT INTO v VALUES (?, ?)","params":[${index},${json}]}`);
      const read = await post(
        `{"tenantId":"values","query":"SELECT typeof(x) AS t, x FROM v WHERE id = ?","params":[${index}],"method":"get"}`,
      );
      expect(read).toBe(`{"type":"get","result":{"t":"${type}","x":${answer}}}`);
    }
    const tooLarge = await post('{"tenantId":"values","query":"SELECT ?","params":[18446744073709551617]}');
    expect(JSON.parse(tooLarge).code).toBe('INVALID_VALUE');
    const infinite = await post(
      '{"tenantId":"values","query":"SELECT 9e999 AS x, -9e999 AS y","method":"get"}',
    );
    expect(infinite).toBe('{"type":"get","result":{"x":"Infinity","y":"-Infinity"}}');
  });

  it('keeps tenants apart', async () => {
    await query('mine', 'CREATE TABLE t(a)');
    const access: Grant = { tenants: ['mine'], access: 'write' };
    const other = { tenantId: 'shop', query: 'SELECT 1' };
    expect((await send(gateway, 'POST', '/query', other, { access })).status).toBe(403);
    const own = { tenantId: 'mine', query: 'SELECT 1 AS one' };
    const reader: Grant = { tenants: ['mine'], access: 'read' };
    expect((await send(gateway, 'POST', '/query', own, { access: reader })).status).toBe(200);
    const write = { tenantId: 'mine', query: 'INSERT INTO t VALUES (1)' };
    expect((await send(gateway, 'POST', '/query', write, { access: reader })).status).toBe(403);
    expect((await send(gateway, 'POST', '/query', write, { access })).status).toBe(200);
  });

  it('reports the outcome of a write later', async () => {
    await query('receipts', 'CREATE TABLE t(a)');
    const path = '/v1/tenants/receipts';
    const write = await send(gateway, 'POST', `${path}/query`, {
      sql: 'INSERT INTO t VALUES (?) RETURNING a',
      params: [{ i: '9007199254740993' }],
      values: 'tagged',
    });
    expect(write.body).toEqual({
      columns: ['a'],
      rows: [[{ i: '9007199254740993' }]],
      changes: 1,
      lastInsertRowid: { i: '1' },
      commitSeq: expect.any(Number),
    });
    const file = new Database(tenantFile(data.path, 'receipts'), { readonly: true });
    const jobId = file.prepare('SELECT job_id FROM sqlite_onewriter_ledger ORDER BY id DESC').pluck().get();
    file.close();
    expect((await send(gateway, 'GET', `${path}/receipts/${jobId}.0`)).body).toEqual({
      state: 'committed',
      commitSeq: write.body.commitSeq,
      result: {
        columns: ['a'],
        rows: [[{ i: '9007199254740993' }]],
        changes: 1,
        lastInsertRowid: { i: '1' },
        commitSeq: write.body.commitSeq,
      },
    });
    expect((await send(gateway, 'GET', `${path}/receipts/${newJobId()}.0`)).body).toEqual({
      state: 'unknown',
    });
  });
});
