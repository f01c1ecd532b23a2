import { type AccessLevel, signToken } from '@onewriter/runtime';
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/* Another thread reads a large body. Its answer must be that of a small one: each body here is sent twice, once with spaces behind it. */

const SPACES = ' '.repeat(70_000);

let redis: TestRedis;
let data: TemporaryDirectory;
let broker: Service;
let gateway: Service;
const tokens = new Map<AccessLevel, string>();

beforeAll(async () => {
  redis = await startRedis();
  data = await temporaryDirectory('body-sizes');
  const settings = { redisUrl: redis.url, dataDir: data.path };
  broker = await startService('broker', settings);
  gateway = await startService('gateway', settings);
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  for (const access of ['read', 'write'] as const)
    tokens.set(access, await signToken(TEST_TOKEN_SECRET, { tenants: ['a'], access }));
  const made = await ask('write', '/v1/tenants/a/script', '{"sql":"CREATE TABLE t(v)"}');
  expect(made.status).toBe(200);
});
afterAll(async () => {
  await gateway?.stop();
  await broker?.stop();
  await redis?.stop();
  await data?.remove();
});

async function ask(access: AccessLevel, path: string, body: string, type = 'application/json') {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens.get(access)}`, 'content-type': type },
    body,
  });
  const text = (await response.text())
    .replace(/"requestId":"[^"]*"/, '')
    .replaceAll(
      /\b(?:w|r)-[\w.-]+|"commitSeq":\d+|"query_duration_ms":[\d.]+|"last_?[iI]nsert_?[rR]owid":"?\d+"?|"baton":"[^"]*"/g,
      '',
    );
  return { status: response.status, text };
}

const INSERT = '"sql":"INSERT INTO t VALUES (?)"';
const SURROGATE = '"\\ud800"';
const stmt = (args: string) => `{"sql":"INSERT INTO t VALUES (?)","args":[${args}]}`;
const many = (statement: string) => `[${Array(5_001).fill(statement).join()}]`;

const BODIES: readonly [path: string, body: string][] = [
  ...[
    `{${INSERT},"params":["x"]}`,
    `{${INSERT},"params":[${SURROGATE}]}`,
    `{${INSERT},"params":[{"x":1}]}`,
    `{${INSERT},"params":["x"],"method":"get"}`,
    '{"sql":"VACUUM"}',
    '{"sql":" ; "}',
    '{"sql":"SELECT 1 AS v"}',
    '{"sql":"NONSENSE"}',
    '{"sql":5}',
    '{',
  ].flatMap(body => ['query', 'enqueue'].map(name => [`/v1/tenants/a/${name}`, body] as [string, string])),
  ...[
    '',
    '-- nothing',
    'DELETE FROM t',
    'DELETE FROM t; COMMIT',
    'PRAGMA foreign_keys=OFF; BEGIN; COMMIT',
  ].map(sql => ['/v1/tenants/a/script', JSON.stringify({ sql })] as [string, string]),
  ...[
    '[]',
    `[{${INSERT},"params":["x"],"expect":{"changes":1}}]`,
    `[{${INSERT},"params":["x"]},{${INSERT},"params":[${SURROGATE}]}]`,
    `[{${INSERT},"params":["x"]},{"sql":"COMMIT"}]`,
    many('{"sql":"SELECT 1"}'),
  ].map(statements => ['/v1/tenants/a/transaction', `{"statements":${statements}}`] as [string, string]),
  ...['INSERT INTO t VALUES (?)', 'VACUUM', ' ; '].map(
    query =>
      ['/query', `{"tenantId":"a","query":${JSON.stringify(query)},"params":[${SURROGATE}]}`] as [
        string,
        string,
      ],
  ),
  ['/query', `{"tenantId":"../a","query":"INSERT INTO t VALUES (?)","params":[${SURROGATE}]}`],
  ['/transaction', `{"tenantId":"a","queries":${many('{"query":"SELECT 1"}')}}`],
  ...[
    `[{"type":"execute","stmt":${stmt('{"type":"text","value":"x"}')}}]`,
    `[{"type":"execute","stmt":${stmt(`{"type":"text","value":${SURROGATE}}`)}}]`,
    `[{"type":"execute","stmt":{"sql":" ; "}},{"type":"execute","stmt":{"sql":"SELECT 1; SELECT 2"}}]`,
    `[{"type":"execute","stmt":{"sql":"ATTACH 'x' AS y"}},{"type":"execute","stmt":{"sql_id":7}}]`,
    `[{"type":"execute","stmt":{}}]`,
    `[{"type":"store_sql","sql_id":1,"sql":"SELECT 1"},{"type":"execute","stmt":{"sql_id":1}},{"type":"describe","sql_id":1}]`,
    `[{"type":"batch","batch":{"steps":[{"condition":{"type":"ok","step":9},"stmt":{"sql":"SELECT 1"}}]}}]`,
    `[{"type":"batch","batch":{"steps":[{"stmt":{"sql":"SELECT 1"}},{"condition":{"type":"error","step":0},"stmt":{"sql":"SELECT 2"}}]}}]`,
    `[{"type":"sequence","sql":"DELETE FROM t; VACUUM"},{"type":"get_autocommit"}]`,
    `[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"null"}],"named_args":[{"name":"a","value":{"type":"null"}}]}}]`,
    `[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"blob","base64":"AQI"}]}},{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"integer","value":"9223372036854775807"}]}}]`,
    '5',
    many('{"type":"close"}'),
  ].map(requests => ['/t/a/v3/pipeline', `{"requests":${requests}}`] as [string, string]),
  ['/t/a/v3/cursor', '{"batch":{"steps":[{"stmt":{"sql":"SELECT 1"}},{"stmt":{"sql":"NONSENSE"}}]}}'],
  ['/t/a/v3/cursor', '{"batch":{"steps":[{"stmt":{"sql":" ; "}}]}}'],
  ['/t/a/v3/pipeline', '{"baton":"x","requests":[]}'],
];

describe('a large body is answered as a small one is', () => {
  it.each(['read', 'write'] as const)('with a token for access %s', async access => {
    for (const [path, body] of BODIES) {
      const small = await ask(access, path, body);
      const large = await ask(access, path, body + SPACES);
      expect(large, `${path} ${body.slice(0, 200)}`).toEqual(small);
    }
  });

  it('in a line of a stream', async () => {
    const lines = [
      `{${INSERT},"params":["x"],"idempotencyKey":"k"}`,
      `{${INSERT},"params":[${SURROGATE}]}`,
      `{${INSERT},"params":[{"x":1}]}`,
      '{"sql":"SELECT 1"}',
      '{"sql":"SELECT ?","params":[{"x":1}]}',
      '{"sql":"VACUUM"}',
      '{"sql":5}',
      '{',
    ];
    const send = (rest: string) =>
      ask(
        'write',
        '/v1/tenants/a/enqueue',
        lines.map(line => `${line}${rest}\n`).join(''),
        'application/x-ndjson',
      );
    const small = await send('');
    expect(small.text.match(/"index"/g)).toHaveLength(lines.length);
    expect(await send(SPACES)).toEqual(small);
  });
});
