import { signToken } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { startRedis, startService, TEST_TOKEN_SECRET, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';

/* A tenant whose queue has as many bytes as it may have, through every door. */

const MAX_QUEUE_BYTES = 50_000;
const INSERT = 'INSERT INTO t(body) VALUES (?)';
const BODY = 'x'.repeat(2_000);

it('whose queue is full refuses writes through every API, and accepts them when a broker works', async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const data = await temporaryDirectory('full-queue');
  onTestFinished(() => data.remove());
  const place = { redisUrl: redis.url, dataDir: data.path };
  const broker = await startService('broker', place);
  const gateway = await startService('gateway', {
    ...place,
    env: { ONEWRITER_MAX_QUEUE_BYTES: String(MAX_QUEUE_BYTES) },
  });
  onTestFinished(async () => void (await gateway.stop()));
  const onewriter = await connect({ redis: redis.url, dataDir: data.path, maxQueueBytes: MAX_QUEUE_BYTES });
  onTestFinished(() => onewriter.close({ timeoutMs: 1_000 }));
  for (const tenant of ['full', 'other']) {
    await onewriter.tenant(tenant).exec('CREATE TABLE t(body TEXT NOT NULL)');
  }
  await broker.stop();

  const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' });
  const ask = async (path: string, body: unknown) => {
    const answer = await fetch(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: answer.status, text: await answer.text() };
  };
  const fill = async () => {
    for (let sent = 0; ; sent++) {
      try {
        await onewriter.tenant('full').enqueue(INSERT, [BODY]);
      } catch (error) {
        return { sent, error: error as { code: string; details: { retryAfterMs?: number } } };
      }
    }
  };
  const { sent, error } = await fill();
  expect(sent).toBeGreaterThan(10);
  expect(error).toMatchObject({ code: 'TENANT_OVERLOADED', details: { retryAfterMs: expect.any(Number) } });

  const statement = { sql: INSERT, params: [BODY] };
  const args = [{ type: 'text', value: BODY }];
  const execute = { type: 'execute', stmt: { sql: INSERT, args } };
  const doors: Record<string, readonly [path: string, body: unknown]> = {
    enqueue: ['/v1/tenants/full/enqueue', statement],
    query: ['/v1/tenants/full/query', statement],
    transaction: ['/v1/tenants/full/transaction', { statements: [statement, statement] }],
    'drop-in query': ['/query', { tenantId: 'full', query: INSERT, params: [BODY] }],
    'drop-in transaction': [
      '/transaction',
      { tenantId: 'full', queries: [{ query: INSERT, params: [BODY] }] },
    ],
    'libSQL execute': ['/t/full/v2/pipeline', { requests: [execute, { type: 'close' }] }],
    'libSQL batch': [
      '/t/full/v2/pipeline',
      {
        requests: [{ type: 'batch', batch: { steps: [{ stmt: { sql: INSERT, args } }] } }, { type: 'close' }],
      },
    ],
    'libSQL interactive': [
      '/t/full/v2/pipeline',
      { requests: [{ type: 'execute', stmt: { sql: 'BEGIN IMMEDIATE' } }, execute, { type: 'close' }] },
    ],
  };
  for (const [door, [path, body]] of Object.entries(doors)) {
    const { status, text } = await ask(path, body);
    expect([door, text]).toEqual([door, expect.stringContaining('TENANT_OVERLOADED')]);
    if (!path.startsWith('/t/')) expect([door, status]).toEqual([door, 429]);
  }
  expect((await ask('/v1/tenants/other/enqueue', statement)).status).toBe(202);

  // An import waits for room.
  const rows = Array.from({ length: 20 }, () => JSON.stringify({ body: BODY })).join('\n');
  const importing = fetch(`${gateway.url}/v1/tenants/full/import?table=t`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/x-ndjson' },
    body: rows,
  });
  const again = await startService('broker', place);
  onTestFinished(async () => void (await again.stop()));
  // It answers as it goes, and has the last line when all rows are in.
  const lines = (await (await importing).text()).trim().split('\n');
  expect(JSON.parse(lines.at(-1)!)).toMatchObject({ event: 'done', rows: 20, accepted: 20 });
  await waitFor(() => onewriter.tenant('full').prepare(INSERT).run(BODY));
  const count = await onewriter.tenant('full').prepare('SELECT count(*) AS n FROM t').get();
  expect(count).toEqual({ n: sent + 20 + 1 });
});
