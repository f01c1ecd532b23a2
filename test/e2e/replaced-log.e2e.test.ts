import { rmSync } from 'node:fs';
import { tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack } from '@onewriter/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';

/* The log, or its index, is deleted by hand while a tenant is paused: readers still have it open, and the broker makes another. */

let stack: Stack;
let onewriter: Onewriter;

beforeAll(async () => {
  stack = await startStack();
  onewriter = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
});
afterAll(async () => {
  await onewriter?.close();
  await stack?.stop();
});

async function ask(method: string, path: string, body?: object): Promise<{ readonly rows: { n: number }[] }> {
  const response = await fetch(`${stack.gatewayUrl}/v1/tenants/${path}`, {
    method,
    headers: { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return (await response.json()) as { rows: { n: number }[] };
}

it.each([
  ['index', ['-shm']],
  ['log', ['-wal']],
  ['log and its index', ['-wal', '-shm']],
])('reads see later commits where the %s was deleted while the tenant was paused', async (_, companions) => {
  const tenant = `without${companions.join('')}`;
  const db = onewriter.tenant(tenant);
  await db.exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');
  const COUNT = 'SELECT count(*) AS n FROM t';
  const readers: Record<string, () => Promise<number | undefined>> = {
    SDK: async () =>
      (
        (await db
          .prepare(COUNT)
          .get()
          .catch(() => undefined)) as { n: number } | undefined
      )?.n,
    gateway: async () => (await ask('POST', `${tenant}/query`, { sql: COUNT })).rows?.[0]?.n,
    // A lookup by key, which the gateway does in its own process.
    lookup: async () =>
      (await ask('POST', `${tenant}/query`, { sql: 'SELECT a AS n FROM t WHERE rowid = 3' })).rows?.length,
  };
  for (const read of Object.values(readers)) await read();
  await ask('POST', `${tenant}/pause`);
  const path = tenantFile(stack.dataDir, tenant);
  for (const companion of companions) rmSync(`${path}${companion}`, { force: true });
  await ask('POST', `${tenant}/resume`);
  await db.prepare('INSERT INTO t VALUES (2)').run();
  await db.prepare('INSERT INTO t VALUES (3)').run();
  for (const [name, read] of Object.entries(readers)) {
    await expect.poll(read, { message: name, timeout: 5_000 }).toBe(name === 'lookup' ? 1 : 3);
  }
});
