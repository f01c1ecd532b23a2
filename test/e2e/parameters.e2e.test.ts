import { isOnewriterError, LIMITS, type Onewriter, type SqlParameters } from '@onewriter/sdk';
import type { Service } from '@onewriter/testkit';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayServices, startGatewayServices } from './services.ts';

const TENANT = 'parameters';

let services: GatewayServices;
let gateway: Service;
let client: Onewriter;
/** Reads through the gateway. */
let remote: Onewriter;
let token: string;

beforeAll(async () => {
  services = await startGatewayServices('parameters');
  ({ gateway, client, remote, token } = services);
  await client.tenant(TENANT).exec('CREATE TABLE w(id INTEGER PRIMARY KEY, v)');
});

afterAll(() => services?.stop());

// biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
async function post(path: string, body: object): Promise<any> {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return response.json();
}

/** Names of columns and values of the one row, or the code of the error. */
type Answer = { columns: string[]; row: unknown[] } | string;
type Ask = (sql: string, params: SqlParameters) => Promise<Answer>;

const fromObject = (row: object): Answer => ({ columns: Object.keys(row), row: Object.values(row) });

async function ask(tenant: Onewriter, sql: string, params: SqlParameters): Promise<Answer> {
  try {
    const { columns, rows } = await tenant.tenant(TENANT).execute(sql, params, { rowMode: 'array' });
    return { columns: [...columns!], row: rows![0]! };
  } catch (error) {
    if (isOnewriterError(error)) return error.code;
    throw error;
  }
}

async function askPrepared(sql: string, params: SqlParameters): Promise<Answer> {
  try {
    const statement = client.tenant(TENANT).prepare<[SqlParameters], object>(sql);
    const [all] = await statement.all(params);
    expect(await statement.get(params)).toEqual(all);
    for await (const row of statement.iterate(params)) expect(row).toEqual(all);
    return fromObject(all!);
  } catch (error) {
    if (isOnewriterError(error)) return error.code;
    throw error;
  }
}

function toHrana(value: unknown) {
  if (value === null) return { type: 'null' };
  return typeof value === 'number' ? { type: 'float', value } : { type: 'text', value };
}

const toHranaArguments = (params: SqlParameters) =>
  Array.isArray(params)
    ? { args: params.map(toHrana) }
    : { named_args: Object.entries(params).map(([name, value]) => ({ name, value: toHrana(value) })) };

function fromHrana({ cols, rows }: { cols: { name: string }[]; rows: { value?: unknown }[][] }): Answer {
  return { columns: cols.map(({ name }) => name), row: rows[0]!.map(({ value = null }) => value) };
}

const CODES: Record<string, string> = { ARGS_INVALID: 'INVALID_ARGUMENT', SQLITE_ERROR: 'SQL_ERROR' };

/** Every way of sending a statement with parameters. */
const ways: Record<string, Ask> = {
  'the SDK': (sql, params) => ask(client, sql, params),
  "the SDK's prepare()": askPrepared,
  'the SDK through the gateway': (sql, params) => ask(remote, sql, params),
  "the SDK's transaction()": async (sql, params) => {
    try {
      const [result] = await client.tenant(TENANT).transaction([{ sql, params }], { rowMode: 'array' });
      return { columns: [...result!.columns!], row: result!.rows![0]! };
    } catch (error) {
      if (!isOnewriterError(error)) throw error;
      expect(error.details.statementIndex).toBe(0);
      return error.code;
    }
  },
  "the SDK's steps()": async (sql, params) => {
    const { results } = await client.tenant(TENANT).steps({ steps: [{ sql, params }] });
    const [result] = results;
    if (result?.type !== 'ok') return (result as { error: { code: string } }).error.code;
    return { columns: result.columns.map(({ name }) => name), row: [...result.rows[0]!] };
  },
  '/v1': async (sql, params) => {
    const { error, columns, rows } = await post(`/v1/tenants/${TENANT}/query`, {
      sql,
      params,
      method: 'values',
    });
    return error === undefined ? { columns, row: rows[0] } : error.code;
  },
  '/v1, a transaction': async (sql, params) => {
    const { error, results } = await post(`/v1/tenants/${TENANT}/transaction`, {
      statements: [{ sql, params }],
    });
    return error === undefined ? fromObject(results[0].rows[0]) : error.code;
  },
  '/query': async (sql, params) => {
    const { code, result } = await post('/query', { tenantId: TENANT, query: sql, params });
    return code === undefined ? fromObject(result[0]) : code;
  },
  '/transaction': async (sql, params) => {
    const { code, results } = await post('/transaction', {
      tenantId: TENANT,
      queries: [{ query: sql, params }],
    });
    return code === undefined ? fromObject(results[0][0]) : code;
  },
  'libSQL, execute': async (sql, params) => {
    const requests = [{ type: 'execute', stmt: { sql, ...toHranaArguments(params) } }];
    const { results } = await post(`/t/${TENANT}/v3/pipeline`, { requests });
    const { response, error } = results[0];
    return error === undefined ? fromHrana(response.result) : (CODES[error.code] ?? error.code);
  },
  'libSQL, a batch': async (sql, params) => {
    const steps = [{ stmt: { sql: 'SELECT 1' } }, { stmt: { sql, ...toHranaArguments(params) } }];
    const { results } = await post(`/t/${TENANT}/v3/pipeline`, {
      requests: [{ type: 'batch', batch: { steps } }],
    });
    const { step_results, step_errors } = results[0].response.result;
    expect(step_results[0]).not.toBeNull();
    const error = step_errors[1];
    return error === null ? fromHrana(step_results[1]) : (CODES[error.code] ?? error.code);
  },
};

/** What is selected or returned, the parameters, and the values; a string is the code of an error. */
const cases: readonly [expressions: string, params: SqlParameters, expected: unknown[] | string][] = [
  ['?, ?', ['a', 'b'], ['a', 'b']],
  ['?1, ?2', ['a', 'b'], ['a', 'b']],
  ['?2, ?1, ?2', ['a', 'b'], ['b', 'a', 'b']],
  ['?3, ?1', ['a', 'b', 'c'], ['c', 'a']],
  ['?2, ?', ['a', 'b', 'c'], ['b', 'c']],
  ['?, ?1', ['a'], ['a', 'a']],
  [':a, @b, $c, 1||1', { a: 'x', '@b': 'y', $c: null }, ['x', 'y', null, '11']],
  [':a, @a, :a', { ':a': 'x', '@a': 'y' }, ['x', 'y', 'x']],
  [':a, @b', ['x', 'y'], ['x', 'y']],
  [':a, ?, :a, ?7', ['x', 'y', 'z', 'z', 'z', 'z', 'w'], ['x', 'y', 'x', 'w']],
  ['?1, ?3', { 1: 'a', '?3': 'c', more: 1 }, ['a', 'c']],
  ['?, ?', ['a'], 'INVALID_ARGUMENT'],
  ['?, ?', ['a', 'b', 'c'], 'INVALID_ARGUMENT'],
  ['?1, ?3', ['a', 'c'], 'INVALID_ARGUMENT'],
  ['?', {}, 'INVALID_ARGUMENT'],
  ['?', { 1: 'a' }, 'INVALID_ARGUMENT'],
  [':a', [], 'INVALID_ARGUMENT'],
  [':a', ['x', 'y'], 'INVALID_ARGUMENT'],
  [':a, :b', { a: 1 }, 'INVALID_ARGUMENT'],
  [':a, ?', { a: 1 }, 'INVALID_ARGUMENT'],
  ['1', ['a'], 'INVALID_ARGUMENT'],
  ['?0', [], 'SQL_ERROR'],
];

const numbered = (names: readonly string[]) =>
  names.map((name, index) =>
    names.lastIndexOf(name) === index
      ? name
      : `${name}:${names.slice(0, index + 1).filter(other => other === name).length}`,
  );

describe.each(Object.keys(ways))('parameters through %s', way => {
  it('are bound by number or name as in SQLite, and name their columns; a wrong one is an error', async () => {
    const bare = new Database(':memory:').exec('CREATE TABLE w(id INTEGER PRIMARY KEY, v)');
    // A read alone goes another way than a read in a transaction, and both another way than a write.
    for (const statement of ['SELECT', 'INSERT INTO w DEFAULT VALUES RETURNING']) {
      for (const [expressions, params, expected] of cases) {
        const sql = `${statement} ${expressions}`;
        const answer = await ways[way]!(sql, params);
        if (typeof expected === 'string' || typeof answer === 'string') {
          expect([sql, answer]).toEqual([sql, expected]);
          continue;
        }
        const columns = bare
          .prepare(sql)
          .columns()
          .map(({ name }) => name);
        const { columns: named, row } = answer;
        const pairs = (names: readonly string[], values: readonly unknown[]) =>
          new Map(names.map((name, index) => [name, values[index]]));
        // Over HTTP, an object has the last of several columns with equal names under that name, the others with a number.
        const wanted = named.some(name => !columns.includes(name)) ? numbered(columns) : columns;
        expect([sql, pairs(named, row)]).toEqual([sql, pairs(wanted, expected)]);
      }
    }
    bare.close();
  });
});

describe('a wrong parameter', () => {
  it('is the error of its own write, also among writes that share a commit and in a batch', async () => {
    const db = client.tenant('neighbours');
    await db.exec('CREATE TABLE t(a)');
    const insert = db.prepare<unknown[]>('INSERT INTO t VALUES (?1)');
    const sent = Array.from({ length: 60 }, (_, n) => insert.run(...(n % 3 === 0 ? [n, n] : [n])));
    const outcomes = await Promise.allSettled(sent);
    expect(outcomes.map(({ status }) => status)).toEqual(
      outcomes.map((_, n) => (n % 3 === 0 ? 'rejected' : 'fulfilled')),
    );
    const [count] = await db.prepare<[], { n: number }>('SELECT count(*) AS n FROM t').all();
    expect(count).toEqual({ n: 40 });

    const whole = db.transaction([
      { sql: 'INSERT INTO t VALUES (?)', params: [1] },
      { sql: 'INSERT INTO t VALUES (:a)', params: { b: 1 } },
    ]);
    await expect(whole).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { statementIndex: 1 } });

    // What the gateway finds wrong before the writer has seen it.
    const text = { type: 'text', value: '\ud800' };
    const step = (sql: string, args: object[], condition?: object) => ({ stmt: { sql, args }, condition });
    const steps = [
      step('INSERT INTO t VALUES (?)', [{ type: 'null' }]),
      step('INSERT INTO t VALUES (?)', [text]),
      step('DELETE FROM t', [], { type: 'ok', step: 1 }),
      step('INSERT INTO t VALUES (7)', [], { type: 'error', step: 1 }),
      step('BEGIN', [{ type: 'null' }]),
      step('SELECT 1', [], { type: 'is_autocommit' }),
    ];
    const { results } = await post('/t/neighbours/v3/pipeline', {
      requests: [{ type: 'batch', batch: { steps } }],
    });
    const { step_results, step_errors } = results[0].response.result;
    expect(step_errors.map((error: { code: string } | null) => error?.code ?? null)).toEqual([
      ...[null, 'ARGS_INVALID', null, null, 'ARGS_INVALID', null],
    ]);
    expect(step_results.map((result: object | null) => result !== null)).toEqual([
      ...[true, false, false, true, false, true],
    ]);
    expect(await db.prepare<[], { n: number }>('SELECT count(*) AS n FROM t').get()).toEqual({ n: 42 });
  });

  it('is found in lookups by key, which the gateway reads without a process', async () => {
    const db = client.tenant('keys');
    await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'x')");
    const sql = 'SELECT a, ?2, :c FROM t WHERE id = ?1';
    const query = (params: unknown) => post('/v1/tenants/keys/query', { sql, params, method: 'values' });
    const found = { columns: ['a', '?2', ':c'], rows: [['x', 'y', 'z']] };
    expect(await query([1, 'y', 'z'])).toEqual(found);
    expect(await query({ 1: 1, '?2': 'y', c: 'z' })).toEqual(found);
    expect(await query([1, 'y'])).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
    expect(await query({ 1: 1, 2: 'y' })).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
  });
});

describe('a transaction', () => {
  it('has up to 5,000 statements in every interface; beyond that the bound is named', async () => {
    const db = client.tenant('bounds');
    await db.exec('CREATE TABLE t(a)');
    const count = async () => (await db.prepare<[], { n: number }>('SELECT count(*) AS n FROM t').get())!.n;
    const most = LIMITS.maxTransactionStatements;
    const sql = 'INSERT INTO t VALUES (?)';
    const many = (length: number) => Array.from({ length }, (_, n) => ({ sql, params: [n] }));
    expect(await db.transaction(many(most))).toHaveLength(most);
    expect((await db.steps({ steps: many(LIMITS.maxSteps) })).results).toHaveLength(LIMITS.maxSteps);
    const body = { statements: many(most) };
    expect((await post('/v1/tenants/bounds/transaction', body)).results).toHaveLength(most);
    const queries = many(most).map(({ params }) => ({ query: sql, params }));
    expect((await post('/transaction', { tenantId: 'bounds', queries })).results).toHaveLength(most);
    const before = await count();
    expect(before).toBe(3 * most + LIMITS.maxSteps);

    const named = expect.stringContaining(` ${most + 1} statements; at most ${most} are allowed`);
    await expect(db.transaction(many(most + 1))).rejects.toMatchObject({
      ...{ code: 'STATEMENT_TOO_LARGE', message: named },
    });
    await expect(db.steps({ steps: many(LIMITS.maxSteps + 1) })).rejects.toMatchObject({
      ...{ code: 'STATEMENT_TOO_LARGE', message: expect.stringContaining(`at most ${LIMITS.maxSteps} are`) },
    });
    expect(await post('/v1/tenants/bounds/transaction', { statements: many(most + 1) })).toMatchObject({
      error: { code: 'STATEMENT_TOO_LARGE', message: named },
    });
    const longer = { tenantId: 'bounds', queries: [...queries, queries[0]] };
    expect(await post('/transaction', longer)).toMatchObject({ code: 'STATEMENT_TOO_LARGE', error: named });
    expect(await count()).toBe(before);
  });
});
