import { type BrokerStatus, findStatusProblems } from '@onewriter/protocol';
import { readGroupStatus } from '@onewriter/runtime';
import { connect, OnewriterError } from '@onewriter/sdk';
import { startStack, waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';

const ENDLESS =
  'INSERT INTO t(n) WITH RECURSIVE c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c) SELECT i FROM c WHERE i < 0';
const codeOf = (error: unknown) => (error instanceof OnewriterError ? error.code : String(error));

it('writes of many tenants have the broker replaced so often; then new tenants cost the others nothing, and people see it', async () => {
  const env = { ONEWRITER_STATEMENT_TIMEOUT_MS: '2500', ONEWRITER_OFFENCE_LIMIT: '2' };
  const stack = await startStack({ env });
  onTestFinished(async () => void (await stack.stop()));
  const client = await connect({ redis: stack.redisUrl, dataDir: stack.dataDir });
  onTestFinished(() => client.close({ timeoutMs: 1_000 }));
  const redis = new Redis(stack.redisUrl);
  onTestFinished(() => redis.disconnect());
  const create = (tenant: string) => client.tenant(tenant).exec('CREATE TABLE t(n INTEGER PRIMARY KEY)');
  const sendEndless = (tenant: string) =>
    client.tenant(tenant).prepare(ENDLESS, { timeoutMs: 30_000 }).run().catch(codeOf);
  const replaced = () => stack.logs().split('broker ended to be replaced').length - 1;
  const statusWhere = (isSo: (status: BrokerStatus) => boolean, what: string) =>
    waitFor(
      async () => {
        const group = await readGroupStatus(redis, 'default');
        return group.status !== undefined && isSo(group.status) ? group : undefined;
      },
      { timeoutMs: 30_000, what },
    );
  for (const tenant of ['first', 'second', 'honest']) await create(tenant);

  expect(await sendEndless('first')).toBe('STATEMENT_TIMEOUT');
  expect(await sendEndless('second')).toBe('STATEMENT_TIMEOUT');
  expect(replaced()).toBe(2);
  const spent = await statusWhere(({ apart }) => (apart?.spentForMs ?? 0) > 0, 'the budget to be spent');
  expect(spent.status?.apart).toMatchObject({ replacements: 2, restarts: 0 });
  expect(findStatusProblems(spent).map(({ alert }) => alert)).toContain('OnewriterTooManyReplacements');

  await create('new');
  const endless = sendEndless('new');
  await statusWhere(({ apart }) => apart?.tenant === 'new', 'its write in the process apart');
  // Others do not wait for it.
  await client.tenant('honest').prepare('INSERT INTO t(n) VALUES (1)').run();
  expect(await endless).toBe('STATEMENT_TIMEOUT');
  await statusWhere(({ apart }) => apart?.restarts === 1, 'the end of that process');
  expect(replaced()).toBe(2);
});
