import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { signToken } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { startRedis, startService, TEST_TOKEN_SECRET, temporaryDirectory, waitFor } from '@onewriter/testkit';
import { expect, it, onTestFinished } from 'vitest';
import { CannotInject } from '../faults/fault-failure.ts';
import { must, needProgram, needRoot } from '../faults/machine.ts';

/** A folder that its mount calls sshfs: to all processes it is on a network. @throws CannotInject */
async function mountAsNetwork(): Promise<string> {
  needRoot('A FUSE mount');
  await needProgram('bindfs', 'bindfs');
  await needProgram('fusermount3', 'fuse3');
  const place = await temporaryDirectory('network-files');
  onTestFinished(() => place.remove());
  const [files, mounted] = [join(place.path, 'files'), join(place.path, 'mounted')];
  mkdirSync(files);
  mkdirSync(mounted);
  await must('bindfs', '-o', 'subtype=sshfs', files, mounted);
  onTestFinished(async () => void (await must('fusermount3', '-u', mounted)));
  return mounted;
}

it('on a network file system apps and the gateway read through the broker, and say why', async ctx => {
  const dataDir = await mountAsNetwork().catch((error: unknown) => {
    if (error instanceof CannotInject) return ctx.skip(error.message);
    throw error;
  });
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  const start = async (name: 'broker' | 'gateway') => {
    const service = await startService(name, { redisUrl: redis.url, dataDir });
    onTestFinished(async () => void (await service.stop()));
    return service;
  };
  await start('broker');
  const gateway = await start('gateway');
  expect(gateway.logs()).toMatch(/network file system, where only the broker may open files/);
  const said: string[] = [];
  const logger = { warn: (_: object, message: string) => said.push(message), error: () => {} };
  const client = await connect({ redis: redis.url, dataDir, logger });
  onTestFinished(() => client.close());
  expect(client.readRoute).toBe('owner');
  expect(said).toEqual([expect.stringMatching(/is on fuse\.sshfs, .* reading through the owner$/)]);
  await waitFor(async () => (await fetch(`${gateway.url}/health`)).status === 200, {
    what: 'a leading broker',
  });
  const db = client.tenant('acme');
  await db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')");
  const select = 'SELECT v FROM t ORDER BY id';
  expect(await db.prepare(select).all()).toEqual([{ v: 'one' }]);
  const token = await signToken(TEST_TOKEN_SECRET, { tenants: '*', access: 'read' });
  const response = await fetch(`${gateway.url}/v1/tenants/acme/query`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ sql: select }),
  });
  expect([response.status, await response.json()]).toMatchObject([200, { rows: [{ v: 'one' }] }]);
});
