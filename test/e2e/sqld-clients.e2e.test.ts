import { type Grant, signToken } from '@onewriter/runtime';
import { TEST_TOKEN_SECRET } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayServices, startGatewayServices } from './services.ts';

/* What sqld answers besides Hrana 2 and 3, under a tenant's address: for its older clients, and for people with curl. */

let services: GatewayServices;
beforeAll(async () => {
  services = await startGatewayServices('sqld');
  const { status } = await post('/', {
    statements: ['CREATE TABLE t(id INTEGER PRIMARY KEY, a)', "INSERT INTO t VALUES (1, 'x'), (2, NULL)"],
  });
  expect(status).toBe(200);
});
afterAll(() => services?.stop());

async function call(
  path: string,
  init: RequestInit = {},
  grant: Grant = { tenants: ['acme'], access: 'write' },
) {
  const authorization = `Bearer ${await signToken(TEST_TOKEN_SECRET, grant)}`;
  return fetch(`${services.gateway.url}/t/acme${path}`, {
    ...init,
    headers: { authorization, ...init.headers },
  });
}

async function post(path: string, body: unknown, grant?: Grant) {
  const headers = { 'content-type': 'application/json' };
  const response = await call(path, { method: 'POST', headers, body: JSON.stringify(body) }, grant);
  const text = await response.text();
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, text, body: JSON.parse(text) as any };
}

const ms = expect.any(Number);

describe('POST v1/execute', () => {
  it('runs a statement, with arguments', async () => {
    const args = [{ type: 'integer', value: '1' }];
    const { status, body } = await post('/v1/execute', {
      stmt: { sql: 'SELECT id, a FROM t WHERE id = ?', args },
    });
    expect(status).toBe(200);
    expect(body).toEqual({
      result: {
        cols: [
          { name: 'id', decltype: 'INTEGER' },
          { name: 'a', decltype: null },
        ],
        rows: [
          [
            { type: 'integer', value: '1' },
            { type: 'text', value: 'x' },
          ],
        ],
        affected_row_count: 0,
        last_insert_rowid: null,
        rows_read: 1,
        rows_written: 0,
        query_duration_ms: ms,
      },
    });
  });

  it('answers what is wrong with the statement as message and code', async () => {
    for (const [sql, code] of [
      ['INSERT INTO t(id) VALUES (1)', 'SQLITE_CONSTRAINT'],
      ['SELEC', 'SQL_PARSE_ERROR'],
      ['SELECT 1; SELECT 2', 'SQL_MANY_STATEMENTS'],
      ['', 'SQL_NO_STATEMENT'],
    ]) {
      const { status, body } = await post('/v1/execute', { stmt: { sql } });
      expect([sql, status, body.code, typeof body.message]).toEqual([sql, 400, code, 'string']);
    }
    expect((await post('/v1/execute', { statement: {} })).status).toBe(400);
  });

  it('needs the right token, and leaves no transaction open', async () => {
    const write = { stmt: { sql: 'DELETE FROM t WHERE id = 99' } };
    expect((await post('/v1/execute', write, { tenants: ['acme'], access: 'read' })).status).toBe(403);
    expect((await post('/v1/execute', write, { tenants: ['globex'], access: 'admin' })).status).toBe(403);
    expect((await fetch(`${services.gateway.url}/t/acme/v1/execute`, { method: 'POST' })).status).toBe(401);
    await post('/v1/execute', { stmt: { sql: 'BEGIN IMMEDIATE' } });
    expect((await post('/v1/execute', write)).status).toBe(200);
  });
});

it('POST v1/batch runs steps with conditions', async () => {
  const steps = [
    { stmt: { sql: 'INSERT INTO t(id) VALUES (1)' } },
    { condition: { type: 'ok', step: 0 }, stmt: { sql: 'SELECT 1' } },
    { condition: { type: 'error', step: 0 }, stmt: { sql: 'UPDATE t SET a = id WHERE id > 1' } },
  ];
  const { status, body } = await post('/v1/batch', { batch: { steps } });
  expect(status).toBe(200);
  const { step_results, step_errors } = body.result;
  expect(step_errors.map((error: { code: string } | null) => error?.code)).toEqual([
    'SQLITE_CONSTRAINT',
    undefined,
    undefined,
  ]);
  expect(step_results.map((result: { rows_written: number } | null) => result?.rows_written)).toEqual([
    undefined,
    undefined,
    1,
  ]);
});

describe('POST /', () => {
  it('runs statements in order, with plain values', async () => {
    const q =
      'SELECT ? AS i, ? AS r, ? AS t, ? AS n, ? AS b, ? AS x, 9007199254740993 AS big, 2.0 AS whole, 9e999 AS inf';
    const params = [1, 1.5, 'x', null, true, { base64: 'AQI' }];
    const { status, text } = await post('/', { statements: ['SELECT 1', { q, params }] });
    expect(status).toBe(200);
    expect(text.replace(/"query_duration_ms":[\d.e-]+/g, '"ms"')).toBe(
      '[{"results":{"columns":["1"],"rows":[[1]],"rows_read":1,"rows_written":0,"ms"}},' +
        '{"results":{"columns":["i","r","t","n","b","x","big","whole","inf"],' +
        '"rows":[[1,1.5,"x",null,1,{"base64":"AQI"},9007199254740993,2.0,1e999]],' +
        '"rows_read":1,"rows_written":0,"ms"}}]',
    );
  });

  it('stores integers and reals as such, and takes names', async () => {
    const q = 'SELECT typeof(:a) AS a, typeof($b) AS b, :c AS c';
    const { body } = await post('/', { statements: [{ q, params: { ':a': 5, $b: 5.5, c: 'c' } }] });
    expect(body[0].results.rows).toEqual([['integer', 'real', 'c']]);
    const headers = { 'content-type': 'application/json' };
    const large = '{"statements":[{"q":"SELECT CAST(? AS TEXT) AS t","params":[9007199254740993]}]}';
    const answer = await (await call('/', { method: 'POST', headers, body: large })).json();
    expect(answer[0].results.rows).toEqual([['9007199254740993']]);
  });

  it('stops at the first error, and keeps what was before it, without BEGIN', async () => {
    const { status, body } = await post('', {
      statements: ["INSERT INTO t VALUES (10, 'kept')", 'INSERT INTO t(id) VALUES (1)', 'DELETE FROM t'],
    });
    expect(status).toBe(200);
    expect(body).toEqual([
      { results: { columns: [], rows: [], rows_read: 0, rows_written: 1, query_duration_ms: ms } },
      { error: expect.stringContaining('UNIQUE') },
      null,
    ]);
    const transaction = [
      'BEGIN',
      "INSERT INTO t VALUES (11, 'lost')",
      'INSERT INTO t(id) VALUES (1)',
      'COMMIT',
    ];
    expect((await post('/', { statements: transaction })).body[3]).toBeNull();
    const { body: left } = await post('/', { statements: ['SELECT id FROM t WHERE id >= 10'] });
    expect(left[0].results.rows).toEqual([[10]]);
  });

  it('refuses what it does not understand', async () => {
    for (const body of [{}, { statements: [{ sql: 'SELECT 1' }] }, { statements: ['SELECT 1; SELECT 2'] }]) {
      const { status, body: answer } = await post('/', body);
      expect([status, typeof answer.error]).toEqual([400, 'string']);
    }
    const { body } = await post('/', { statements: [{ q: 'SELECT ?', params: [{ blob: 1 }] }] });
    expect(body[0]).toEqual({ error: expect.any(String) });
  });
});

it('GET dump is the database as SQL', async () => {
  const response = await call('/dump');
  expect(response.status).toBe(200);
  const db = new Database(':memory:');
  db.exec(await response.text());
  expect(db.prepare('SELECT a FROM t WHERE id = 1').pluck().get()).toBe('x');
  db.close();
  expect((await call('/dump', {}, { tenants: ['globex'], access: 'admin' })).status).toBe(403);
  expect((await fetch(`${services.gateway.url}/t/acme/dump`)).status).toBe(401);
});

it('GET health, version and v1 need no token', async () => {
  const get = async (path: string) => {
    const response = await fetch(`${services.gateway.url}/t/acme${path}`);
    return [response.status, await response.text()];
  };
  expect(await get('/health')).toEqual([200, '']);
  expect(await get('/version')).toEqual([200, expect.stringMatching(/^onewriter \d/)]);
  expect(await get('/v1')).toEqual([200, expect.any(String)]);
});
