import { type Grant, signToken } from '@onewriter/runtime';
import { TEST_TOKEN_SECRET } from '@onewriter/testkit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type GatewayServices, startGatewayServices } from './services.ts';

/*
 * What is known to go wrong in the single-pod proxies that `/query` and `/transaction` stand in for, and the right answer.
 * Callers of such a proxy keep their requests; they must get what they meant.
 */

let services: GatewayServices;
beforeAll(async () => {
  services = await startGatewayServices('drop-in');
});
afterAll(() => services?.stop());

async function send(path: string, body: unknown, access: Grant = { tenants: ['shop'], access: 'write' }) {
  const response = await fetch(services.gateway.url + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${await signToken(TEST_TOKEN_SECRET, access)}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, body: (await response.json()) as any };
}

const query = (text: string, params?: unknown, more: object = {}) =>
  send('/query', { tenantId: 'shop', query: text, ...(params === undefined ? {} : { params }), ...more });
const transaction = (queries: readonly { query: string; params?: unknown }[]) =>
  send('/transaction', { tenantId: 'shop', queries });
const names = async () => (await query('SELECT name FROM items ORDER BY id')).body.result;

beforeEach(async () => {
  await query('DROP TABLE IF EXISTS items');
  await query('CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER NOT NULL DEFAULT 0)');
  await query("INSERT INTO items(name) VALUES ('a'), ('b'), ('c')");
});

describe('proxies that guess from the text whether rows come back', () => {
  it.each<[name: string, sql: string, type: string, rows: number]>([
    ['drop rows of LIMIT 10, taken for LIMIT 1', 'SELECT * FROM items LIMIT 10', 'all', 3],
    ['drop rows of LIMIT 1 in a comment', 'SELECT * FROM items -- LIMIT 1', 'all', 3],
    ["drop rows because of 'limit 1' in a text", "SELECT *, 'limit 1' FROM items", 'all', 3],
    ['know only upper case', 'select * from items', 'all', 3],
    ['know only what begins with SELECT: WITH', 'WITH i AS (SELECT * FROM items) SELECT * FROM i', 'all', 3],
    ['… a comment', '/* list */ SELECT * FROM items', 'all', 3],
    ['… white space', ' \n\t SELECT * FROM items', 'all', 3],
    ['… VALUES', 'VALUES (1), (2)', 'all', 2],
    ['… PRAGMA', 'PRAGMA table_info(items)', 'all', 3],
    ['… EXPLAIN', 'EXPLAIN QUERY PLAN SELECT * FROM items WHERE id = 1', 'all', 1],
    ['… RETURNING', "UPDATE items SET n = n + 1 WHERE name <> 'c' RETURNING id", 'all', 2],
    ['… no rows', 'SELECT * FROM items WHERE 0', 'all', 0],
    ['take a write with SELECT in it for a read', "INSERT INTO items(name) SELECT 'd' WHERE 1", 'run', 1],
    ['… in a text', "UPDATE items SET name = 'SELECT' WHERE id = 1", 'run', 1],
    [
      '… behind WITH',
      'WITH x AS (SELECT 1 AS id) DELETE FROM items WHERE id IN (SELECT id FROM x)',
      'run',
      1,
    ],
  ])('%s', async (_, sql, type, rows) => {
    const { status, body } = await query(sql);
    expect([status, body.type]).toEqual([200, type]);
    expect(type === 'all' ? body.result.length : body.result.changes).toBe(rows);
  });
});

describe('proxies that share one connection', () => {
  it.each(['BEGIN', 'begin immediate', '/**/BEGIN', ' ;BEGIN', 'SAVEPOINT s', 'COMMIT', 'ROLLBACK', 'END'])(
    'let %s of one caller swallow the writes of others',
    async sql => {
      const refused = await query(sql);
      expect([refused.status, refused.body.code]).toEqual([400, 'STATEMENT_NOT_ALLOWED']);
      expect((await query("UPDATE items SET n = 1 WHERE name = 'a'")).status).toBe(200);
      expect((await query('SELECT n FROM items WHERE id = 1', [], { method: 'get' })).body.result).toEqual({
        n: 1,
      });
    },
  );

  it('commit half of a transaction that has a COMMIT in it', async () => {
    const { status, body } = await transaction([
      { query: "INSERT INTO items(name) VALUES ('x')" },
      { query: 'COMMIT' },
      { query: 'SELECT fail' },
    ]);
    expect([status, body.code, body.index]).toEqual([400, 'STATEMENT_NOT_ALLOWED', 1]);
    expect(await names()).toHaveLength(3);
  });

  it('run the second of two statements, or lose it', async () => {
    const { status, body } = await query("SELECT 1; DELETE FROM items WHERE name = 'a'");
    expect([status, body.code]).toEqual([400, 'STATEMENT_NOT_ALLOWED']);
    expect((await query('SELECT * FROM items ; -- done\n;')).body.result).toHaveLength(3);
    expect(await names()).toHaveLength(3);
  });

  it('keep a poisoned queue after an error', async () => {
    for (const bad of [
      "INSERT INTO items(name) VALUES ('a')",
      'INSERT INTO missing VALUES (1)',
      'nonsense',
    ]) {
      const [failed, fine] = await Promise.all([
        query(bad),
        query('UPDATE items SET n = n + 1 WHERE id = 3'),
      ]);
      expect([409, 422]).toContain(failed.status);
      expect(fine.status).toBe(200);
    }
    const failed = await transaction([
      { query: 'UPDATE items SET n = 100' },
      { query: "INSERT INTO items(name) VALUES ('a')" },
    ]);
    expect([failed.status, failed.body.index, failed.body.sqliteCode]).toEqual([
      409,
      1,
      'SQLITE_CONSTRAINT_UNIQUE',
    ]);
    expect((await query('SELECT n FROM items')).body.result).toEqual([{ n: 0 }, { n: 0 }, { n: 3 }]);
  });

  it('lose updates of callers at the same time', async () => {
    await Promise.all(Array.from({ length: 200 }, () => query('UPDATE items SET n = n + 1 WHERE id = 1')));
    expect((await query('SELECT n FROM items WHERE id = 1', [], { method: 'get' })).body.result).toEqual({
      n: 200,
    });
  });
});

describe('proxies with a list of forbidden words', () => {
  const reader: Grant = { tenants: ['shop'], access: 'read' };

  it.each([
    'DROP TABLE items',
    'DROP  TABLE items',
    'DROP/**/TABLE items',
    'drop\ntable items',
    '-- x\nDROP TABLE items',
  ])('are got round by %j; here the token decides', async sql => {
    const { status } = await send('/query', { tenantId: 'shop', query: sql }, reader);
    expect(status).toBe(403);
    expect(await names()).toHaveLength(3);
    expect((await query(sql)).status).toBe(200);
  });

  it('refuse harmless texts that hold such a word', async () => {
    const text = 'DROP TABLE; DELETE -- BEGIN ATTACH';
    expect((await query('UPDATE items SET name = ? WHERE id = 1', [text])).status).toBe(200);
    expect((await query("SELECT name FROM items WHERE name LIKE 'DROP TABLE%'")).body.result).toEqual([
      { name: text },
    ]);
  });
});

describe('proxies that take what comes', () => {
  it.each(['../shop', 'shop/../other', '..\\shop', 'shop\u0000', 'SHOP', '/etc/passwd', '', 'a'.repeat(300)])(
    'open a file for the tenant id %j',
    async tenantId => {
      const answer = await send('/query', { tenantId, query: 'SELECT 1' }, { tenants: '*', access: 'admin' });
      expect([answer.status, answer.body.code]).toEqual([400, 'INVALID_TENANT']);
    },
  );

  it('refuse bodies over 100 kB, or run out of memory', async () => {
    const long = 'x'.repeat(300_000);
    expect((await query('UPDATE items SET name = ? WHERE id = 1', [long])).status).toBe(200);
    expect((await query('SELECT length(name) AS n FROM items WHERE id = 1')).body.result).toEqual([
      { n: 300_000 },
    ]);
    expect((await query('SELECT ?', ['x'.repeat(9_000_000)])).status).toBe(413);
  });

  it('lose what JSON or the driver cannot hold', async () => {
    const values = [true, false, null, { type: 'Buffer', data: [0, 255] }, 'é\u0000', 1.5];
    const { body } = await query('SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e, ? AS f', values, {
      method: 'get',
    });
    expect(body.result).toEqual({
      a: 1,
      b: 0,
      c: null,
      d: { type: 'Buffer', data: [0, 255] },
      e: 'é\u0000',
      f: 1.5,
    });
    expect((await query('SELECT @a AS a', { a: 1 })).body.result).toEqual([{ a: 1 }]);
    expect((await query('SELECT 1 AS one', null)).body.result).toEqual([{ one: 1 }]);
    for (const bad of [[[[1]]], [{ type: 'Buffer', data: ['x'] }]])
      expect((await query('SELECT ?', bad)).body.code).toMatch(/^INVALID/);
  });

  it.each<[sql: string, params: unknown]>([
    ['SELECT ? AS a', 'x'],
    ['SELECT ? AS a', ['x']],
    ['SELECT ? AS a', [['x']]],
    ['SELECT @a AS a', { a: 'x' }],
    ['SELECT @a AS a', [{ a: 'x' }]],
    ['SELECT ? || @n AS a', ['', { n: 'x' }]],
  ])('take only one form of parameters: %s with %j', async (sql, params) => {
    expect((await query(sql, params)).body.result).toEqual([{ a: 'x' }]);
    expect((await transaction([{ query: sql, params }])).body.results).toEqual([[{ a: 'x' }]]);
  });

  it('answer an error without its code, as 500', async () => {
    const { status, body } = await query("INSERT INTO items(id, name) VALUES (1, 'z')");
    expect([status, body]).toEqual([
      409,
      {
        error: 'UNIQUE constraint failed: items.id',
        code: 'CONSTRAINT_VIOLATION',
        sqliteCode: 'SQLITE_CONSTRAINT_PRIMARYKEY',
        requestId: expect.any(String),
      },
    ]);
  });
});
