import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Onewriter, SqlValue, Tenant } from '@onewriter/sdk';
import type { Service, TemporaryDirectory, TestRedis } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './cli-run.ts';
import { type GatewayServices, startGatewayServices } from './services.ts';

/*
 * What every way to read says of names and columns: right after another process has changed the schema, with all its
 * statements warm, and where two columns have the same name.
 */

const TENANT = 'schema';

/** A result with the names of its columns; names alone where a way to read shows no more. */
interface Rows {
  readonly columns: readonly string[];
  readonly rows?: readonly (readonly unknown[])[];
}

let services: GatewayServices;
let redis: TestRedis;
let data: TemporaryDirectory;
let gateway: Service;
let client: Onewriter;
/** Reads through the gateway. */
let remote: Onewriter;
let db: Tenant;
let token: string;
let other: ChildProcess;

/** Another process that reads with the SDK: takes SQL, answers with what each method gave. */
const OTHER_PROCESS = `
  import { connect } from '@onewriter/sdk';
  const [redis, dataDir, tenant] = process.argv.slice(1);
  const onewriter = await connect({ redis, dataDir });
  const db = onewriter.tenant(tenant);
  const attempt = work => work().catch(error => ({ error: error.message }));
  const rowOf = row => ({ columns: Object.getOwnPropertyNames(row), rows: [Object.values(row)] });
  const rowsOf = rows => ({ columns: Object.getOwnPropertyNames(rows[0]), rows: rows.map(row => Object.values(row)) });
  process.on('message', async sql => {
    const statement = db.prepare(sql);
    process.send({
      get: await attempt(async () => rowOf(await statement.get())),
      all: await attempt(async () => rowsOf(await statement.all())),
      iterate: await attempt(async () => {
        const rows = [];
        for await (const row of statement.iterate()) rows.push(row);
        return rowsOf(rows);
      }),
      execute: await attempt(async () => {
        const { columns, rows } = await db.execute(sql, [], { rowMode: 'array' });
        return { columns, rows };
      }),
    });
  });
  process.on('disconnect', () => onewriter.close());
  process.send('ready');
`;

beforeAll(async () => {
  services = await startGatewayServices('schema-change');
  ({ redis, data, gateway, client, remote, token } = services);
  db = client.tenant(TENANT);
  await db.exec(`
    CREATE TABLE a(id INTEGER PRIMARY KEY, x);
    INSERT INTO a VALUES (1, 'one');
    CREATE VIEW v AS SELECT id, x FROM a;
  `);
  other = spawn(
    process.execPath,
    ['--input-type=module', '-e', OTHER_PROCESS, redis.url, data.path, TENANT],
    { cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  expect(await once(other, 'message')).toEqual(['ready', undefined]);
});

afterAll(async () => {
  if (other?.connected) {
    const ended = once(other, 'exit');
    other.disconnect();
    await ended;
  }
  await services?.stop();
});

// biome-ignore-start lint/suspicious/noExplicitAny: tests look at what is there
async function post(path: string, body: object, accept = 'application/json'): Promise<any> {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, accept },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  if (accept === 'application/json') return JSON.parse(text);
  return text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
}

async function libsql(request: object): Promise<any> {
  const { results } = await post(`/t/${TENANT}/v3/pipeline`, { requests: [request, { type: 'close' }] });
  const [first] = results;
  if (first.type !== 'ok') throw new Error(first.error.message);
  return first.response.result;
}
// biome-ignore-end lint/suspicious/noExplicitAny: tests look at what is there

const query = (body: object, accept?: string) => post(`/v1/tenants/${TENANT}/query`, body, accept);
const objectRows = (rows: readonly object[]): Rows => ({
  columns: Object.getOwnPropertyNames(rows[0]),
  rows: rows.map(row => Object.values(row)),
});

async function collect(tenant: Tenant, sql: string) {
  const rows: object[] = [];
  for await (const row of tenant.prepare(sql).iterate()) rows.push(row);
  return rows;
}

const askOther = async (sql: string) => {
  const answer = once(other, 'message');
  other.send(sql);
  return (await answer)[0] as Record<string, Rows & { readonly error?: string }>;
};

const fromHrana = (value: { type: string; value?: string; base64?: string }) =>
  value.type === 'integer' ? Number(value.value) : (value.value ?? value.base64 ?? null);

/** Every way to read, by what it is called. */
const WAYS: Readonly<Record<string, (sql: string) => Promise<Rows>>> = {
  'SDK get': async sql => objectRows([(await db.prepare(sql).get()) as object]),
  'SDK all': async sql => objectRows(await db.prepare(sql).all()),
  'SDK iterate': async sql => objectRows(await collect(db, sql)),
  'SDK execute': async sql => {
    const { columns, rows } = await db.execute(sql, [], { rowMode: 'array' });
    return { columns: columns!, rows: rows! };
  },
  'SDK over the gateway': async sql => objectRows(await remote.tenant(TENANT).prepare(sql).all()),
  'the writer, in a transaction': async sql => {
    const [result] = await db.transaction([{ sql }], { rowMode: 'array' });
    return { columns: result!.columns!, rows: result!.rows! };
  },
  '/v1 arrays': sql => query({ sql, method: 'values' }),
  '/v1 objects': async sql => objectRows((await query({ sql })).rows),
  '/v1 get': async sql => {
    const { columns, row } = await query({ sql, method: 'get' });
    expect(columns).toEqual(Object.getOwnPropertyNames(row));
    return objectRows([row]);
  },
  '/v1 NDJSON': async sql => {
    const [head, ...lines] = await query({ sql, method: 'values' }, 'application/x-ndjson');
    return { columns: head.columns, rows: lines.slice(0, -1) };
  },
  'drop-in': async sql => objectRows((await post('/query', { tenantId: TENANT, query: sql })).result),
  libSQL: async sql => {
    const { cols, rows } = await libsql({ type: 'execute', stmt: { sql } });
    return {
      columns: cols.map((col: { name: string }) => col.name),
      rows: rows.map((row: Parameters<typeof fromHrana>[0][]) => row.map(fromHrana)),
    };
  },
  'libSQL describe': async sql => {
    const { cols } = await libsql({ type: 'describe', sql });
    return { columns: cols.map((col: { name: string }) => col.name) };
  },
};

/** Changes of the schema, one after the other, and what is to be seen right after each. */
const CHANGES: readonly { readonly change: string; readonly reads: Readonly<Record<string, Rows>> }[] = [
  {
    change: 'ALTER TABLE a ADD COLUMN y DEFAULT 5',
    reads: {
      'SELECT * FROM a ORDER BY 3': { columns: ['id', 'x', 'y'], rows: [[1, 'one', 5]] },
      'SELECT * FROM a UNION SELECT 1, NULL, 4': {
        columns: ['id', 'x', 'y'],
        rows: [
          [1, null, 4],
          [1, 'one', 5],
        ],
      },
      "SELECT 1 AS hit WHERE (1, 'one', 5) IN (SELECT * FROM a)": { columns: ['hit'], rows: [[1]] },
      'SELECT * FROM a WHERE id = 1': { columns: ['id', 'x', 'y'], rows: [[1, 'one', 5]] },
    },
  },
  {
    change: 'ALTER TABLE a RENAME COLUMN x TO X',
    reads: {
      'SELECT x FROM a WHERE id = 1': { columns: ['X'], rows: [['one']] },
      'SELECT * FROM a': { columns: ['id', 'X', 'y'], rows: [[1, 'one', 5]] },
    },
  },
  {
    change: 'ALTER TABLE a RENAME COLUMN id TO nr',
    reads: {
      'SELECT rowid FROM a': { columns: ['nr'], rows: [[1]] },
      'SELECT * FROM v': { columns: ['nr', 'X'], rows: [[1, 'one']] },
    },
  },
  {
    change: 'DROP VIEW v; CREATE VIEW v AS SELECT 7 AS NR, 8 AS x',
    reads: {
      'SELECT * FROM v': { columns: ['NR', 'x'], rows: [[7, 8]] },
      'SELECT nr FROM v': { columns: ['NR'], rows: [[7]] },
    },
  },
  {
    change: 'CREATE TABLE b(k REFERENCES a, u UNIQUE); CREATE INDEX i ON a(y)',
    reads: {
      'PRAGMA foreign_key_list(b)': {
        columns: ['id', 'seq', 'table', 'from', 'to', 'on_update', 'on_delete', 'match'],
        rows: [[0, 0, 'a', 'k', null, 'NO ACTION', 'NO ACTION', 'NONE']],
      },
      'PRAGMA index_list(b)': {
        columns: ['seq', 'name', 'unique', 'origin', 'partial'],
        rows: [[0, 'sqlite_autoindex_b_1', 1, 'u', 0]],
      },
      'PRAGMA index_info(i)': { columns: ['seqno', 'cid', 'name'], rows: [[0, 2, 'y']] },
      'PRAGMA index_list(a)': {
        columns: ['seq', 'name', 'unique', 'origin', 'partial'],
        rows: [[0, 'i', 0, 'c', 0]],
      },
    },
  },
  {
    change: 'DROP INDEX i; ALTER TABLE a DROP COLUMN X; ALTER TABLE a ADD COLUMN "constructor" DEFAULT 9',
    reads: {
      'SELECT * FROM a': { columns: ['nr', 'y', 'constructor'], rows: [[1, 5, 9]] },
      'SELECT "constructor" FROM a WHERE nr = 1': { columns: ['constructor'], rows: [[9]] },
    },
  },
  {
    change:
      'DROP TABLE b; DROP TABLE a; CREATE TABLE a(p PRIMARY KEY, "__proto__"); INSERT INTO a VALUES (2, 3)',
    reads: {
      'SELECT * FROM a': { columns: ['p', '__proto__'], rows: [[2, 3]] },
      'SELECT "__proto__" FROM a WHERE p = 2': { columns: ['__proto__'], rows: [[3]] },
    },
  },
];

describe('right after a change of the schema, with statements that are warm', () => {
  it.each(CHANGES)('$change', async ({ change, reads }) => {
    // What fails before the change, or gives nothing yet, is warm nevertheless.
    for (const sql of Object.keys(reads)) {
      await Promise.allSettled(Object.values(WAYS).map(read => read(sql)));
      await Promise.allSettled(Object.values(WAYS).map(read => read(sql)));
      await askOther(sql);
      await askOther(sql);
    }
    await db.exec(change);
    for (const [sql, { columns, rows }] of Object.entries(reads)) {
      const seen: Record<string, unknown> = {};
      const expected: Record<string, unknown> = {};
      const first = rows!.slice(0, 1);
      for (const [way, read] of Object.entries(WAYS)) {
        seen[way] = await read(sql).then(
          ({ columns, rows }) => ({ columns, rows }),
          error => String(error),
        );
        expected[way] = {
          columns,
          rows: way.endsWith('get') ? first : way.endsWith('describe') ? undefined : rows,
        };
      }
      seen['another process'] = await askOther(sql);
      const same = { columns, rows };
      expected['another process'] = {
        get: { columns, rows: first },
        all: same,
        iterate: same,
        execute: same,
      };
      expect(seen, sql).toEqual(expected);
    }
  });

  it('has the new columns in RETURNING', async () => {
    await db.exec('CREATE TABLE w(k INTEGER PRIMARY KEY, x); INSERT INTO w VALUES (1, 2)');
    const update = 'UPDATE w SET x = x WHERE k = 1 RETURNING *';
    const insert = 'INSERT INTO w SELECT k + 10, x FROM w WHERE k = 1 ON CONFLICT DO NOTHING RETURNING *';
    for (const sql of [update, update, insert]) await db.execute(sql);
    await db.exec(
      'ALTER TABLE w RENAME COLUMN x TO X; ALTER TABLE w ADD COLUMN y DEFAULT 6; DELETE FROM w WHERE k > 1',
    );
    expect(await db.execute(update)).toMatchObject({
      columns: ['k', 'X', 'y'],
      rows: [{ k: 1, X: 2, y: 6 }],
    });
    expect(await db.prepare(update).all()).toEqual([{ k: 1, X: 2, y: 6 }]);
    await expect(db.execute(insert)).rejects.toMatchObject({ code: 'SQL_ERROR' });
  });
});

describe('columns with equal names', () => {
  const SQL = 'SELECT 1 AS id, 2 AS title, 3 AS id, 4 AS "id:1", 5 AS id, 6 AS "__proto__", 7 AS "toString"';
  const NAMES = ['id', 'title', 'id', 'id:1', 'id', '__proto__', 'toString'];
  const VALUES = [1, 2, 3, 4, 5, 6, 7];
  /** What better-sqlite3 gives: the last counts. */
  const LAST = '{"id":5,"title":2,"id:1":4,"__proto__":6,"toString":7}';
  /** The same, and what an object would lose. */
  const ALL = '{"id:2":1,"title":2,"id:3":3,"id:1":4,"id":5,"__proto__":6,"toString":7}';
  const RETURNING = 'UPDATE d SET v = v RETURNING id, v, v AS id';

  beforeAll(async () => {
    await db.exec('CREATE TABLE d(id INTEGER PRIMARY KEY, v); INSERT INTO d VALUES (1, 2)');
  });

  it('keep the last in objects of the SDK, and all in its arrays', async () => {
    for (const tenant of [db, remote.tenant(TENANT)]) {
      const statement = tenant.prepare(SQL);
      for (let run = 0; run < 2; run++) {
        expect(JSON.stringify(await statement.get())).toBe(LAST);
        expect(JSON.stringify(await statement.all())).toBe(`[${LAST}]`);
        expect(JSON.stringify(await collect(tenant, SQL))).toBe(`[${LAST}]`);
      }
      const arrays = { columns: NAMES, rows: [VALUES] };
      expect(await tenant.execute<'array'>(SQL, [], { rowMode: 'array' })).toMatchObject(arrays);
      const objects = await tenant.execute(SQL);
      expect(objects.columns).toEqual(NAMES);
      expect(JSON.stringify(objects.rows)).toBe(`[${LAST}]`);
    }
    const [result] = await db.transaction([{ sql: RETURNING }], { rowMode: 'array' });
    expect(result).toMatchObject({ columns: ['id', 'v', 'id'], rows: [[1, 2, 2]] });
    expect(await db.execute(RETURNING)).toMatchObject({
      columns: ['id', 'v', 'id'],
      rows: [{ id: 2, v: 2 }],
    });
  });

  it('are all there in every answer over HTTP', async () => {
    const returned = { columns: ['id', 'v', 'id'], rows: [{ 'id:1': 1, v: 2, id: 2 }] };
    const text = async (answer: Promise<unknown>) => JSON.stringify(await answer);
    expect(await query({ sql: SQL, method: 'values' })).toEqual({ columns: NAMES, rows: [VALUES] });
    expect(await text(query({ sql: SQL }))).toBe(`{"columns":${JSON.stringify(NAMES)},"rows":[${ALL}]}`);
    expect(await text(query({ sql: SQL, method: 'get' }))).toContain(`"row":${ALL}}`);
    const [head, row] = await query({ sql: SQL }, 'application/x-ndjson');
    expect([head, JSON.stringify(row)]).toEqual([{ columns: NAMES }, ALL]);
    expect(await query({ sql: RETURNING })).toMatchObject(returned);
    const transaction = { statements: [{ sql: RETURNING }, { sql: SQL }] };
    const { results } = await post(`/v1/tenants/${TENANT}/transaction`, transaction);
    expect(results[0]).toMatchObject(returned);
    expect(JSON.stringify(results[1].rows)).toBe(`[${ALL}]`);

    expect(await text(post('/query', { tenantId: TENANT, query: SQL }))).toBe(
      `{"type":"all","result":[${ALL}]}`,
    );
    expect(await text(post('/query', { tenantId: TENANT, query: SQL, method: 'get' }))).toContain(ALL);
    expect((await post('/query', { tenantId: TENANT, query: RETURNING })).result).toEqual(returned.rows);
    const dropIn = { tenantId: TENANT, queries: [{ query: RETURNING }, { query: SQL }] };
    const answer = await post('/transaction', dropIn);
    expect(answer.results[0]).toEqual(returned.rows);
    expect(JSON.stringify(answer.results[1])).toBe(`[${ALL}]`);

    for (const sql of [SQL, RETURNING]) {
      const { cols, rows } = await libsql({ type: 'execute', stmt: { sql } });
      expect(cols.map((col: { name: string }) => col.name)).toEqual(sql === SQL ? NAMES : ['id', 'v', 'id']);
      expect(rows[0].map(fromHrana)).toEqual(sql === SQL ? VALUES : [1, 2, 2]);
    }
  });

  it('are all there in the receipt of a write', async () => {
    const receipt = await db.enqueue(RETURNING);
    await receipt.committed();
    const path = `${gateway.url}/v1/tenants/${TENANT}/receipts/${receipt.id}`;
    const get = async (values: string) =>
      (await fetch(`${path}?values=${values}`, { headers: { authorization: `Bearer ${token}` } })).json();
    expect(await get('plain')).toMatchObject({
      result: { columns: ['id', 'v', 'id'], rows: [{ 'id:1': 1, v: 2, id: 2 }] },
    });
    expect(await get('tagged')).toMatchObject({
      result: { columns: ['id', 'v', 'id'], rows: [[{ i: '1' }, { i: '2' }, { i: '2' }]] },
    });
  });

  it('are all shown by onewriter sql', async () => {
    const env = { ONEWRITER_REDIS_URL: redis.url, ONEWRITER_DATA_DIR: data.path };
    const json = await runCli(['sql', TENANT, SQL, '--json'], { env });
    expect(JSON.parse(json.stdout)).toMatchObject({ columns: NAMES, rows: [VALUES satisfies SqlValue[]] });
    const table = await runCli(['sql', TENANT, SQL], { env });
    expect(table.stdout.split('\n')[0]?.split(/\s+/)).toEqual(NAMES);
    expect(table.stdout.split('\n')[2]?.trim().split(/\s+/)).toEqual(VALUES.map(String));
  });
});
