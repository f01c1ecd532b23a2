import { createClient } from '@libsql/client/http';
import { signToken } from '@onewriter/runtime';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Service, TEST_TOKEN_SECRET, type TestRedis } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type GatewayServices, startGatewayServices } from './services.ts';

const TENANT = 'acme';

let services: GatewayServices;
let redis: TestRedis;
let gateway: Service;
let onewriter: Onewriter;
let tokens: Record<'read' | 'write', string>;

beforeAll(async () => {
  services = await startGatewayServices('pragmas');
  ({ redis, gateway, client: onewriter } = services);
  const token = (access: 'read' | 'write') => signToken(TEST_TOKEN_SECRET, { tenants: '*', access });
  tokens = { read: await token('read'), write: await token('write') };
  await onewriter.tenant(TENANT).exec(SCHEMA);
});
afterAll(() => services?.stop());

async function post(path: string, body: unknown, access: 'read' | 'write' = 'read') {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens[access]}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return { status: response.status, body: (await response.json()) as any };
}

/** What an interface answered, or the code with which it refused. */
interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

/** Each way to send one statement. */
const WAYS: Record<string, (sql: string) => Promise<Answer | string>> = {
  SDK: async sql => {
    try {
      const { columns = [], rows = [] } = await onewriter
        .tenant(TENANT)
        .execute(sql, [], { rowMode: 'array' });
      return { columns, rows };
    } catch (error) {
      return (error as { code: string }).code;
    }
  },
  'SDK through the gateway': async sql => {
    const remote = await connect({
      redis: redis.url,
      gatewayUrl: gateway.url,
      token: tokens.read,
      reads: 'gateway',
    });
    try {
      const { columns = [], rows = [] } = await remote.tenant(TENANT).execute(sql, [], { rowMode: 'array' });
      return { columns, rows };
    } catch (error) {
      return (error as { code: string }).code;
    } finally {
      await remote.close();
    }
  },
  'SDK transaction': async sql => {
    try {
      const [result] = await onewriter.tenant(TENANT).transaction([{ sql }], { rowMode: 'array' });
      return { columns: result?.columns ?? [], rows: result?.rows ?? [] };
    } catch (error) {
      return (error as { code: string }).code;
    }
  },
  '/v1': async sql => {
    const { status, body } = await post(`/v1/tenants/${TENANT}/query`, { sql, method: undefined });
    if (status !== 200) return body.error.code;
    return { columns: body.columns, rows: body.rows.map((row: object) => Object.values(row)) };
  },
  'drop-in': async query => {
    const { status, body } = await post('/query', { tenantId: TENANT, query });
    if (status !== 200) return body.code;
    if (body.type === 'run') return { columns: [], rows: [] };
    return { columns: Object.keys(body.result[0]), rows: body.result.map(Object.values) };
  },
  libSQL: async sql => {
    const requests = [{ type: 'execute', stmt: { sql } }, { type: 'close' }];
    const { body } = await post(`/t/${TENANT}/v3/pipeline`, { requests });
    if (body.results === undefined) return body.code;
    const [first] = body.results;
    if (first.type === 'error')
      return first.error.code === 'SQLITE_AUTH' ? 'STATEMENT_NOT_ALLOWED' : first.error.code;
    const { cols, rows } = first.response.result;
    return {
      columns: cols.map(({ name }: { name: string }) => name),
      rows: rows.map((row: { type: string; value: string }[]) =>
        row.map(({ type, value }) => (type === 'integer' ? Number(value) : value)),
      ),
    };
  },
};

/** What drivers and their users send when they connect. */
const ANSWERS: readonly (readonly [sql: string, columns: readonly string[], row?: readonly unknown[]])[] = [
  ['PRAGMA journal_mode = WAL', ['journal_mode'], ['wal']],
  ['PRAGMA busy_timeout = 5000', ['timeout'], [5_000]],
  ['PRAGMA foreign_keys = ON', []],
  ['PRAGMA synchronous = NORMAL', []],
  ['PRAGMA synchronous', ['synchronous'], [2]],
  ['PRAGMA recursive_triggers = OFF', []],
  ["PRAGMA encoding = 'UTF-8'", []],
  ['PRAGMA database_list', ['seq', 'name', 'file'], [0, 'main', '']],
];

const SCHEMA = `
  CREATE TABLE p(id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'x' UNIQUE, twice AS (id * 2));
  CREATE TABLE c(p REFERENCES p);
  CREATE INDEX c_p ON c(p DESC) WHERE p > 1;
  CREATE VIEW v AS SELECT id FROM p;
`;

const DESCRIBING = [
  'PRAGMA database_list',
  'PRAGMA table_list',
  'PRAGMA table_list(c)',
  'PRAGMA main.table_list',
  'PRAGMA table_info(p)',
  "PRAGMA table_xinfo('p')",
  'PRAGMA index_list(p)',
  'PRAGMA index_list("c")',
  'PRAGMA index_info(c_p)',
  'PRAGMA index_xinfo = c_p',
  'PRAGMA foreign_key_list(c)',
  "SELECT name, origin, partial FROM pragma_index_list('c')",
  "SELECT name, type FROM pragma_table_list WHERE name = 'v'",
];

const REFUSED = [
  'PRAGMA foreign_keys = OFF',
  'PRAGMA defer_foreign_keys = ON',
  'PRAGMA journal_mode = DELETE',
  'PRAGMA synchronous = OFF',
  'PRAGMA cache_size = -64000',
  'PRAGMA wal_checkpoint(TRUNCATE)',
  "PRAGMA encoding = 'UTF-16'",
];

describe.each(Object.entries(WAYS))('PRAGMAs over %s', (way, send) => {
  it('are answered as SQLite would where they are so already, with access to read', async () => {
    for (const [sql, columns, row] of ANSWERS) {
      expect([sql, await send(sql)]).toEqual([sql, { columns, rows: row === undefined ? [] : [row] }]);
    }
    const tables = (await send('PRAGMA table_list')) as Answer;
    expect(tables.columns).toEqual(['schema', 'name', 'type', 'ncol', 'wr', 'strict']);
    expect(tables.rows).toContainEqual(['main', 'c', 'table', 1, 0, 0]);
  });

  it('describe the schema as SQLite does', async () => {
    const plain = new Database(':memory:');
    onTestFinished(() => {
      plain.close();
    });
    plain.exec(SCHEMA);
    for (const sql of DESCRIBING) {
      const statement = plain.prepare(sql).raw();
      const columns = statement.columns().map(({ name }) => name);
      const expected = statement.all() as unknown[][];
      const { columns: names, rows } = (await send(sql)) as Answer;
      // The tables of SQLite and of the writer stand among those of the tenant.
      const own = sql.includes('table_list')
        ? (row: readonly unknown[]) => /^[pcv]$/.test(String(row[1]))
        : () => true;
      const sorted = (list: readonly (readonly unknown[])[]) =>
        list
          .filter(own)
          .map(row => JSON.stringify(row))
          .sort();
      expect([sql, names, sorted(rows)]).toEqual([sql, columns, sorted(expected)]);
    }
  });

  it('are refused where they would change what others rely on, or would do nothing', async () => {
    for (const sql of REFUSED) {
      // A session of steps may set the first two, together with what they are for; that is a write.
      const expected = way === 'libSQL' && REFUSED.indexOf(sql) < 2 ? /ALLOWED|FORBIDDEN/ : /ALLOWED/;
      const answer = await send(sql);
      expect([sql, answer]).toEqual([sql, expect.stringMatching(expected)]);
    }
  });
});

describe('a PRAGMA', () => {
  it('that drivers send when they connect is answered for a tenant that has no file yet, and makes none', async () => {
    const db = onewriter.tenant('fresh');
    expect(await db.pragma('journal_mode = WAL', { simple: true })).toBe('wal');
    expect(await db.pragma('foreign_keys = ON')).toEqual([]);
    expect(await db.prepare('PRAGMA foreign_keys = ON').run()).toMatchObject({ changes: 0, commitSeq: 0 });
    expect(await db.prepare('PRAGMA busy_timeout = 9').get()).toEqual({ timeout: 9 });
    const client = createClient({ url: `${gateway.url}/t/fresh/`, authToken: tokens.read });
    onTestFinished(() => client.close());
    expect((await client.execute('PRAGMA journal_mode = WAL')).rows[0]).toMatchObject({
      journal_mode: 'wal',
    });
    expect((await client.execute('PRAGMA foreign_keys = ON')).rows).toEqual([]);
    await expect(db.prepare('SELECT 1').get()).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
  });

  it('that switches foreign keys off for a migration works in one batch, and is refused alone', async () => {
    const client = createClient({ url: `${gateway.url}/t/${TENANT}/`, authToken: tokens.write });
    onTestFinished(() => client.close());
    await expect(client.execute('PRAGMA foreign_keys = OFF')).rejects.toThrow(/no effect alone.*migrate\(\)/);
    await client.migrate(['INSERT INTO c VALUES (77)', 'INSERT INTO p(id) VALUES (77)']);
    expect(await onewriter.tenant(TENANT).prepare('SELECT p FROM c').all()).toEqual([{ p: 77 }]);
    await expect(client.migrate(['INSERT INTO c VALUES (78)'])).rejects.toThrow(/c row 2 → p/);
    await expect(client.execute('INSERT INTO c VALUES (78)')).rejects.toThrow(/FOREIGN KEY/);
    const steps = [{ sql: 'PRAGMA foreign_keys = OFF' }];
    const { results } = await onewriter.tenant(TENANT).steps({ steps });
    expect(results).toMatchObject([{ type: 'error', error: { code: 'STATEMENT_NOT_ALLOWED' } }]);
  });
});
