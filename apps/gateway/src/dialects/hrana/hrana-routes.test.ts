import { request } from 'node:http';
import { LIMITS, OnewriterError } from '@onewriter/protocol';
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { openHranaGateway } from '../../../test-support/hrana-gateway.ts';

type HranaGateway = Awaited<ReturnType<typeof openHranaGateway>>;

type Answer = {
  status: number;
  type: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: any answer of the gateway
  body: any;
};

const PATIENT = { timeout: 10_000 };

let shared: HranaGateway | undefined;
let tenants = 0;

afterAll(() => shared?.close());

async function openOwn(options: Parameters<typeof openHranaGateway>[0]): Promise<HranaGateway> {
  const gateway = await openHranaGateway(options);
  onTestFinished(() => gateway.close());
  return gateway;
}

/**
 * A gateway whose writer is SQLite in this process, and a client that speaks the protocol itself to a tenant of the
 * test's own. @param options of a gateway of its own
 */
async function open(options?: Parameters<typeof openHranaGateway>[0]) {
  if (options === undefined) shared ??= await openHranaGateway();
  const gateway = options === undefined ? shared! : await openOwn(options);
  const tenant = `tenant-${++tenants}`;

  async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(gateway.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.token}`, ...headers },
      // A Blob has no content type, as the requests of the Rust clients.
      body: new Blob([JSON.stringify(body)]),
    });
    const text = await response.text();
    const lines = text.trimEnd().split('\n');
    const type = response.headers.get('content-type');
    const body_ = type === 'application/x-ndjson' ? lines.map(line => JSON.parse(line)) : JSON.parse(text);
    return { status: response.status, type, body: body_ };
  }

  /** A stream that passes its batons on. */
  function stream(of = tenant) {
    let baton: string | null = null;
    return {
      get baton() {
        return baton;
      },
      async send(...requests: object[]) {
        const { status, body } = await post(`/t/${of}/v3/pipeline`, { baton, requests });
        expect([status, body.error]).toEqual([200, undefined]);
        baton = body.baton;
        return body.results.map((result: { type: string; error?: { code: string }; response?: unknown }) =>
          result.type === 'error' ? result.error!.code : result.response,
        );
      },
      /** The rows of each statement, or the code of its error. */
      async run(...sqls: string[]) {
        const results = await this.send(...sqls.map(sql => ({ type: 'execute', stmt: { sql } })));
        return results.map((result: string | { result: { rows: { value?: unknown }[][] } }) =>
          typeof result === 'string'
            ? result
            : result.result.rows.map(row => row.map(({ value }) => value).join()),
        );
      },
    };
  }

  const create = (script: string) => gateway.writer.open(tenant).db.exec(script);
  const routes = {
    v2: `/t/${tenant}/v2/pipeline`,
    v3: `/t/${tenant}/v3/pipeline`,
    cursor: `/t/${tenant}/v3/cursor`,
  };
  return { ...gateway, ...routes, tenant, post, stream, create };
}

const execute = (sql: string, more: object = {}) => ({ type: 'execute', stmt: { sql, ...more } });
const autocommit = { type: 'get_autocommit' };

describe('a pipeline', () => {
  it('answers each request in the form that strict decoders want', async () => {
    const { post, create, v2 } = await open();
    create('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)');
    const { status, type, body } = await post(v2, {
      baton: null,
      requests: [
        execute("INSERT INTO t(a) VALUES ('x')", { sql_id: null, want_rows: null }),
        execute("SELECT id, a, 1.0 AS r, x'0102' AS b, NULL AS n, 9e999 AS inf FROM t"),
        execute('SELECT id FROM t', { want_rows: false }),
        { type: 'close' },
      ],
    });
    expect([status, type]).toEqual([200, 'application/json']);
    const ms = expect.any(Number);
    expect(body).toEqual({
      baton: null,
      base_url: null,
      results: [
        {
          type: 'ok',
          response: {
            type: 'execute',
            result: {
              cols: [],
              rows: [],
              affected_row_count: 1,
              last_insert_rowid: '1',
              rows_read: 0,
              rows_written: 1,
              query_duration_ms: ms,
            },
          },
        },
        {
          type: 'ok',
          response: {
            type: 'execute',
            result: {
              cols: [
                { name: 'id', decltype: 'INTEGER' },
                { name: 'a', decltype: 'TEXT' },
                ...['r', 'b', 'n', 'inf'].map(name => ({ name, decltype: null })),
              ],
              rows: [
                [
                  { type: 'integer', value: '1' },
                  { type: 'text', value: 'x' },
                  { type: 'float', value: 1 },
                  { type: 'blob', base64: 'AQI' },
                  { type: 'null' },
                  { type: 'float', value: Number.POSITIVE_INFINITY },
                ],
              ],
              affected_row_count: 0,
              last_insert_rowid: null,
              rows_read: 1,
              rows_written: 0,
              query_duration_ms: ms,
            },
          },
        },
        {
          type: 'ok',
          response: {
            type: 'execute',
            result: {
              cols: [{ name: 'id', decltype: 'INTEGER' }],
              rows: [],
              affected_row_count: 0,
              last_insert_rowid: null,
              rows_read: 0,
              rows_written: 0,
              query_duration_ms: ms,
            },
          },
        },
        { type: 'ok', response: { type: 'close' } },
      ],
    });
  });

  it('binds arguments of all types, by position and by name, and refuses what does not fit', async () => {
    const { stream } = await open();
    const s = stream();
    const int = (value: string) => ({ type: 'integer', value });
    const one = async (sql: string, more: object) => {
      const [answer] = await s.send(execute(sql, more));
      return typeof answer === 'string' ? answer : answer.result.rows[0];
    };
    const all = [
      int('-9223372036854775808'),
      { type: 'float', value: 5 },
      { type: 'text', value: 'é' },
      { type: 'blob', base64: 'AQI=' },
      { type: 'blob', base64: 'AQI' },
      { type: 'null' },
    ];
    expect(await one('SELECT ?, ?, ?, ?, ?, ?', { args: all })).toEqual([
      int('-9223372036854775808'),
      { type: 'float', value: 5 },
      { type: 'text', value: 'é' },
      { type: 'blob', base64: 'AQI' },
      { type: 'blob', base64: 'AQI' },
      { type: 'null' },
    ]);
    const [a, b] = [int('1'), int('2')];
    const named = (...entries: [string, object][]) => ({
      named_args: entries.map(([name, value]) => ({ name, value })),
    });
    expect(await one('SELECT :a, @b, $a', named(['a', a], ['@b', b]))).toEqual([a, b, a]);
    expect(await one('SELECT ?2, ?1', { args: [a, b] })).toEqual([b, a]);
    expect(await one('SELECT ?3', { args: [a, b, int('3')] })).toEqual([int('3')]);
    expect(await one('SELECT ?, :a, ?', { args: [a, b, int('3')] })).toEqual([a, b, int('3')]);
    expect(await one("SELECT ?, '?' /* ? */ -- ?", { args: [a] })).toEqual([a, { type: 'text', value: '?' }]);
    expect(await one('SELECT :a, @a', named([':a', a], ['@a', { type: 'null' }]))).toEqual([a, all[5]]);
    // Names that the statement does not have are no mistake: objects often have more than a statement needs.
    expect(await one('SELECT :a', named(['a', a], ['more', b]))).toEqual([a]);
    for (const [sql, more, code] of [
      ['SELECT ?', {}, 'ARGS_INVALID'],
      ['SELECT ?', { args: [a, b] }, 'ARGS_INVALID'],
      ['SELECT :x', named(['y', a]), 'ARGS_INVALID'],
      ['SELECT ?', { args: [int('9223372036854775808')] }, 'ARGS_INVALID'],
      ['SELECT ?', { args: [{ type: 'blob', base64: '*' }] }, 'ARGS_INVALID'],
      ['SELECT ?', { args: [{ type: 'text', value: '\ud800' }] }, 'ARGS_INVALID'],
      ['SELECT ?', { args: Array(32_767).fill(a) }, 'SQLITE_TOOBIG'],
      // Counted before any is converted.
      ['SELECT ?', named(...Array(32_767).fill(['a', int('9223372036854775808')])), 'SQLITE_TOOBIG'],
      ['SELECT ?1', named(['2', a]), 'ARGS_INVALID'],
      ['COMMIT', { args: [a] }, 'ARGS_INVALID'],
      ['SELECT ?', { args: [a], ...named(['a', a]) }, 'ARGS_BOTH_POSITIONAL_AND_NAMED'],
      ['', {}, 'SQL_NO_STATEMENT'],
      ['-- nothing', {}, 'SQL_NO_STATEMENT'],
      ['SELECT 1; SELECT 2', {}, 'SQL_MANY_STATEMENTS'],
      ['BEGIN; DELETE FROM t', {}, 'SQL_MANY_STATEMENTS'],
      ['PRAGMA foreign_keys=off; DELETE FROM t', {}, 'SQL_MANY_STATEMENTS'],
      ['SELEC', {}, 'SQL_PARSE_ERROR'],
      ['SELECT * FROM nowhere', {}, 'SQLITE_ERROR'],
      ["ATTACH 'x' AS y", {}, 'SQLITE_AUTH'],
      ['PRAGMA journal_mode = DELETE', {}, 'SQLITE_AUTH'],
    ] as const) {
      expect([sql, await one(sql, more)]).toEqual([sql, code]);
    }
  });

  it('names columns as SQLite does, whatever arguments they hold', async () => {
    const { stream, create, writer } = await open({});
    create('CREATE TABLE t(a)');
    const int = (value: string) => ({ type: 'integer', value });
    const [a, b] = [int('1'), int('2')];
    const names = async (sql: string, args: object[]) => {
      const [{ result }] = await stream().send(execute(sql, { args }));
      return result.cols.map(({ name }: { name: string }) => name);
    };
    expect(await names('SELECT ?1, :a, @b, 1+1, ?', [a, b, a, b])).toEqual(['?1', ':a', '@b', '1+1', '?']);
    expect(writer.requests).toEqual([]);
    const insert = 'INSERT INTO t VALUES (?3) RETURNING ?1, @x, ?3, a';
    expect(await names(insert, [a, b, a, b])).toEqual(['?1', '@x', '?3', 'a']);
    expect(writer.requests).toHaveLength(1);
  });

  it('has the reals that JSON has no number for, both ways', async () => {
    const { url, token, v3, cursor } = await open();
    const send = async (path: string, body: string) => {
      const headers = { authorization: `Bearer ${token}` };
      return (await fetch(url + path, { method: 'POST', headers, body: new Blob([body]) })).text();
    };
    const stmt =
      `{"sql":"SELECT ?, -?1, ?, 5.0, '\\"type\\":\\"float\\",\\"value\\":\\"-0\\"' AS [\\"value\\":\\"-0\\"]",` +
      `"args":[{"type":"float","value":1e999},{"type":"float","value":-0.0}]}`;
    const row =
      '[{"type":"float","value":1e999},{"type":"float","value":-1e999},{"type":"float","value":-0.0},' +
      '{"type":"float","value":5},{"type":"text","value":"\\"type\\":\\"float\\",\\"value\\":\\"-0\\""}]';
    const answer = await send(v3, `{"requests":[{"type":"execute","stmt":${stmt}}]}`);
    expect(answer).toContain(`"rows":[${row}]`);
    expect(JSON.parse(answer).results[0].response.result.cols[4].name).toBe('"value":"-0"');
    const batch = `{"batch":{"steps":[{"stmt":{"sql":"SELECT 1"}},{"stmt":${stmt}}]}}`;
    expect(await send(cursor, batch)).toContain(`{"type":"row","row":${row}}`);
  });

  it('reports the base code and the extended code of an error', async () => {
    const { post, create, v2 } = await open();
    create('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)');
    const { body } = await post(v2, { requests: [execute('INSERT INTO t VALUES (1)')] });
    expect(body.results[0]).toEqual({
      type: 'error',
      error: {
        message: 'UNIQUE constraint failed: t.id',
        code: 'SQLITE_CONSTRAINT',
        extended_code: 'SQLITE_CONSTRAINT_PRIMARYKEY',
      },
    });
  });

  it('continues after a request that failed', async () => {
    const { stream, create } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    expect(await s.run('SELECT 1', 'SELEC', 'INSERT INTO t VALUES (2)', 'SELECT a FROM t')).toEqual([
      ['1'],
      'SQL_PARSE_ERROR',
      [],
      ['2'],
    ]);
  });

  it('stores SQL texts, up to a bound', async () => {
    const { stream, post, v3 } = await open();
    const s = stream();
    const store = (sql_id: number, sql: string) => ({ type: 'store_sql', sql_id, sql });
    const byId = (sql_id: number) => ({ type: 'execute', stmt: { sql_id } });
    await s.send(store(1, 'SELECT 7'));
    const [found, closed, gone] = await s.send(byId(1), { type: 'close_sql', sql_id: 1 }, byId(1));
    expect(found.result.rows).toEqual([[{ type: 'integer', value: '7' }]]);
    expect([closed, gone]).toEqual([{ type: 'close_sql' }, 'SQL_NOT_FOUND']);
    const many = Array.from({ length: 51 }, (_, id) => store(id, 'SELECT 1'));
    expect((await s.send(...many)).at(-1)).toBe('SQL_STORE_TOO_MANY');
    expect(await stream().send(store(1, 'x'.repeat(5_001)))).toEqual(['SQL_STORE_TOO_MANY']);
    const twice = await post(v3, { requests: [store(1, 'a'), store(1, 'b')] });
    expect([twice.status, twice.body.code]).toEqual([400, 'INVALID_ARGUMENT']);
  });

  it('describes statements without running them', async () => {
    const { stream, create } = await open();
    create('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)');
    const s = stream();
    const describe = async (sql: string) => (await s.send({ type: 'describe', sql }))[0].result;
    expect(await describe('SELECT a, 1 FROM t WHERE id = ? OR a = :a OR a = ?5 OR a = :a')).toEqual({
      params: [{ name: null }, { name: ':a' }, { name: null }, { name: null }, { name: '?5' }],
      cols: [
        { name: 'a', decltype: 'TEXT' },
        { name: '1', decltype: null },
      ],
      is_explain: false,
      is_readonly: true,
    });
    expect(await describe('INSERT INTO t(a) VALUES (?) RETURNING id')).toEqual({
      params: [{ name: null }],
      cols: [{ name: 'id', decltype: 'INTEGER' }],
      is_explain: false,
      is_readonly: false,
    });
    expect((await describe('EXPLAIN SELECT 1')).is_explain).toBe(true);
    for (const sql of ['BEGIN', 'COMMIT', 'PRAGMA foreign_keys=off', 'SAVEPOINT a']) {
      expect(await describe(sql)).toMatchObject({ params: [], cols: [] });
    }
    expect(await s.send({ type: 'describe', sql: 'SELECT * FROM nowhere' })).toEqual(['SQLITE_ERROR']);
    expect(await s.send({ type: 'describe', sql: "ATTACH 'x' AS y" })).toEqual(['SQLITE_AUTH']);
    expect(await s.run('SELECT count(*) FROM t')).toEqual([['0']]);
  });
});

describe('a batch', () => {
  const step = (sql: string, condition?: object) => ({ stmt: { sql }, condition: condition ?? null });
  const ok = (index: number) => ({ type: 'ok', step: index });
  const error = (index: number) => ({ type: 'error', step: index });

  it.each(['reads', 'writes'])('runs its steps under their conditions, where they are %s', async kind => {
    const { stream, create } = await open();
    create('CREATE TABLE t(a)');
    const sql = kind === 'reads' ? 'SELECT 1' : 'INSERT INTO t VALUES (1)';
    const conditions = [
      undefined,
      ok(0),
      { type: 'not', cond: ok(0) },
      ok(2),
      error(2),
      { type: 'and', conds: [ok(0), ok(1)] },
      { type: 'and', conds: [ok(0), ok(2)] },
      { type: 'or', conds: [ok(2), ok(1)] },
      { type: 'or', conds: [] },
      { type: 'and', conds: [] },
      { type: 'is_autocommit' },
      { type: 'not', cond: { type: 'is_autocommit' } },
    ];
    const steps = conditions.map(condition => step(sql, condition));
    steps.push(step('SELECT * FROM nowhere'), step(sql, error(12)), step(sql, ok(12)));
    const [{ result }] = await stream().send({ type: 'batch', batch: { steps } });
    const ran = result.step_results.map((each: unknown) => each !== null);
    expect(ran.map(Number).join('')).toBe('110011010110010');
    const failed = result.step_errors.map((each: unknown) => each !== null);
    expect(failed.indexOf(true)).toBe(12);
    expect(failed.filter(Boolean)).toHaveLength(1);
  });

  it('is refused as a whole, before anything runs, for what is wrong in its form', async () => {
    const { post, writer, create, stream, v3 } = await open({});
    create('CREATE TABLE t(a)');
    const s = stream();
    await s.run('SELECT 1');
    const insert = step('INSERT INTO t VALUES (1)');
    const batch = (...steps: object[]) => ({ type: 'batch', batch: { steps: [insert, ...steps] } });
    let deep: object = ok(0);
    for (let depth = 0; depth < 40; depth++) deep = { type: 'not', cond: deep };
    for (const requests of [
      [batch(step('SELECT 1', ok(7)))],
      [batch(step('SELECT 1', { type: 'ok', step: -1 }))],
      [batch(step('SELECT 1', { type: 'maybe' }))],
      [batch(step('SELECT 1', deep))],
      [batch(), { type: 'close' }, execute('SELECT 1')],
      [batch(), { type: 'execute', stmt: {} }],
      [batch(), { type: 'execute', stmt: { sql: 'SELECT 1', sql_id: 1 } }],
      [batch(), { type: 'nonsense' }],
    ]) {
      const { status, type, body } = await post(v3, { baton: s.baton, requests });
      expect([status, type]).toEqual([400, 'application/json']);
      expect(body).toMatchObject({ code: 'INVALID_ARGUMENT', message: body.error });
    }
    expect(writer.requests).toEqual([]);
    // The baton was not used up.
    expect(await s.run('SELECT count(*) FROM t')).toEqual([['0']]);
  });

  it.each(['reads', 'writes'])(
    'has wrong arguments as the error of their step, where they are %s',
    async kind => {
      const { stream, create } = await open();
      create('CREATE TABLE t(a)');
      const sql = kind === 'reads' ? 'SELECT ?' : 'INSERT INTO t VALUES (?)';
      const wrong: object[] = [
        { args: [] },
        { args: [{ type: 'null' }, { type: 'null' }] },
        { named_args: [{ name: 'a', value: { type: 'null' } }] },
        { args: [{ type: 'integer', value: '9223372036854775808' }] },
        { args: [{ type: 'integer', value: '1'.repeat(50) }] },
        { args: [{ type: 'blob', base64: '*' }] },
        { args: [{ type: 'text', value: '\ud800' }] },
        { args: [{ type: 'null' }], named_args: [{ name: 'a', value: { type: 'null' } }] },
      ];
      for (const args of wrong) {
        const steps = [
          { stmt: { sql, args: [{ type: 'null' }] } },
          { stmt: { sql, ...args }, condition: ok(0) },
          { stmt: { sql, args: [{ type: 'null' }] }, condition: ok(1) },
          { stmt: { sql, args: [{ type: 'null' }] }, condition: error(1) },
        ];
        const [{ result }] = await stream().send({ type: 'batch', batch: { steps } });
        const codes = result.step_errors.map((each: { code: string } | null) => each?.code ?? null);
        expect([args, codes]).toEqual([args, [null, 'ARGS_INVALID', null, null]]);
        expect(result.step_results.map((each: unknown) => each !== null)).toEqual([true, false, false, true]);
      }
    },
  );

  it('may be as long as a transaction elsewhere, and a longer one is refused with the bound', async () => {
    const { stream, post, v3, cursor, create } = await open();
    create('CREATE TABLE t(a)');
    const many = (sql: string, count: number) => Array.from({ length: count }, () => ({ stmt: { sql } }));
    const most = LIMITS.maxSteps - 1;
    expect(most).toBeGreaterThan(LIMITS.maxTransactionStatements + 4);
    for (const sql of ['SELECT 1', 'INSERT INTO t VALUES (1)']) {
      const [{ result }] = await stream().send({ type: 'batch', batch: { steps: many(sql, most) } });
      expect(result.step_results.every((each: unknown) => each !== null)).toBe(true);
      const longer = { type: 'batch', batch: { steps: many(sql, most + 1) } };
      const { status, body } = await post(v3, { requests: [execute('SELECT 1'), longer] });
      expect([status, body.results[0].type]).toEqual([200, 'ok']);
      const message = `The request has ${most + 1} statements; at most ${most} are allowed: split it.`;
      expect(body.results[1]).toEqual({ type: 'error', error: { code: 'SQLITE_TOOBIG', message } });
      const [, last] = (await post(cursor, { batch: longer.batch })).body;
      expect(last).toEqual({ type: 'error', error: { code: 'SQLITE_TOOBIG', message } });
    }
    expect(await stream().run('SELECT count(*) FROM t')).toEqual([[String(most)]]);
    const single = Array.from({ length: most + 1 }, () => execute('INSERT INTO t VALUES (1)'));
    const refused = await post(v3, { requests: single });
    expect([refused.status, refused.body.code]).toEqual([413, 'STATEMENT_TOO_LARGE']);
    expect(refused.body.message).toContain(String(most));
    expect(await stream().run('SELECT count(*) FROM t')).toEqual([[String(most)]]);
  });

  it('fails in its place for a statement that is none, and nothing of it runs', async () => {
    const { stream, create } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    const steps = [step('INSERT INTO t VALUES (1)'), step('')];
    expect(await s.send({ type: 'batch', batch: { steps } }, autocommit)).toEqual([
      'SQL_NO_STATEMENT',
      { type: 'get_autocommit', is_autocommit: true },
    ]);
    expect(await s.run('SELECT count(*) FROM t')).toEqual([['0']]);
  });

  it('goes to the writer as a whole if any of it writes, else not at all', async () => {
    const { stream, create, writer } = await open({});
    create('CREATE TABLE t(a)');
    const s = stream();
    await s.run('SELECT 1', 'BEGIN', 'SELECT 2', 'COMMIT', 'SELECT 3');
    expect(writer.requests).toEqual([]);
    await s.run('SELECT 1', 'INSERT INTO t VALUES (1)', 'SELECT 3');
    expect(writer.requests).toMatchObject([{ interactive: true, steps: [{}, {}, {}] }]);
    await s.send(execute('INSERT INTO t VALUES (1)'), { type: 'close' });
    expect(writer.requests[1]!.interactive).toBe(false);
  });
});

describe('a sequence', () => {
  it('runs a script to its first error, and may leave a transaction open', async () => {
    const { stream, create } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    const sequence = (sql: string) => ({ type: 'sequence', sql });
    expect(await s.send(sequence('INSERT INTO t VALUES (1); SELECT 1; INSERT INTO t VALUES (2)'))).toEqual([
      { type: 'sequence' },
    ]);
    expect(await s.send(sequence('INSERT INTO t VALUES (3); SELEC; INSERT INTO t VALUES (4)'))).toEqual([
      'SQL_PARSE_ERROR',
    ]);
    expect(await s.send(sequence('SELECT 1; SELECT 2;'), sequence(''))).toEqual(
      Array(2).fill({ type: 'sequence' }),
    );
    expect(await s.send(sequence('BEGIN IMMEDIATE'), autocommit)).toMatchObject([
      {},
      { is_autocommit: false },
    ]);
    await s.run('INSERT INTO t VALUES (5)');
    expect(await s.send(sequence('ROLLBACK'), autocommit)).toMatchObject([{}, { is_autocommit: true }]);
    expect(await s.run('SELECT a FROM t')).toEqual([['1', '2', '3']]);
    expect(await s.send(sequence("SELECT 1; ATTACH 'x' AS y"))).toEqual(['SQLITE_AUTH']);
  });
});

describe('a baton', () => {
  it('is good once, for its own tenant and token', async () => {
    const { stream, post, signToken, v3 } = await open();
    const s = stream();
    await s.run('BEGIN');
    const requests = [execute('SELECT 1')];
    const other = { authorization: `Bearer ${await signToken('*', 'write')}` };
    const baton = s.baton!;
    for (const [path, wrong, headers] of [
      ['/t/globex/v3/pipeline', baton, {}],
      [v3, baton, other],
      [v3, baton.replace(/^t/, 'n'), {}],
      [v3, baton.replace('.1.', '.2.'), {}],
      [v3, 'nonsense', {}],
      [v3, '', {}],
    ] as const) {
      const { status, body } = await post(path, { baton: wrong, requests }, headers);
      expect([status, body.code]).toEqual([400, 'INVALID_ARGUMENT']);
    }
    expect(await s.run('SELECT 1')).toEqual([['1']]);
    const again = await post(v3, { baton, requests });
    expect([again.status, again.body.message]).toEqual([400, expect.stringContaining('used before')]);
    await s.send({ type: 'close' });
    expect(s.baton).toBe(null);
  });

  it('of a stream that held nothing opens a new one anywhere; of another it is expired', async () => {
    const first = await open();
    const second = await open({});
    const [idle, busy] = [first.stream(), first.stream()];
    await idle.run('SELECT 1');
    await busy.run('BEGIN', 'SELECT 1');
    const requests = [execute('SELECT 1'), autocommit];
    const headers = { authorization: `Bearer ${first.token}` };
    const reopened = await second.post(first.v3, { baton: idle.baton, requests }, headers);
    expect([reopened.status, reopened.body.results[1].response.is_autocommit]).toEqual([200, true]);
    const lost = await second.post(first.v3, { baton: busy.baton, requests }, headers);
    expect([lost.status, lost.body.code]).toEqual([400, 'STREAM_EXPIRED']);
  });

  it('that comes again after its COMMIT, anywhere, gets no answer that the transaction was rolled back', async () => {
    const first = await open();
    const second = await open({});
    first.create('CREATE TABLE t(a)');
    const headers = { authorization: `Bearer ${first.token}` };
    const s = first.stream();
    await s.run('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)');
    const { baton } = s;
    await s.run('COMMIT');
    // The answer was lost, and the client asks again: the same gateway, another, and the same after the stream has ended.
    const requests = [execute('COMMIT')];
    const used = await first.post(first.v3, { baton, requests });
    const elsewhere = await second.post(first.v3, { baton, requests }, headers);
    await s.send({ type: 'close' });
    const closed = await first.post(first.v3, { baton, requests });
    for (const { status, body } of [used, elsewhere, closed]) {
      expect([status, body.message]).toEqual([
        400,
        expect.stringMatching(/not run.*read what it would have written/i),
      ]);
      expect(body.message).not.toMatch(/was rolled back|nothing of it/);
    }
    expect([elsewhere.body.code, closed.body.code]).toEqual(['STREAM_EXPIRED', 'STREAM_EXPIRED']);
    expect(await first.stream().run('SELECT count(*) FROM t')).toEqual([['1']]);
  });
});

describe('a transaction', () => {
  it('continues over several requests, and ends with its stream', async () => {
    const { stream, create, writer, tenant } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    expect(
      await s.send(execute('BEGIN IMMEDIATE'), execute('INSERT INTO t VALUES (1)'), autocommit),
    ).toMatchObject([{}, {}, { is_autocommit: false }]);
    expect(await s.run('SELECT count(*) FROM t')).toEqual([['1']]);
    expect(await stream().run('SELECT count(*) FROM t')).toEqual([['0']]);
    expect(await s.run('COMMIT')).toEqual([[]]);
    expect(await s.send(autocommit)).toMatchObject([{ is_autocommit: true }]);

    await s.run('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (2)');
    await s.send({ type: 'close' });
    await vi.waitFor(() => expect(writer.open(tenant).transaction).toBe(undefined), PATIENT);
    expect(await stream().run('SELECT a FROM t')).toEqual([['1']]);
  });

  it.each([false, true])('that was taken away lets nothing commit until ROLLBACK (%s)', async rejects => {
    const { stream, create, writer, tenant } = await open({});
    writer.rejectsLost = rejects;
    create('CREATE TABLE t(a)');
    const s = stream();
    await s.run('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)');
    writer.takeAway(tenant);
    expect(await s.run('INSERT INTO t VALUES (2)', 'SELECT 1', 'BEGIN', 'COMMIT')).toEqual(
      Array(4).fill('TRANSACTION_TIMEOUT'),
    );
    expect(await s.run('INSERT INTO t VALUES (3)')).toEqual(['TRANSACTION_TIMEOUT']);
    expect(await s.send(autocommit)).toMatchObject([{ is_autocommit: false }]);
    const steps = [
      { stmt: { sql: 'INSERT INTO t VALUES (4)' } },
      { stmt: { sql: 'ROLLBACK' }, condition: { type: 'error', step: 0 } },
      { stmt: { sql: 'INSERT INTO t VALUES (5)' }, condition: { type: 'ok', step: 0 } },
      { stmt: { sql: 'INSERT INTO t VALUES (6)' }, condition: { type: 'ok', step: 1 } },
      {
        stmt: { sql: 'INSERT INTO t VALUES (7)' },
        condition: { type: 'not', cond: { type: 'ok', step: 3 } },
      },
    ];
    const [{ result }] = await s.send({ type: 'batch', batch: { steps } });
    expect(result.step_results.map((each: unknown) => each !== null)).toEqual([
      false,
      true,
      false,
      true,
      false,
    ]);
    expect(await s.run('SELECT a FROM t')).toEqual([['6']]);
  });

  it('that cannot begin fails its statements, each in its place', async () => {
    const { stream, create } = await open();
    create('CREATE TABLE t(a)');
    const holder = stream();
    await holder.run('BEGIN IMMEDIATE');
    const s = stream();
    expect(await s.run('BEGIN IMMEDIATE', 'SELECT 1')).toEqual(['TRANSACTION_BUSY', 'TRANSACTION_BUSY']);
    expect(await s.send(autocommit)).toMatchObject([{ is_autocommit: true }]);
    await holder.run('COMMIT');
    expect(await s.run('BEGIN IMMEDIATE', 'SELECT 1')).toEqual([[], ['1']]);
  });

  it('that only reads sees one state, and its writes fail', async () => {
    const { stream, create, writer } = await open();
    create('CREATE TABLE t(a)');
    for (const begin of ['BEGIN READONLY', 'BEGIN TRANSACTION READONLY']) {
      const s = stream();
      await s.run(begin, 'SELECT * FROM t');
      const before = (await s.run('SELECT count(*) FROM t'))[0];
      await stream().run('INSERT INTO t VALUES (1)');
      expect(await s.run('SELECT count(*) FROM t', 'SAVEPOINT a', 'RELEASE a')).toEqual([before, [], []]);
      const requests = writer.requests.length;
      expect(await s.run('INSERT INTO t VALUES (2)', 'COMMIT')).toEqual(['SQLITE_READONLY', []]);
      expect(writer.requests).toHaveLength(requests);
      expect(await s.run('SELECT count(*) FROM t')).not.toEqual([before]);
    }
  });

  it('that is deferred moves to the writer with its first write, if nothing has changed', async () => {
    const { stream, create } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    expect(await s.run('BEGIN', 'SELECT count(*) FROM t')).toEqual([[], ['0']]);
    expect(await s.run('INSERT INTO t VALUES (1)', 'SELECT count(*) FROM t')).toEqual([[], ['1']]);
    expect(await s.run('COMMIT')).toEqual([[]]);

    // It has not read yet: whatever was committed before its first statement is fine.
    await s.run('BEGIN DEFERRED');
    await stream().run('INSERT INTO t VALUES (2)');
    expect(await s.run('INSERT INTO t VALUES (3)', 'COMMIT')).toEqual([[], []]);

    await s.run('BEGIN', 'SELECT * FROM t');
    await stream().run('INSERT INTO t VALUES (4)');
    expect(await s.run('SELECT count(*) FROM t', 'INSERT INTO t VALUES (5)')).toEqual([['3'], 'SQLITE_BUSY']);
    expect(await s.run('SELECT count(*) FROM t')).toEqual([['3']]);
    expect(await s.run('ROLLBACK', 'SELECT a FROM t')).toEqual([[], ['1', '2', '3', '4']]);
  });

  it('that reads and is idle for too long is released, and must be rolled back', async () => {
    const { stream, create } = await open({ idleMs: 50 });
    create('CREATE TABLE t(a)');
    const s = stream();
    await s.run('BEGIN', 'SELECT * FROM t');
    await vi.waitFor(async () => expect(await s.run('SELECT 1')).toEqual(['TRANSACTION_TIMEOUT']), {
      timeout: 10_000,
      interval: 1_500,
    });
    expect(await s.run('INSERT INTO t VALUES (1)')).toEqual(['TRANSACTION_TIMEOUT']);
    expect(await s.run('ROLLBACK', 'SELECT count(*) FROM t')).toEqual([[], ['0']]);
  });

  it('fails as SQLite does where it is not there', async () => {
    const { stream } = await open();
    expect(
      await stream().run('COMMIT', 'ROLLBACK', 'RELEASE a', 'BEGIN', 'BEGIN', 'BEGIN IMMEDIATE'),
    ).toEqual([
      ...Array(3).fill('SQLITE_ERROR'),
      [],
      'SQLITE_ERROR',
      // The connection of its transaction cannot write at all.
      'SQLITE_READONLY',
    ]);
    expect(await stream().run('BEGIN CONCURRENT')).toEqual(['SQL_PARSE_ERROR']);
    // SQLite would take these.
    expect(await stream().run('BEGIN TRANSACTION a', 'COMMIT TRANSACTION a')).toEqual([
      'SQLITE_AUTH',
      'SQLITE_AUTH',
    ]);
  });

  it('ends when its client goes away in the middle of a request', async () => {
    const { create, writer, stream, url, v3, token, tenant } = await open({});
    create('CREATE TABLE t(a)');
    let resume = () => {};
    writer.pause = new Promise(resolve => {
      resume = resolve;
    });
    const client = new AbortController();
    const request = fetch(url + v3, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: new Blob([JSON.stringify({ requests: [execute('BEGIN IMMEDIATE')] })]),
      signal: client.signal,
    });
    await vi.waitFor(() => expect(writer.requests).toHaveLength(1), PATIENT);
    client.abort();
    await expect(request).rejects.toThrow();
    // The server has seen it go when another request of the same process is answered.
    await stream().run('SELECT 1');
    resume();
    await vi.waitFor(
      () => expect(writer.requests.at(-1)).toMatchObject({ steps: [{ sql: 'ROLLBACK' }] }),
      PATIENT,
    );
    await vi.waitFor(() => expect(writer.open(tenant).transaction).toBe(undefined), PATIENT);
    expect(await stream().run('INSERT INTO t VALUES (1)')).toEqual([[]]);
  });

  it('whose request held a COMMIT and then failed does not claim that nothing was applied', async () => {
    const { create, writer, stream, post, v3 } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    await s.run('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)');
    writer.failWith = new OnewriterError('STATEMENT_TIMEOUT', 'The statement ran too long.');
    const failed = await post(v3, { baton: s.baton, requests: [execute('COMMIT'), execute('SELECT 1')] });
    const later = await post(v3, { baton: failed.body.baton, requests: [execute('SELECT 1')] });
    const errors = [...failed.body.results, ...later.body.results].map(({ error }) => error);
    expect(errors.map(({ code }) => code)).toEqual([
      'STATEMENT_TIMEOUT',
      'STATEMENT_TIMEOUT',
      'TRANSACTION_TIMEOUT',
    ]);
    for (const { message } of errors) expect(message).toMatch(/Whether the COMMIT .* is not known/);
  });

  it('says in its message where an unknown outcome can be asked for', async () => {
    const { post, writer, v3 } = await open();
    const details = { tenant: 'acme', receiptId: 'w-1.0' };
    writer.failWith = new OnewriterError('OUTCOME_UNKNOWN', 'The deadline passed.', details);
    const { body } = await post(v3, { requests: [execute('CREATE TABLE t(a)')] });
    expect(body.message).toBe(
      'The deadline passed. Ask for the outcome: GET /v1/tenants/acme/receipts/w-1.0',
    );
  });

  it('does not outlive a failure of the service', async () => {
    const { post, create, writer, stream, v3, tenant } = await open();
    create('CREATE TABLE t(a)');
    const s = stream();
    await s.run('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)');
    writer.failWith = new OnewriterError('QUEUE_UNAVAILABLE', 'Redis is away.');
    const requests = [execute('INSERT INTO t VALUES (2)')];
    const failed = await post(v3, { baton: s.baton, requests });
    expect([failed.status, failed.type, failed.body]).toEqual([
      503,
      'application/json',
      expect.objectContaining({
        error: 'Redis is away.',
        message: 'Redis is away.',
        code: 'QUEUE_UNAVAILABLE',
      }),
    ]);
    await vi.waitFor(() => expect(writer.open(tenant).transaction).toBe(undefined), PATIENT);
    const again = await post(v3, { baton: s.baton, requests });
    expect([again.status, again.body.code]).toEqual([400, 'STREAM_EXPIRED']);
    expect(await stream().run('SELECT count(*) FROM t')).toEqual([['0']]);
  });
});

describe('a cursor', () => {
  const batch = (...sqls: string[]) => ({ batch: { steps: sqls.map(sql => ({ stmt: { sql } })) } });

  it.each(['reads', 'writes'])('answers step by step, where they are %s', async kind => {
    const { post, create, cursor } = await open();
    create('CREATE TABLE t(id INTEGER PRIMARY KEY, a)');
    const writes = kind === 'writes' ? ["INSERT INTO t(a) VALUES ('x')"] : [];
    const { status, body } = await post(cursor, batch('SELECT 1 AS one', 'SELEC', ...writes));
    expect(status).toBe(200);
    const baton = expect.stringMatching(/^n/);
    expect(body).toEqual([
      { baton, base_url: null },
      { type: 'step_begin', step: 0, cols: [{ name: 'one', decltype: null }] },
      { type: 'row', row: [{ type: 'integer', value: '1' }] },
      { type: 'step_end', affected_row_count: 0, last_insert_rowid: null },
      { type: 'step_error', step: 1, error: { message: expect.any(String), code: 'SQL_PARSE_ERROR' } },
      ...writes.flatMap(() => [
        { type: 'step_begin', step: 2, cols: [] },
        { type: 'step_end', affected_row_count: 1, last_insert_rowid: '1' },
      ]),
    ]);
  });

  it('streams results of any length, and ends with its reader', async () => {
    const { post, url, token, stream, cursor } = await open();
    const rows = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n';
    const { body } = await post(cursor, batch(`${rows} LIMIT 150000) SELECT i FROM n`));
    expect(body).toHaveLength(150_003);
    expect(body.at(-2)).toEqual({ type: 'row', row: [{ type: 'integer', value: '150000' }] });

    const response = await fetch(`${url}${cursor}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: new Blob([JSON.stringify(batch(`${rows}) SELECT i FROM n`))]),
    });
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    expect(await stream().run('SELECT 1', 'SELECT 2')).toEqual([['1'], ['2']]);
  });

  it('can begin a transaction and continue it', async () => {
    const { post, create, cursor } = await open();
    create('CREATE TABLE t(a)');
    const first = await post(cursor, batch('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)'));
    const { baton } = first.body[0];
    const second = await post(cursor, { baton, ...batch('SELECT * FROM t', 'COMMIT') });
    expect(second.body.filter((entry: { type: string }) => entry.type === 'row')).toHaveLength(1);
    expect(second.body[0].baton).toMatch(/^n/);
  });

  it('reports a wrong batch in its place', async () => {
    const { post, cursor } = await open();
    expect((await post(cursor, batch('SELECT 1', ''))).body).toEqual([
      { baton: expect.any(String), base_url: null },
      { type: 'error', error: { message: expect.any(String), code: 'SQL_NO_STATEMENT' } },
    ]);
  });
});

describe('a lookup by key', () => {
  it('is answered without a process, as one would answer it', async () => {
    const { post, create, stream, v3, cursor, quick } = await open();
    create(`CREATE TABLE t(id INTEGER PRIMARY KEY, n, r, b BLOB, name TEXT);
      INSERT INTO t VALUES (1, 5, 5.0, x'00ff', 'one'), (2, 9007199254740993, 0.5, NULL, 'two')`);
    const lookup = (id: number) => ({
      sql: 'SELECT *, n AS n FROM t WHERE id = :id',
      named_args: [{ name: 'id', value: { type: 'integer', value: String(id) } }],
    });
    const ms = expect.any(Number);
    // The first time that it is seen it is explained.
    await post(v3, { requests: [{ type: 'execute', stmt: lookup(1) }, { type: 'close' }] });
    await quick.settled();
    for (const id of [1, 2, 3]) {
      const before = quick.counts.quick;
      const alone = await post(v3, { requests: [{ type: 'execute', stmt: lookup(id) }, { type: 'close' }] });
      const pieces = await post(cursor, { batch: { steps: [{ stmt: lookup(id) }] } });
      expect(quick.counts.quick).toBe(before + 2);

      const other = stream();
      const [, slow] = await other.send(execute('BEGIN'), { type: 'execute', stmt: lookup(id) });
      await other.send({ type: 'close' });
      expect(quick.counts.quick).toBe(before + 2);
      expect(alone.body.results[0].response).toEqual({
        type: 'execute',
        result: { ...slow.result, query_duration_ms: ms },
      });
      expect(slow.result.rows).toHaveLength(id === 3 ? 0 : 1);
      const [, begin, ...rows] = pieces.body;
      expect(begin.cols).toEqual(slow.result.cols);
      expect(rows.slice(0, -1).map(({ row }: { row: unknown }) => row)).toEqual(slow.result.rows);
    }
  });

  it('goes the other way where it is wrong, conditional, one of several or not by key', async () => {
    const { post, create, stream, cursor, quick } = await open();
    create('CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 2)');
    const before = quick.counts.quick;
    const byKey = 'SELECT a FROM t WHERE id = 1';
    expect(await stream().run('SELECT a FROM t WHERE a = 2')).toEqual([['2']]);
    expect(await stream().run('SELECT nothing FROM t WHERE id = 1')).toEqual(['SQL_PARSE_ERROR']);
    expect(await stream().run(byKey, byKey)).toEqual([['2'], ['2']]);
    const conditional = { steps: [{ stmt: { sql: byKey }, condition: { type: 'is_autocommit' } }] };
    expect((await post(cursor, { batch: conditional })).body).toHaveLength(4);
    expect(quick.counts.quick).toBe(before);
    await stream().run(byKey);
    await quick.settled();
    const [unwanted] = await stream().send(execute(byKey, { want_rows: false }));
    expect(unwanted.result.rows).toEqual([]);
    expect(quick.counts.quick).toBe(before + 1);
  });
});

describe('the bounds', () => {
  it('are kept for snapshots of a tenant', async () => {
    const { stream, post, v3, tenant } = await open({});
    const streams = Array.from({ length: 32 }, () => stream());
    for (const s of streams) await s.run('BEGIN', 'SELECT 1');
    const begin = { requests: [execute('BEGIN')] };
    const refused = await post(v3, begin);
    expect([refused.status, refused.body.code]).toEqual([429, 'RATE_LIMITED']);
    expect((await post(v3.replace(tenant, 'another'), begin)).status).toBe(200);
    expect(await streams[0]!.run('SELECT 1', 'COMMIT')).toEqual([['1'], []]);
    expect((await post(v3, begin)).status).toBe(200);
  });
});

describe('the way to a tenant', () => {
  const one = { requests: [execute('SELECT 1')] };

  it('is its path, a header, or the name of the host', async () => {
    const { post, url, token, v2, v3, tenant } = await open({ hostDomain: 'db.example.com' });
    for (const path of [v2, v3, '/t/v2/v2/pipeline']) {
      expect((await post(path, one)).status).toBe(200);
    }
    expect((await post('/v2/pipeline', one, { 'x-namespace': tenant })).status).toBe(200);
    const toHost = (host: string) =>
      new Promise(resolve => {
        const headers = { host, authorization: `Bearer ${token}` };
        request(`${url}/v2/pipeline`, { method: 'POST', headers }, answer =>
          resolve(answer.resume().statusCode),
        ).end(JSON.stringify(one));
      });
    expect(await toHost(`${tenant}.db.example.com:8080`)).toBe(200);
    expect(await toHost('db.example.com')).toBe(404);
    expect(await toHost('a.b.db.example.com')).toBe(400);
    expect((await post(v2, one, { 'x-namespace': tenant })).status).toBe(200);
    expect((await post(v2, one, { 'x-namespace': 'globex' })).status).toBe(400);
    expect((await post('/v2/pipeline', one)).body.code).toBe('NOT_FOUND');
    expect((await post('/t/ACME/v2/pipeline', one)).body.code).toBe('INVALID_TENANT');
    const missing = await post('/t/v2/pipeline', one);
    expect([missing.status, missing.type]).toEqual([404, 'application/json']);
    expect(missing.body).toMatchObject({ code: 'NOT_FOUND', message: expect.stringContaining('slash') });
    for (const [path, status] of [
      [`/t/${tenant}/v2`, 200],
      [`/t/${tenant}/v3`, 200],
      ['/v2', 200],
      [`/t/${tenant}/v3-protobuf`, 404],
    ] as const) {
      expect([path, (await fetch(url + path)).status]).toEqual([path, status]);
    }
  });

  it('needs a token for it, and one that may write for what writes', async () => {
    const { post, signToken, create, v3, tenant } = await open();
    create('CREATE TABLE t(a)');
    const as = async (...access: Parameters<typeof signToken>) => ({
      authorization: `Bearer ${await signToken(...access)}`,
    });
    const write = { requests: [execute('INSERT INTO t VALUES (1)')] };
    for (const [headers, body, status, code] of [
      [{ authorization: '' }, one, 401, 'UNAUTHENTICATED'],
      [await as(['globex'], 'write'), one, 403, 'FORBIDDEN'],
      [await as([tenant], 'read'), write, 403, 'FORBIDDEN'],
      [await as([tenant], 'read'), { requests: [execute('BEGIN IMMEDIATE')] }, 403, 'FORBIDDEN'],
    ] as const) {
      const answer = await post(v3, body, headers);
      expect([answer.status, answer.type, answer.body.code]).toEqual([status, 'application/json', code]);
      expect(answer.body.message).toBe(answer.body.error);
    }
    expect((await post(v3, one, await as([tenant], 'read'))).status).toBe(200);
    expect((await post(v3, write, await as([tenant], 'write'))).status).toBe(200);
  });

  it('leads to an empty database where the tenant has none yet, if it may be created', async () => {
    const { stream } = await open();
    const s = stream('fresh');
    expect(await s.run('SELECT count(*) FROM sqlite_schema', 'SELECT * FROM t')).toEqual([
      ['0'],
      'SQLITE_ERROR',
    ]);
    await s.send({ type: 'describe', sql: 'CREATE TABLE t(a)' });
    expect(await s.run('CREATE TABLE t(a)', 'SELECT * FROM t')).toEqual([[], []]);
    expect(await s.run('SELECT * FROM t')).toEqual([[]]);
    const { post } = await open({ createTenants: false });
    expect((await post('/t/fresh/v3/pipeline', one)).body.code).toBe('TENANT_NOT_FOUND');
  });

  it('is blocked for writes while the tenant is paused', async () => {
    const { stream, create, paused, tenant } = await open();
    create('CREATE TABLE t(a)');
    paused.add(tenant);
    expect(await stream().run('INSERT INTO t VALUES (1)')).toEqual(['BLOCKED']);
    expect(await stream().run('SELECT count(*) FROM t')).toEqual([['0']]);
  });
});

describe('a body', () => {
  it('may be sent as text/plain, as fetch() does with a string, and not as a form', async () => {
    const { tenant, post } = await open();
    const requests = [{ type: 'execute', stmt: { sql: 'SELECT 7' } }, { type: 'close' }];
    const text = { 'content-type': 'text/plain;charset=UTF-8' };
    for (const version of ['v2', 'v3']) {
      const { status, body } = await post(`/t/${tenant}/${version}/pipeline`, { requests }, text);
      expect([status, body.results[0].response.result.rows[0][0].value]).toEqual([200, '7']);
    }
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await post(`/t/${tenant}/v3/pipeline`, { requests }, form)).status).toBe(415);
  });
});
