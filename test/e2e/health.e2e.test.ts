import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tenantFile } from '@onewriter/protocol';
import { signToken } from '@onewriter/runtime';
import {
  type Service,
  type SpawnedProcess,
  spawnProcess,
  startRedis,
  startService,
  TEST_TOKEN_SECRET,
  type TemporaryDirectory,
  type TestRedis,
  temporaryDirectory,
  waitFor,
  withoutSettings,
} from '@onewriter/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';

const KANBAN_MAIN = fileURLToPath(new URL('../../apps/kanban/dist/main.js', import.meta.url));

/** Each process's answer to `GET /readyz`. */
interface Readiness {
  readonly httpStatus: number;
  readonly status: string;
  readonly state?: string;
  readonly reasons: readonly string[];
  readonly checks: Readonly<Record<string, string>>;
}

let redis: TestRedis;
let data: TemporaryDirectory;
const services: Record<string, { readonly url: string; readonly process: SpawnedProcess }> = {};

beforeAll(async () => {
  [redis, data] = await Promise.all([startRedis(), temporaryDirectory('health')]);
  await start('leader', 'broker');
  await Promise.all([
    start('standby', 'broker'),
    start('gateway', 'gateway'),
    start('dashboard', 'dashboard'),
  ]);
  const kanban = await spawnProcess(process.execPath, [KANBAN_MAIN], {
    ipc: true,
    env: {
      ...withoutSettings(),
      ONEWRITER_REDIS_URL: redis.url,
      ONEWRITER_DATA_DIR: data.path,
      KANBAN_PORT: '0',
    },
  });
  await waitFor(() => kanban.messages.length > 0, { timeoutMs: 30_000, what: 'the kanban' });
  const { port } = kanban.messages[0] as { port: number };
  services['kanban'] = { url: `http://127.0.0.1:${port}`, process: kanban };
});

afterAll(async () => {
  redis.kill('SIGCONT');
  await Promise.all(Object.values(services).map(({ process }) => process.stop()));
  await redis.stop();
  await data.remove();
});

async function start(label: string, name: 'broker' | 'gateway' | 'dashboard'): Promise<void> {
  const service: Service = await startService(name, { redisUrl: redis.url, dataDir: data.path });
  services[label] = { url: service.url, process: service };
}

async function readinessOf(label: string): Promise<Readiness> {
  const response = await fetch(`${services[label]!.url}/readyz`, { signal: AbortSignal.timeout(10_000) });
  return { httpStatus: response.status, ...((await response.json()) as Omit<Readiness, 'httpStatus'>) };
}

async function untilReady(ready: boolean, timeoutMs = 30_000): Promise<Record<string, Readiness>> {
  return waitFor(
    async () => {
      const found: Record<string, Readiness> = {};
      for (const label of Object.keys(services)) found[label] = await readinessOf(label);
      return Object.values(found).every(({ status }) => (status === 'ready') === ready) ? found : undefined;
    },
    { timeoutMs, what: `every process to be ${ready ? 'ready' : 'not ready'}` },
  );
}

it('every process says what it looked at; brokers say who leads and who stands by', async () => {
  const found = await untilReady(true);
  expect(found).toEqual({
    leader: expect.objectContaining({
      httpStatus: 200,
      state: 'leading',
      reasons: [],
      checks: { state: 'ok', redis: 'ok', lease: 'ok', secondRedis: 'ok', dataDir: 'ok' },
    }),
    standby: expect.objectContaining({
      httpStatus: 200,
      state: 'standby',
      checks: { state: 'ok', redis: 'ok', lease: 'ok', secondRedis: 'ok', dataDir: 'ok' },
    }),
    gateway: {
      httpStatus: 200,
      status: 'ready',
      reasons: [],
      checks: { draining: 'ok', redis: 'ok', broker: 'ok', dataDir: 'ok' },
    },
    dashboard: { httpStatus: 200, status: 'ready', reasons: [], checks: { draining: 'ok', redis: 'ok' } },
    kanban: { httpStatus: 200, status: 'ready', reasons: [], checks: { draining: 'ok', redis: 'ok' } },
  });
});

it('a Redis that is silent shows in every process, and none of them is restarted for it', async () => {
  const acme = tenantFile(data.path, 'acme');
  await mkdir(dirname(acme), { recursive: true });
  await writeFile(acme, '');
  redis.kill('SIGSTOP');
  const found = await untilReady(false);
  for (const label of ['gateway', 'dashboard', 'kanban']) {
    expect(found[label]).toMatchObject({
      httpStatus: 503,
      reasons: [expect.stringContaining('Redis does not answer')],
      checks: { redis: expect.stringContaining('Redis does not answer') },
    });
  }
  // A connection that is only silent has not ended: the lease decides.
  expect(found['leader']?.checks['lease']).toMatch(/could not be renewed|^ok$/);
  expect(found['leader']?.reasons.join()).toMatch(/lease could not be renewed|Redis does not answer/);
  expect(found['standby']?.reasons.join()).toMatch(/lease could not be read|Redis does not answer/);
  for (const { url } of Object.values(services)) expect((await fetch(`${url}/livez`)).status).toBe(200);

  // What has to ask Redis says that it is away, and does nothing.
  const authorization = `Bearer ${await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'admin' })}`;
  const asked = [
    'GET /v1/tenants',
    'GET /v1/tenants/acme',
    'GET /v1/audit',
    'POST /v1/tenants/acme/pause',
    'DELETE /v1/tenants/acme',
  ].map(async request => {
    const [method, path] = request.split(' ') as [string, string];
    const headers = { authorization, 'confirm-delete': 'acme' };
    const response = await fetch(services['gateway']!.url + path, { method, headers });
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    return [request, response.status, response.headers.get('retry-after'), error.code, error.message];
  });
  for (const answer of await Promise.all(asked)) {
    const message = expect.stringContaining('Redis does not answer');
    expect(answer).toEqual([answer[0], 503, '1', 'QUEUE_UNAVAILABLE', message]);
  }
  expect(existsSync(acme)).toBe(true);
  redis.kill('SIGCONT');
  // The lease ran out meanwhile: where the standby was the first to take it, the old leader ends and is started again.
  await waitFor(
    async () => {
      for (const label of ['leader', 'standby']) {
        const { child } = services[label]!.process;
        if (child.exitCode !== null || child.signalCode !== null) await start(label, 'broker');
      }
      await untilReady(true, 1_000);
      return true;
    },
    { timeoutMs: 60_000, what: 'every process to be ready again' },
  );
});

it('a data directory that is gone shows where it is needed', async () => {
  const away = `${data.path}-away`;
  await rename(data.path, away);
  try {
    for (const label of ['leader', 'standby', 'gateway']) {
      expect((await readinessOf(label)).checks['dataDir']).toBe(
        `The data directory ${data.path} does not exist.`,
      );
    }
  } finally {
    await rename(away, join(data.path));
  }
  await untilReady(true);
});

it('a gateway without a broker says so', async () => {
  await Promise.all([services['leader']!.process.stop(), services['standby']!.process.stop()]);
  const found = await waitFor(
    async () => {
      const gateway = await readinessOf('gateway');
      return gateway.status === 'not ready' ? gateway : undefined;
    },
    { what: 'the gateway to notice' },
  );
  expect(found).toEqual({
    httpStatus: 503,
    status: 'not ready',
    reasons: ['No broker leads: writes wait in the queue.'],
    checks: {
      draining: 'ok',
      redis: 'ok',
      broker: 'No broker leads: writes wait in the queue.',
      dataDir: 'ok',
    },
  });
});
