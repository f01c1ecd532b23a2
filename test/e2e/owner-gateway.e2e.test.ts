import { expect, it, onTestFinished } from 'vitest';
import { type GatewayServices, startGatewayServices } from './services.ts';

async function start(): Promise<GatewayServices> {
  const services = await startGatewayServices('owner-gateway', {
    gatewayEnv: { ONEWRITER_GATEWAY_READS: 'owner' },
  });
  onTestFinished(() => services.stop());
  return services;
}

it('a gateway that may not open files reads through their owner', async () => {
  const { gateway, token, client, remote } = await start();
  const db = client.tenant('acme');
  await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one'), (2, NULL)");
  const post = async (path: string, body: object, headers: Record<string, string> = {}) => {
    const response = await fetch(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { ...headers, authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };
  const query = '/v1/tenants/acme/query';
  expect(await post(query, { sql: 'SELECT id, v FROM t WHERE id = ?', params: [1] })).toMatchObject({
    status: 200,
    body: { rows: [{ id: 1, v: 'one' }] },
  });
  expect(
    await post('/query', { tenantId: 'acme', query: 'SELECT v FROM t ORDER BY id', params: [] }),
  ).toMatchObject({
    status: 200,
    body: { result: [{ v: 'one' }, { v: null }] },
  });
  const { commitSeq } = await db.prepare("UPDATE t SET v = 'two' WHERE id = 2").run();
  const after = { 'if-commit-seq-at-least': String(commitSeq) };
  expect(await post(query, { sql: 'SELECT v FROM t WHERE id = 2' }, after)).toMatchObject({
    status: 200,
    body: { rows: [{ v: 'two' }] },
  });
  expect(await post(query, { sql: 'SELECT count(*) FROM t a, t b' })).toMatchObject({
    status: 413,
    body: { error: { code: 'READ_TOO_COSTLY' } },
  });
  const requests = [{ type: 'execute', stmt: { sql: 'SELECT v FROM t WHERE id = 2' } }, { type: 'close' }];
  expect(await post('/t/acme/v3/pipeline', { requests })).toMatchObject({
    status: 200,
    body: { results: [{ response: { result: { rows: [[{ value: 'two' }]] } } }, { type: 'ok' }] },
  });
  const schema = await fetch(`${gateway.url}/v1/tenants/acme/schema`, {
    headers: { authorization: `Bearer ${token}` },
  });
  expect(await schema.json()).toMatchObject({
    tables: [{ name: 't', error: null, columns: [{ name: 'id' }, { name: 'v' }] }],
  });
  expect(await remote.tenant('acme').prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 2 });
});
