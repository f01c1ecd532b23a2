import { randomUUID } from 'node:crypto';
import { type Service, startService, TEST_TOKEN_SECRET, waitFor } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './cli-run.ts';
import { type GatewayServices, startGatewayServices } from './services.ts';

/* What old clients send and SQLite here refuses: strings in double quotes, and schema changes that were made before. */

let services: GatewayServices;
let strict: Service;

beforeAll(async () => {
  services = await startGatewayServices('leniency', {
    gatewayEnv: { ONEWRITER_DROP_IN_DOUBLE_QUOTES: 'on', ONEWRITER_DROP_IN_REPEATED_DDL: 'on' },
  });
  strict = await startService('gateway', {
    redisUrl: services.redis.url,
    dataDir: services.data.path,
  });
});
afterAll(async () => {
  await strict?.stop();
  await services?.stop();
});

async function send(path: string, body: object, gateway = services.gateway) {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${services.token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, body: (await response.json()) as any };
}

/** A tenant with a table. */
async function newTenant() {
  const tenantId = `t-${randomUUID()}`;
  const query = (sql: string, params?: unknown, gateway?: Service) =>
    send('/query', { tenantId, query: sql, params }, gateway);
  const transaction = (sqls: readonly string[], gateway?: Service) =>
    send('/transaction', { tenantId, queries: sqls.map(sql => ({ query: sql })) }, gateway);
  expect((await query('CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, status TEXT)')).status).toBe(
    200,
  );
  return { tenantId, query, transaction };
}

describe('strings in double quotes', () => {
  it('are strings where they can be no column', async () => {
    const { query, transaction } = await newTenant();
    expect((await query('INSERT INTO items(name, status) VALUES ("Widget", "")')).body.result.changes).toBe(
      1,
    );
    expect((await query('INSERT INTO items(name, status) VALUES (?, "open")', ['b'])).status).toBe(200);
    expect(
      (await query('SELECT name FROM items WHERE name = "Widget" AND "status" = ""')).body.result,
    ).toEqual([{ name: 'Widget' }]);
    const { body } = await transaction([
      'UPDATE items SET status = "done" WHERE name = "b"',
      'SELECT status, "done" AS same FROM items WHERE name = \'b\'',
      'INSERT INTO items(name) VALUES ("items")',
    ]);
    expect(body.results[1]).toEqual([{ status: 'done', same: 'done' }]);
    expect((await query('SELECT name FROM items ORDER BY id')).body.result).toEqual([
      { name: 'Widget' },
      { name: 'b' },
      { name: 'items' },
    ]);
  });

  it('are columns where there is one, and refused with a code where it is in doubt', async () => {
    const { query, transaction } = await newTenant();
    await query("INSERT INTO items(name, status) VALUES ('a', 'a')");
    expect((await query('SELECT id FROM items WHERE "name" = "status"')).body.result).toEqual([{ id: 1 }]);
    const union = 'SELECT "name" FROM items UNION SELECT "name" FROM (SELECT 1)';
    const doubt = await query(union);
    expect([doubt.status, doubt.body.code]).toEqual([400, 'STATEMENT_NOT_ALLOWED']);
    const refused = await transaction(["INSERT INTO items(name) VALUES ('lost')", union]);
    expect([refused.body.code, refused.body.index]).toEqual(['STATEMENT_NOT_ALLOWED', 1]);
    const made = await transaction([
      'CREATE TABLE two("x", y)',
      'INSERT INTO two SELECT "x", "x" FROM items',
    ]);
    expect(made.body.code).toBe('STATEMENT_NOT_ALLOWED');
    expect((await query('SELECT count(*) AS n FROM items')).body.result).toEqual([{ n: 1 }]);
  });

  it('in a view or trigger stay an error, also of statements that have the name', async () => {
    const { query } = await newTenant();
    await query('CREATE TRIGGER noted AFTER INSERT ON items BEGIN UPDATE items SET status = "new"; END');
    const inserted = await query('INSERT INTO items(name) VALUES ("new")');
    expect([inserted.status, inserted.body.code]).toEqual([422, 'SQL_ERROR']);
    await query('CREATE VIEW v AS SELECT "nothing" FROM items');
    expect((await query('SELECT * FROM v')).body.code).toBe('SQL_ERROR');
    // The columns of the view are not known, so two of a name are in doubt.
    expect((await query('VALUES ("z"), ("z")')).body.code).toBe('STATEMENT_NOT_ALLOWED');
    expect((await query('SELECT count(*) AS n FROM items')).body.result).toEqual([{ n: 0 }]);
  });

  it('are refused without the setting', async () => {
    const { query } = await newTenant();
    const { status, body } = await query('INSERT INTO items(name) VALUES ("Widget")', undefined, strict);
    expect([status, body.code]).toEqual([422, 'SQL_ERROR']);
  });
});

describe('schema changes that were made before', () => {
  const CHANGES = [
    'CREATE TABLE items(id INTEGER PRIMARY KEY)',
    'CREATE INDEX by_name ON items(name)',
    'ALTER TABLE items ADD COLUMN note TEXT',
    'CREATE VIEW v AS SELECT 1 AS one',
    'CREATE TRIGGER tr AFTER INSERT ON items BEGIN SELECT 1; END',
  ];

  it('are answered as done', async () => {
    const { query, transaction } = await newTenant();
    for (const sql of CHANGES.slice(1)) expect([sql, (await query(sql)).status]).toEqual([sql, 200]);
    for (const sql of CHANGES) {
      const { status, body } = await query(sql);
      expect([sql, status, body]).toEqual([
        sql,
        200,
        { type: 'run', result: { changes: 0, lastInsertRowid: 0 } },
      ]);
    }
    const { status, body } = await transaction([...CHANGES, 'CREATE TABLE more(a)', 'SELECT 1 AS one']);
    expect(status).toBe(200);
    expect(body.results.slice(0, -1)).toEqual(Array(6).fill({ changes: 0, lastInsertRowid: 0 }));
    expect(body.results.at(-1)).toEqual([{ one: 1 }]);
    expect((await query('SELECT name, note FROM items')).body.result).toEqual([]);
    expect((await query('SELECT a FROM more')).status).toBe(200);
  });

  it('are errors beside what would run once more, which is undone', async () => {
    const { query, transaction } = await newTenant();
    const migration = [CHANGES[2]!, "UPDATE items SET note = 'default'"];
    await query("INSERT INTO items(name) VALUES ('a')");
    expect((await transaction(migration)).status).toBe(200);
    await query("UPDATE items SET note = 'mine'");
    const again = await transaction(migration);
    expect([again.status, again.body.code, again.body.index]).toEqual([422, 'SQL_ERROR', 0]);
    expect((await query('SELECT note FROM items')).body.result).toEqual([{ note: 'mine' }]);
  });

  it('are errors where what is there is something else, and without the setting', async () => {
    const { query, transaction } = await newTenant();
    await query(CHANGES[1]!);
    await query(CHANGES[3]!);
    for (const sql of [
      'CREATE TABLE t(a, a)',
      'CREATE TABLE v(a)',
      'CREATE VIEW items AS SELECT 1',
      'CREATE INDEX items ON items(id)',
      'CREATE TABLE by_name(a)',
    ]) {
      expect([sql, (await query(sql)).body.code]).toEqual([sql, 'SQL_ERROR']);
    }
    expect((await query(CHANGES[0]!, undefined, strict)).body.code).toBe('SQL_ERROR');
    expect((await transaction([CHANGES[0]!], strict)).body.code).toBe('SQL_ERROR');
  });
});

it('are counted for doctor', async () => {
  const { tenantId, query } = await newTenant();
  await query('INSERT INTO items(name) VALUES ("one")');
  await query('INSERT INTO items(name) VALUES ("two")');
  await query('CREATE TABLE items(a)');
  const env = { ONEWRITER_REDIS_URL: services.redis.url, ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET };
  await waitFor(
    async () => {
      const { stdout } = await runCli(['doctor', '--data-dir', services.data.path], { env });
      const text = stdout.replaceAll(/\s+/g, ' ');
      return text.includes(`${tenantId} (2)`) && text.includes(`${tenantId} (1)`);
    },
    { timeoutMs: 20_000, what: 'doctor to name the tenant' },
  );
});
