import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isHibernated, tenantFile } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { type Stack, startStack, temporaryDirectory } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';
import { parseJson, runCli } from './cli-run.ts';

/* Hibernation where a broker was restarted, and where the machine is lost. */

async function setUp() {
  const folder = await temporaryDirectory('hibernate-machines');
  onTestFinished(() => folder.remove());
  const [store, dataDir] = [join(folder.path, 'store'), join(folder.path, 'data')];
  mkdirSync(store);
  const env = { ONEWRITER_REPLICA_URL: `file://${store}` };
  const start = async () => {
    const stack = await startStack({ dataDir, env });
    onTestFinished(async () => void (await stack.stop()));
    return stack;
  };
  const cli = async (...args: string[]) =>
    parseJson(await runCli([...args, '--json', '--data-dir', dataDir], { env }));
  return { dataDir, url: env.ONEWRITER_REPLICA_URL, start, cli };
}

async function connectTo({ redisUrl, dataDir }: Stack): Promise<Onewriter> {
  const client = await connect({ redis: redisUrl, dataDir });
  onTestFinished(() => client.close({ timeoutMs: 100 }));
  return client;
}

const rowsOf = (client: Onewriter, tenant: string) =>
  client.tenant(tenant).prepare<[], { v: string }>('SELECT v FROM t ORDER BY id').all();

it('hibernates a tenant whose log a broker left when it ended, and continues its history', async () => {
  const { dataDir, start, cli } = await setUp();
  const stack = await start();
  const client = await connectTo(stack);
  await client
    .tenant('acme')
    .exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES ('one')");
  await client.close();
  await stack.stop();
  const file = tenantFile(dataDir, 'acme', 'tenant.db');
  expect(statSync(`${file}-wal`).size).toBeGreaterThan(0);
  const again = await connectTo(await start());
  expect(await cli('hibernate', 'acme')).toMatchObject([{ state: 'hibernated', error: null }]);
  expect([existsSync(file), isHibernated(dataDir, 'acme')]).toEqual([false, true]);
  const { commitSeq } = await again.tenant('acme').exec("INSERT INTO t(v) VALUES ('two')", {
    durable: 'replica',
  });
  expect(await rowsOf(again, 'acme')).toEqual([{ v: 'one' }, { v: 'two' }]);
  expect(await cli('replica', 'verify', 'acme')).toMatchObject([{ ok: true, commitSeq, sameAsFile: true }]);
  expect(await cli('replica', 'status')).toMatchObject({ gaps: 0 });
}, 120_000);

it('has all tenants at once on a new machine, and fetches each when it is used', async () => {
  const { dataDir, url, start, cli } = await setUp();
  const stack = await start();
  const client = await connectTo(stack);
  const tenants = ['acme', 'bank', 'corp'];
  for (const tenant of tenants) {
    const script = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES ('${tenant}')`;
    await client.tenant(tenant).exec(script, { durable: 'replica' });
  }
  await client.close();
  await stack.kill();
  rmSync(dataDir, { recursive: true });

  const restored = await cli('restore', '--all', '--hibernated', '--from', url);
  expect(restored).toMatchObject({ restored: [], failed: [], present: [] });
  expect(restored.hibernated.map(({ tenant }: { tenant: string }) => tenant).sort()).toEqual(tenants);
  const again = await connectTo(await start());
  // A write to one, a read of another, and a third that nothing needs.
  await again.tenant('acme').exec("INSERT INTO t(v) VALUES ('more')", { durable: 'replica' });
  expect(await rowsOf(again, 'acme')).toEqual([{ v: 'acme' }, { v: 'more' }]);
  expect(await rowsOf(again, 'bank')).toEqual([{ v: 'bank' }]);
  expect(readdirSync(join(dataDir, 'hibernated'))).toEqual(['corp']);
  // One that nothing has needed is in the replica as it was.
  expect(await cli('replica', 'verify', 'corp')).toMatchObject([{ ok: true }]);
}, 120_000);
