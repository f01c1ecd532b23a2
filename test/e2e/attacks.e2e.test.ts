import { createHmac } from 'node:crypto';
import { existsSync, readdirSync, symlinkSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { classifyStep, NEWEST_COMMIT_SEQ_SQL, tenantFile } from '@onewriter/protocol';
import { type Grant, signToken } from '@onewriter/runtime';
import {
  isAlive,
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/*
 * What a caller with a token for the tenant `mine` might try: to reach the tenant `theirs`, to reach the machine, or to
 * take the service down. Each attack has the answer it must get; afterwards everything is as it was.
 */

const MINE: Grant = { tenants: ['mine'], access: 'admin' };

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
let token: string;
/** What there is before the attacks. */
let before: unknown;

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('attacks');
  const settings = { redisUrl: redis.url, dataDir: data.path };
  broker = await startService('broker', settings);
  gateway = await startService('gateway', {
    ...settings,
    env: { ONEWRITER_READ_TIMEOUT_MS: '3000', ONEWRITER_MAX_BODY_BYTES: '3000000' },
  });
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  const admin = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  for (const tenant of ['mine', 'theirs']) {
    const response = await fetch(`${gateway.url}/v1/tenants/${tenant}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
      body: JSON.stringify({ script: `CREATE TABLE t(a); INSERT INTO t VALUES ('secret of ${tenant}')` }),
    });
    expect(response.status).toBe(201);
  }
  symlinkSync(join(data.path, 'tenants', 'theirs'), join(data.path, 'tenants', 'linked'));
  token = await signToken(TEST_TOKEN_SECRET, MINE);
  before = look();
});
afterAll(async () => {
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

/** The other tenant's content, all folders, and the user. */
function look() {
  const db = new Database(tenantFile(data.path, 'theirs'), { readonly: true });
  const content = [
    db.prepare('SELECT a FROM t').pluck().all(),
    db.prepare(NEWEST_COMMIT_SEQ_SQL).pluck().get(),
    db.prepare('SELECT name, sql FROM sqlite_schema').raw().all(),
  ];
  db.close();
  return {
    content,
    // The trash is where exports are copied.
    folders: readdirSync(data.path)
      .filter(name => name !== 'trash')
      .sort(),
    tenants: readdirSync(join(data.path, 'tenants')).sort(),
    processes: [isAlive(gateway.pid), isAlive(broker.pid)],
    tmp: existsSync('/tmp/onewriter-attack'),
  };
}

interface Answer {
  readonly status: number;
  readonly code: string;
  readonly text: string;
}

async function send(path: string, body: unknown, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...init,
  });
  return toAnswer(response.status, await response.text());
}

function toAnswer(status: number, text: string): Answer {
  let code = status < 300 ? 'ok' : '';
  try {
    const parsed = JSON.parse(text) as { code?: string; error?: { code?: string } };
    code = parsed.error?.code ?? parsed.code ?? code;
  } catch {
    // not JSON: the status says it
  }
  return { status, code, text };
}

/** A request whose path no client makes neat on the way. */
async function raw(method: string, path: string, body = ''): Promise<Answer> {
  const socket = connectSocket(gateway.port, '127.0.0.1');
  let answer = '';
  socket.setEncoding('utf8').on('data', chunk => {
    answer += chunk;
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('close', () => resolve()).once('error', reject);
    socket.write(
      `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  });
  const status = Number(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1]);
  return toAnswer(status, answer.slice(answer.indexOf('\r\n\r\n') + 4));
}

/** Transaction control, and the PRAGMAs of a migration. */
function isAllowedInSteps(sql: string): boolean {
  try {
    return classifyStep(sql).kind !== 'statement';
  } catch {
    return false;
  }
}

/** An id in the title of a test. */
function shown(id: unknown): string {
  return JSON.stringify(id).slice(0, 40);
}

describe('tenant ids', () => {
  const query = JSON.stringify({ sql: 'SELECT a FROM t' });

  const paths: readonly (readonly [id: string, code: string])[] = [
    ['theirs', 'FORBIDDEN'],
    ['mine/../theirs', 'FORBIDDEN'],
    ['mine/%2e%2e/theirs', 'FORBIDDEN'],
    ['./theirs', 'FORBIDDEN'],
    ['linked', 'FORBIDDEN'],
    ['..%2ftheirs', 'INVALID_TENANT'],
    ['..%2Ftheirs', 'INVALID_TENANT'],
    ['mine%2f..%2ftheirs', 'INVALID_TENANT'],
    ['%252e%252e%252ftheirs', 'INVALID_TENANT'],
    ['..%5ctheirs', 'INVALID_TENANT'],
    ['mine%00', 'INVALID_TENANT'],
    ['mine%00/../theirs', 'FORBIDDEN'],
    ['mine%0a', 'INVALID_TENANT'],
    ['mine%20', 'INVALID_TENANT'],
    ['%6dine%2f', 'INVALID_TENANT'],
    ['MINE', 'INVALID_TENANT'],
    ['Mine', 'INVALID_TENANT'],
    ['m%C4%B1ne', 'INVALID_TENANT'],
    ['mi%E2%80%8Bne', 'INVALID_TENANT'],
    ['%EF%BD%8Dine', 'INVALID_TENANT'],
    ['%c0%ae%c0%ae', 'INVALID_TENANT'],
    ['%ff', 'INVALID_TENANT'],
    ['mine-', 'INVALID_TENANT'],
    ['-mine', 'INVALID_TENANT'],
    ['mine.db', 'INVALID_TENANT'],
    ['~', 'INVALID_TENANT'],
    ['*', 'INVALID_TENANT'],
    ['$(id)', 'INVALID_TENANT'],
    ["'--", 'INVALID_TENANT'],
    ['{mine}', 'INVALID_TENANT'],
    ['m'.repeat(64), 'INVALID_TENANT'],
    ['m'.repeat(5_000), 'INVALID_TENANT'],
    ['__proto__', 'INVALID_TENANT'],
    ['constructor', 'FORBIDDEN'],
    ['..', 'NOT_FOUND'],
    ['%2e%2e', 'NOT_FOUND'],
    ['', 'NOT_FOUND'],
  ];
  it.each(paths.map(row => [shown(row[0]), ...row] as const))('in a path: %s', async (_, id, code) => {
    expect((await raw('POST', `/v1/tenants/${id}/query`, query)).code).toBe(code);
    const pipeline = JSON.stringify({ requests: [{ type: 'execute', stmt: { sql: 'SELECT a FROM t' } }] });
    // A fragment or a query belongs to no path.
    expect([code, 'NOT_FOUND']).toContain((await raw('POST', `/t/${id}/v2/pipeline`, pipeline)).code);
    const deletion = await raw('DELETE', `/v1/tenants/${id}`);
    expect([code, 'NOT_FOUND', 'METHOD_NOT_ALLOWED']).toContain(deletion.code);
  });

  const bodies: readonly (readonly [id: unknown, code: string])[] = [
    ['theirs', 'FORBIDDEN'],
    ['../theirs', 'INVALID_TENANT'],
    ['mine/../theirs', 'INVALID_TENANT'],
    ['mine\0', 'INVALID_TENANT'],
    ['mine\n', 'INVALID_TENANT'],
    ['MINE', 'INVALID_TENANT'],
    ['', 'INVALID_TENANT'],
    [['mine'], 'INVALID_ARGUMENT'],
    [{ toString: 'mine' }, 'INVALID_ARGUMENT'],
    [null, 'INVALID_ARGUMENT'],
    ['x'.repeat(1_000_000), 'INVALID_TENANT'],
  ];
  it.each(bodies.map(row => [shown(row[0]), ...row] as const))('in a body: %s', async (_, tenantId, code) => {
    expect((await send('/query', { tenantId, query: 'SELECT a FROM t' })).code).toBe(code);
    const queries = [{ query: 'SELECT a FROM t' }];
    expect((await send('/transaction', { tenantId, queries })).code).toBe(code);
  });

  it('that are links lead nowhere, even for those who may', async () => {
    const admin = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
    const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
    const read = await send('/v1/tenants/linked/query', { sql: 'SELECT a FROM t' }, { headers });
    expect(read.code).toBe('TENANT_UNAVAILABLE');
    // The writer does not open it either; whether it ever committed there it does not know.
    const body = JSON.stringify({ sql: "INSERT INTO t VALUES ('x')", timeoutMs: 1_000 });
    const write = await send('/v1/tenants/linked/query', undefined, { headers, body });
    expect(['TENANT_UNAVAILABLE', 'OUTCOME_UNKNOWN']).toContain(write.code);
    const exported = await fetch(`${gateway.url}/v1/tenants/linked/export?format=sqlite`, { headers });
    expect(exported.status).toBe(503);
  });
});

describe('tokens', () => {
  const sign = (header: object, claims: object, secret = TEST_TOKEN_SECRET, hash = 'sha256') => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part(header)}.${part(claims)}`;
    return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`;
  };
  const HS256 = { alg: 'HS256', typ: 'JWT' };
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const ALL = { tenants: '*', access: 'admin', exp };
  const now = Math.floor(Date.now() / 1_000);

  it.each<[name: string, token: string, code: string]>([
    ['no signature', sign({ alg: 'none' }, ALL).replace(/[^.]+$/, ''), 'UNAUTHENTICATED'],
    ['alg none with a signature', sign({ alg: 'none' }, ALL), 'UNAUTHENTICATED'],
    ['alg NONE', sign({ alg: 'NONE' }, ALL), 'UNAUTHENTICATED'],
    ['another secret', sign(HS256, ALL, 'guessed-guessed-guessed'), 'UNAUTHENTICATED'],
    ['an empty secret', sign(HS256, ALL, ''), 'UNAUTHENTICATED'],
    ['another algorithm', sign({ alg: 'HS512' }, ALL, TEST_TOKEN_SECRET, 'sha512'), 'UNAUTHENTICATED'],
    ['a public-key algorithm', sign({ alg: 'RS256' }, ALL), 'UNAUTHENTICATED'],
    ['a key of its own', sign({ ...HS256, jwk: { kty: 'oct', k: 'YQ' } }, ALL, 'a'), 'UNAUTHENTICATED'],
    ['a key from a path', sign({ ...HS256, kid: '../../../dev/null' }, ALL, ''), 'UNAUTHENTICATED'],
    ['a critical extension', sign({ ...HS256, crit: ['x'], x: 1 }, ALL), 'UNAUTHENTICATED'],
    ['expired', sign(HS256, { ...ALL, exp: now - 60 }), 'UNAUTHENTICATED'],
    ['not valid yet', sign(HS256, { ...ALL, nbf: now + 600 }), 'UNAUTHENTICATED'],
    ['an unknown level', sign(HS256, { tenants: '*', access: 'root', exp }), 'UNAUTHENTICATED'],
    ['levels as a list', sign(HS256, { tenants: '*', access: ['admin'], exp }), 'UNAUTHENTICATED'],
    ['tenants as a text', sign(HS256, { tenants: 'theirs', access: 'admin', exp }), 'UNAUTHENTICATED'],
    [
      'tenants as an object',
      sign(HS256, { tenants: { theirs: 1 }, access: 'admin', exp }),
      'UNAUTHENTICATED',
    ],
    ['neither exp nor iat', sign(HS256, { tenants: '*', access: 'admin' }), 'UNAUTHENTICATED'],
    ['an unknown right', sign(HS256, { tenants: '*', rights: ['root'], exp }), 'UNAUTHENTICATED'],
    ['level and rights', sign(HS256, { ...ALL, rights: ['read'] }), 'UNAUTHENTICATED'],
    ['rights without the right one', sign(HS256, { tenants: '*', rights: ['export'], exp }), 'FORBIDDEN'],
    ['no tenants', sign(HS256, { access: 'admin', exp }), 'UNAUTHENTICATED'],
    ['a star in a list', sign(HS256, { tenants: ['*'], access: 'admin', exp }), 'FORBIDDEN'],
    ['a prefix', sign(HS256, { tenants: ['their', 'theirs-'], access: 'admin', exp }), 'FORBIDDEN'],
    ['another case', sign(HS256, { tenants: ['THEIRS'], access: 'admin', exp }), 'FORBIDDEN'],
    ['an empty list', sign(HS256, { tenants: [], access: 'admin', exp }), 'FORBIDDEN'],
    ['a very long one', 'a'.repeat(12_000), 'UNAUTHENTICATED'],
  ])('%s', async (_, forged, code) => {
    const headers = { authorization: `Bearer ${forged}`, 'content-type': 'application/json' };
    const answer = await send('/v1/tenants/theirs/query', { sql: 'SELECT a FROM t' }, { headers });
    expect(answer.code).toBe(code);
  });

  it('of a reader neither write nor administrate', async () => {
    const reader = await signToken(TEST_TOKEN_SECRET, { tenants: ['mine'], access: 'read' });
    const headers = {
      authorization: `Bearer ${reader}`,
      'content-type': 'application/json',
      'confirm-delete': 'mine',
    };
    for (const [method, path, body] of [
      ['POST', 'query', { sql: 'WITH x AS (SELECT 1) DELETE FROM t' }],
      ['POST', 'query', { sql: '/* SELECT */ DELETE FROM t' }],
      ['POST', 'query', { sql: 'EXPLAIN; DELETE FROM t' }],
      ['POST', 'query', { sql: 'PRAGMA user_version = 7' }],
      ['POST', 'query', { sql: 'REPLACE INTO t VALUES (1)' }],
      ['POST', 'transaction', { statements: [{ sql: 'SELECT 1' }] }],
      ['POST', 'script', { sql: 'SELECT 1' }],
      ['POST', 'enqueue', { sql: 'DELETE FROM t' }],
      ['POST', 'import?table=t', {}],
      ['POST', 'pause', {}],
      ['POST', 'resume', {}],
      ['PUT', '', {}],
      ['DELETE', '', {}],
    ] as const) {
      const answer = await send(`/v1/tenants/mine${path && `/${path}`}`, body, { method, headers });
      expect([
        path,
        body,
        answer.status,
        ['FORBIDDEN', 'STATEMENT_NOT_ALLOWED'].includes(answer.code),
      ]).toEqual([path, body, answer.code === 'FORBIDDEN' ? 403 : 400, true]);
    }
  });
});

describe('statements', () => {
  const theirs = () => tenantFile(data.path, 'theirs');
  const REFUSED = 'STATEMENT_NOT_ALLOWED';
  const WRONG = 'SQL_ERROR';

  /** The answer of every way in must be one of these. `%` stands for the path of the other tenant's file. */
  const attacks: readonly (readonly [sql: string, ...codes: string[]])[] = [
    // another file
    ["ATTACH '%' AS x", REFUSED],
    ["attach database '%' as x", REFUSED],
    ["AtTaCh\t'%'\nAS x", REFUSED],
    ["/**/ATTACH/**/'%'/**/AS/**/x", REFUSED],
    ["-- SELECT\nATTACH '%' AS x", REFUSED],
    [";;;ATTACH '%' AS x", REFUSED],
    ["\uFEFFATTACH '%' AS x", REFUSED],
    ["EXPLAIN ATTACH '%' AS x", REFUSED],
    ["EXPLAIN QUERY PLAN ATTACH '%' AS x", REFUSED],
    ["SELECT 1; ATTACH '%' AS x", REFUSED],
    ["\u00a0ATTACH '%' AS x", WRONG, REFUSED],
    ["\u200bATTACH '%' AS x", WRONG, REFUSED],
    ["ATTACH DATABASE 'file:%?mode=ro' AS x", REFUSED],
    ["ATTACH ':memory:' AS x", REFUSED],
    ['DETACH main', REFUSED],
    ["VACUUM INTO '/tmp/onewriter-attack'", REFUSED],
    ["VACUUM  main INTO '/tmp/onewriter-attack'", REFUSED],
    ["vacuum/**/into '/tmp/onewriter-attack'", REFUSED],
    ['VACUUM', REFUSED],
    ['SELECT * FROM theirs.t', WRONG],
    ['SELECT * FROM "%".t', WRONG],
    ["SELECT readfile('%')", WRONG],
    ["SELECT writefile('/tmp/onewriter-attack', 'x')", WRONG],
    ["SELECT load_extension('/tmp/x')", WRONG],
    ["SELECT edit('x')", WRONG],
    ["SELECT fts3_tokenizer('simple')", 'ok', WRONG],
    ["SELECT fts3_tokenizer('simple', x'4141414141414141')", WRONG],
    ["SELECT * FROM fsdir('/')", WRONG],
    ["SELECT * FROM csv('%')", WRONG],
    ["SELECT * FROM zipfile('%')", WRONG],
    ["CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')", WRONG],
    ["CREATE VIRTUAL TABLE x USING dbstat('%')", WRONG],
    // where the files are, and what the writer holds
    // Answered without the path of the file.
    ['PRAGMA database_list', 'ok'],
    ['EXPLAIN PRAGMA database_list', REFUSED],
    ['SELECT * FROM pragma_database_list', REFUSED],
    ['SELECT file FROM "pragma_database_list"', REFUSED],
    ['SELECT file FROM PRAGMA_DATABASE_LIST', REFUSED],
    ['SELECT * FROM [pragma_database_list]', REFUSED],
    ['SELECT * FROM `pragma_database_list`', REFUSED],
    ['SELECT * FROM main.pragma_database_list', REFUSED],
    ['CREATE VIEW w AS SELECT * FROM pragma_database_list', REFUSED],
    ['SELECT * FROM pragma_optimize', REFUSED],
    // the connection that others share
    ['BEGIN', REFUSED],
    ['BEGIN EXCLUSIVE', REFUSED],
    ['COMMIT', REFUSED],
    ['END', REFUSED],
    ['ROLLBACK', REFUSED],
    ['SAVEPOINT s', REFUSED],
    ['RELEASE s', REFUSED],
    ['PRAGMA writable_schema = ON', REFUSED],
    ['PRAGMA writable_schema', REFUSED],
    ['PRAGMA main.writable_schema(1)', REFUSED],
    ['pragma/**/writable_schema=1', REFUSED],
    ['PRAGMA journal_mode = OFF', REFUSED],
    ['PRAGMA journal_mode(MEMORY)', REFUSED],
    ['PRAGMA synchronous = 0', REFUSED],
    ['PRAGMA locking_mode = EXCLUSIVE', REFUSED],
    ['PRAGMA foreign_keys = OFF', REFUSED],
    ['PRAGMA query_only = 1', REFUSED],
    ['PRAGMA trusted_schema = OFF', REFUSED],
    ['PRAGMA cell_size_check = 1', REFUSED],
    ['PRAGMA busy_timeout = 0', REFUSED],
    ['PRAGMA foreign_keys = -1', REFUSED],
    // so already: nothing is run
    ['PRAGMA query_only = 0', 'ok'],
    ['PRAGMA trusted_schema = ON', 'ok'],
    ['PRAGMA cell_size_check = 0', 'ok'],
    ['PRAGMA mmap_size = 1000000000000', REFUSED],
    ['PRAGMA cache_size = -100000000', REFUSED],
    ['PRAGMA wal_checkpoint(TRUNCATE)', REFUSED],
    ["PRAGMA temp_store_directory = '/'", REFUSED],
    ['PRAGMA max_page_count = 1', REFUSED],
    ['PRAGMA hard_heap_limit = 1', REFUSED],
    ["PRAGMA key = 'x'", REFUSED],
    ['CREATE TEMP TABLE x(a)', REFUSED],
    ['CREATE TEMPORARY TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END', REFUSED],
    ['CREATE TABLE temp.x(a)', REFUSED],
    ['CREATE VIEW temp.x AS SELECT 1', REFUSED],
    // the schema and the ledger
    ["UPDATE sqlite_schema SET sql = 'x'", WRONG, REFUSED],
    ["UPDATE sqlite_master SET sql = 'x'", WRONG, REFUSED],
    ['DELETE FROM sqlite_schema', WRONG, REFUSED],
    ["INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x(a)')", WRONG, REFUSED],
    ['UPDATE sqlite_temp_schema SET sql = 1', WRONG, REFUSED],
    ['DROP TABLE sqlite_schema', WRONG, REFUSED],
    ['DROP TABLE sqlite_onewriter_ledger', REFUSED],
    ['DROP  TABLE  sqlite_onewriter_ledger', REFUSED],
    ['DELETE FROM sqlite_onewriter_state', REFUSED],
    ['DELETE FROM sqlite_onewriter_jobs', REFUSED],
    ['UPDATE "sqlite_onewriter_state" SET epoch = 99', REFUSED],
    ["UPDATE 'sqlite_onewriter_state' SET epoch = 99", REFUSED],
    ['UPDATE [_ONEWRITER_STATE] SET epoch = 99', REFUSED],
    ['UPDATE `sqlite_onewriter_state` SET epoch = 99', REFUSED],
    ['INSERT INTO main.sqlite_onewriter_keys VALUES (1, 2, 3, 4, 5, 6)', REFUSED],
    ['ALTER TABLE sqlite_onewriter_ledger RENAME TO x', REFUSED],
    ['ALTER TABLE t RENAME TO _onewriter_x', REFUSED],
    ['CREATE TRIGGER x AFTER INSERT ON sqlite_onewriter_ledger BEGIN SELECT 1; END', REFUSED],
    ['CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM sqlite_onewriter_ledger; END', REFUSED],
    ['CREATE INDEX x ON sqlite_onewriter_ledger(job_id)', REFUSED],
    ['WITH x AS (SELECT 1) DELETE FROM sqlite_onewriter_ledger', REFUSED],
    // what no parser should fall for
    ["SELECT 'a\0b'", 'INVALID_ARGUMENT'],
    ['SELECT 1\0; DROP TABLE t', 'INVALID_ARGUMENT'],
    ["SELECT '\ud800'", 'INVALID_VALUE', 'INVALID_ARGUMENT'],
    ['', 'INVALID_ARGUMENT'],
    [' ; -- nothing', 'INVALID_ARGUMENT'],
    ['.shell id', WRONG],
    ['SELECT 1 /* unfinished', 'ok', WRONG],
    ["SELECT 'unfinished", WRONG],
    // more than can be had
    ['SELECT zeroblob(2000000000)', 'RESULT_TOO_LARGE', WRONG],
    ['SELECT hex(zeroblob(900000000))', 'RESULT_TOO_LARGE', WRONG],
    ["SELECT printf('%.*c', 2000000000, 'x')", 'RESULT_TOO_LARGE', WRONG, 'ok'],
    ['SELECT randomblob(2000000000)', 'RESULT_TOO_LARGE', WRONG],
    [`SELECT ${'('.repeat(5_000)}1${')'.repeat(5_000)}`, WRONG],
    [`SELECT ${'1+'.repeat(20_000)}1`, WRONG],
    [`SELECT ${'NOT '.repeat(20_000)}1`, WRONG],
    [`SELECT ${'-'.repeat(3)}${'~'.repeat(20_000)}1`, WRONG, 'INVALID_ARGUMENT'],
    [`SELECT 1 ${'UNION ALL SELECT 1 '.repeat(5_000)}`, WRONG, 'ok'],
    [`SELECT * FROM t ${', t'.repeat(100)}`, WRONG],
    [`SELECT ${Array.from({ length: 3_000 }, (_, i) => `1 AS c${i}`).join()}`, WRONG],
    [`SELECT '${'a'.repeat(20)}' LIKE '${'%a'.repeat(30_000)}'`, WRONG, 'READ_TIMEOUT'],
    [`SELECT ${'x'.repeat(1_100_000)}`, 'STATEMENT_TOO_LARGE'],
    [`SELECT json('${'['.repeat(50_000)}')`, WRONG],
  ];

  it('get the answer they must get, by every way in', async () => {
    const wrong: unknown[] = [];
    for (const [text, ...codes] of attacks) {
      const sql =
        text.startsWith('SELECT printf') || text.includes('LIKE') ? text : text.replaceAll('%', theirs());
      const answers = {
        native: await send('/v1/tenants/mine/query', { sql }),
        dropIn: await send('/query', { tenantId: 'mine', query: sql }),
        ...(codes.includes(REFUSED) && codes.length === 1
          ? {
              transaction: await send('/v1/tenants/mine/transaction', { statements: [{ sql }] }),
              batch: await send('/transaction', { tenantId: 'mine', queries: [{ query: sql }] }),
              script: await send('/v1/tenants/mine/script', { sql: `SELECT 1; ${sql}` }),
              enqueue: await send('/v1/tenants/mine/enqueue', { sql }),
            }
          : {}),
      };
      for (const [way, answer] of Object.entries(answers)) {
        // It is in force for the rest of such a script, and no longer.
        const isAllowed = way === 'script' && sql === 'PRAGMA foreign_keys = OFF' && answer.code === 'ok';
        if (!isAllowed && !codes.includes(answer.code))
          wrong.push([way, sql.slice(0, 80), answer.code, answer.text.slice(0, 200)]);
        expect(answer.text).not.toContain('secret of theirs');
        if (sql.startsWith('PRAGMA')) expect(answer.text).not.toContain('tenants/mine');
      }
    }
    expect(wrong).toEqual([]);
  });

  it('get as little from the libSQL protocol, in and outside transactions', async () => {
    const REFUSALS = [
      'SQLITE_AUTH',
      'SQL_MANY_STATEMENTS',
      'SQL_NO_STATEMENT',
      'SQL_PARSE_ERROR',
      'SQLITE_ERROR',
    ];
    const wrong: unknown[] = [];
    for (const [text, ...codes] of attacks) {
      const sql = text.replaceAll('%', theirs());
      const stmt = { sql };
      const pipelines: Record<string, object[]> = { execute: [{ type: 'execute', stmt }] };
      const refused = codes.length === 1 && codes[0] === REFUSED && !isAllowedInSteps(sql);
      if (refused) {
        const begin = (begin: string) => ({ type: 'execute', stmt: { sql: begin } });
        Object.assign(pipelines, {
          batch: [{ type: 'batch', batch: { steps: [{ stmt }] } }],
          sequence: [{ type: 'sequence', sql: `SELECT 1; ${sql}` }],
          describe: [{ type: 'describe', sql }],
          readOnly: [begin('BEGIN READONLY'), { type: 'execute', stmt }],
          transaction: [begin('BEGIN IMMEDIATE'), { type: 'execute', stmt }],
        });
      }
      for (const [way, requests] of Object.entries(pipelines)) {
        const answer = await send('/t/mine/v3/pipeline', { requests: [...requests, { type: 'close' }] });
        expect(answer.text).not.toContain('secret of theirs');
        if (!refused) continue;
        const { results } = JSON.parse(answer.text) as { results: Record<string, unknown>[] };
        const last = results.at(-2) as {
          error?: { code: string };
          response?: { result?: { step_errors?: { code: string }[] } };
        };
        const code = last.error?.code ?? last.response?.result?.step_errors?.[0]?.code;
        if (!REFUSALS.includes(String(code)))
          wrong.push([way, sql.slice(0, 80), code, answer.text.slice(0, 200)]);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('that never end are stopped, and delay no one else', async () => {
    const bombs = [
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n',
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT count(*) FROM n a, n b, n c',
      `WITH RECURSIVE n(s) AS (SELECT 'a' UNION ALL SELECT s || s FROM n) SELECT length(s) FROM n`,
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
       SELECT count(*) FROM n WHERE i || '${'a'.repeat(1_000)}' LIKE '${'%a'.repeat(200)}b'`,
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT group_concat(i) FROM n',
    ];
    const stopped = Promise.all(bombs.map(sql => send('/v1/tenants/mine/query', { sql })));
    const admin = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'read' });
    const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
    const other = await send('/v1/tenants/theirs/query', { sql: 'SELECT a FROM t' }, { headers });
    expect(other.text).toContain('secret of theirs');
    for (const answer of await stopped) {
      expect(['READ_TIMEOUT', 'TIMEOUT', 'RESULT_TOO_LARGE']).toContain(answer.code);
    }
  });

  it('cannot tamper with shadow tables of a full-text index', async () => {
    await send('/v1/tenants/mine/script', {
      sql: 'CREATE VIRTUAL TABLE f USING fts5(body); CREATE TABLE u(a)',
    });
    const answer = await send('/v1/tenants/mine/query', { sql: "UPDATE f_data SET block = x'00'" });
    // SQLite lets a tenant damage its own index at most; reading it is then an error, not a crash.
    expect(['ok', WRONG]).toContain(answer.code);
    const read = await send('/v1/tenants/mine/query', { sql: "SELECT * FROM f WHERE f MATCH 'x'" });
    expect(['ok', WRONG, 'DATABASE_CORRUPT']).toContain(read.code);
    expect((await send('/v1/tenants/mine/query', { sql: 'INSERT INTO u VALUES (1)' })).code).toBe('ok');
  });
});

describe('requests', () => {
  it.each<[name: string, path: string, body: string, code: string]>([
    ['deeply nested JSON', '/query', '['.repeat(100_000), 'INVALID_ARGUMENT'],
    ['a huge body', '/query', `"${'x'.repeat(3_100_000)}"`, 'PAYLOAD_TOO_LARGE'],
    [
      '__proto__',
      '/v1/tenants/mine/query',
      '{"sql":"SELECT @a AS a","params":{"__proto__":{"a":1}}}',
      'INVALID_ARGUMENT',
    ],
    ['a huge number', '/v1/tenants/mine/query', '{"sql":"SELECT ?","params":[1e999]}', 'INVALID_VALUE'],
    [
      '100 kB of parameters',
      '/query',
      JSON.stringify({ tenantId: 'mine', query: 'SELECT length(?) AS n', params: ['x'.repeat(100_000)] }),
      'ok',
    ],
    [
      'too many parameters',
      '/v1/tenants/mine/query',
      JSON.stringify({ sql: 'SELECT 1', params: Array(40_000).fill(1) }),
      'STATEMENT_TOO_LARGE',
    ],
    [
      'an absurd deadline',
      '/v1/tenants/mine/query',
      '{"sql":"SELECT 1","timeoutMs":1e12}',
      'INVALID_ARGUMENT',
    ],
  ])('with %s', async (_, path, body, code) => {
    expect((await raw('POST', path, body)).code).toBe(code);
  });

  it('cannot smuggle headers or a second request', async () => {
    const smuggled = await raw('POST', '/query', '{}');
    expect(smuggled.status).toBe(400);
    const response = await fetch(`${gateway.url}/livez`, {
      headers: { 'x-request-id': 'a%0d%0aSet-Cookie: x' },
    });
    expect(response.headers.get('set-cookie')).toBeNull();
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });
});

it('leaves everything as it was', () => {
  expect(look()).toEqual(before);
});
