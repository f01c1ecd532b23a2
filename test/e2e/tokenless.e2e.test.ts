import { request } from 'node:http';
import { startService, TEST_TOKEN_SECRET } from '@onewriter/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './cli-run.ts';
import { type GatewayServices, startGatewayServices } from './services.ts';

/*
 * Clients of existing proxies that send no token. 127.0.0.1 is in a network that needs none; 127.0.0.2, another address of the same
 * machine, is not.
 */

let services: GatewayServices;
beforeAll(async () => {
  services = await startGatewayServices('tokenless', {
    gatewayEnv: { ONEWRITER_DROP_IN_TOKENLESS: '127.0.0.1/32, 10.0.0.0/8' },
  });
});
afterAll(() => services?.stop());

interface Call {
  readonly from?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** A request from an address of this machine. */
function call(path: string, { from = '127.0.0.1', method = 'POST', headers = {}, body }: Call = {}) {
  // biome-ignore lint/suspicious/noExplicitAny: whatever the gateway answers
  return new Promise<{ status: number; body: any }>((resolve, reject) => {
    const sent = request(
      services.gateway.url + path,
      {
        method,
        localAddress: from,
        headers: { 'content-type': 'application/json', ...headers },
        agent: false,
      },
      response => {
        let text = '';
        response.setEncoding('utf8').on('data', piece => {
          text += piece;
        });
        response.on('end', () => resolve({ status: response.statusCode!, body: JSON.parse(text) }));
      },
    );
    sent.setTimeout(10_000, () => sent.destroy(new Error('no answer in 10 s'))).on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const INSERT = { tenantId: 'shop', query: 'INSERT INTO items(name) VALUES (?)', params: ['a'] };

describe('a client without a token', () => {
  it('uses the drop-in routes for all tenants', async () => {
    const queries = [
      { query: 'CREATE TABLE IF NOT EXISTS items(id INTEGER PRIMARY KEY, name TEXT)' },
      INSERT,
    ];
    for (const tenantId of ['shop', 'other']) {
      expect((await call('/transaction', { body: { tenantId, queries } })).status).toBe(200);
      const body = { tenantId, query: 'SELECT name FROM items LIMIT 1' };
      expect((await call('/query', { body })).body).toEqual({ type: 'all', result: [{ name: 'a' }] });
      expect((await call(`/info/${tenantId}`, { method: 'GET' })).body.journalMode).toBe('wal');
    }
  });

  it.each([
    {},
    { 'x-forwarded-for': '127.0.0.1' },
    { forwarded: 'for=127.0.0.1' },
    { 'x-real-ip': '10.0.0.1' },
    { 'cf-connecting-ip': '127.0.0.1', 'true-client-ip': '127.0.0.1', 'x-client-ip': '127.0.0.1' },
  ])('is refused from an address outside, with the headers %j', async headers => {
    for (const [path, method, body] of [
      ['/query', 'POST', INSERT],
      ['/transaction', 'POST', { tenantId: 'shop', queries: [INSERT] }],
      ['/info/shop', 'GET', undefined],
    ] as const) {
      const answer = await call(path, { from: '127.0.0.2', method, headers, body });
      expect([path, answer.status, answer.body.code]).toEqual([path, 401, 'UNAUTHENTICATED']);
    }
  });

  it('is refused where it came through a proxy or from a page', async () => {
    for (const headers of [{ 'x-forwarded-for': '203.0.113.7' }, { origin: 'http://evil.example' }]) {
      expect(
        (await call('/query', { headers: headers as Record<string, string>, body: INSERT })).status,
      ).toBe(401);
    }
  });

  it('gets no other route', async () => {
    for (const [method, path] of [
      ['POST', '/v1/tenants/shop/query'],
      ['GET', '/v1/tenants'],
      ['POST', '/v1/operations'],
      ['DELETE', '/v1/tenants/shop'],
      ['POST', '/t/shop/v2/pipeline'],
      ['GET', '/metrics'],
    ] as const) {
      const { status } = await call(path, { method, body: method === 'POST' ? {} : undefined });
      expect([path, status]).toEqual([path, 401]);
    }
  });

  it('is refused with a token that is not valid', async () => {
    const { status } = await call('/query', { headers: { authorization: 'Bearer x.y.z' }, body: INSERT });
    expect(status).toBe(401);
  });
});

it('is said at the start, and by doctor', async () => {
  expect(services.gateway.logs()).toMatch(/127\.0\.0\.1\/32.*without a token/);
  const env = {
    ONEWRITER_REDIS_URL: services.redis.url,
    ONEWRITER_GATEWAY_URL: services.gateway.url,
    ONEWRITER_TOKEN_SECRET: TEST_TOKEN_SECRET,
  };
  const { stdout } = await runCli(['doctor', '--json', '--data-dir', services.data.path], { env });
  const { diagnoses } = JSON.parse(stdout) as {
    diagnoses: { check: string; level: string; found: string }[];
  };
  expect(diagnoses.find(({ check }) => check === 'tokenless')).toMatchObject({
    level: 'warning',
    found: expect.stringContaining('127.0.0.1/32, 10.0.0.0/8'),
  });
});

it('does not start with a network that is none', async () => {
  await expect(
    startService('gateway', {
      redisUrl: services.redis.url,
      dataDir: services.data.path,
      env: { ONEWRITER_DROP_IN_TOKENLESS: '10.0.0.0/8,elsewhere' },
    }),
  ).rejects.toThrow(/elsewhere/);
});
