import { FinishedJobs, RedisLink } from '@onewriter/broker';
import { DEFAULT_GROUP, tenantQueue } from '@onewriter/protocol';
import { createLogger } from '@onewriter/runtime';
import { connect } from '@onewriter/sdk';
import { waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import { Environment } from './environment.ts';

/*
 * What tenants cost Redis that have written and are idle: `node bench/dist/idle-tenants.js [tenants] [writes of each]`, after
 * `npx tsc -p bench`, in test/. A real broker and real writes; only the ten minutes for which finished jobs are kept are not
 * waited for.
 */

const PARALLEL = 64;
/** LIMITS.keepFinishedMs is a bound for people, not part of what is measured. */
const KEEP_MS = 0;

const tenants = Number(process.argv[2] ?? 10_000);
const writes = Number(process.argv[3] ?? 30);

await using environment = new Environment({ mains: { broker: undefined, gateway: undefined } });
await environment.broker();
const server = await environment.redis('onewriter');
await using onewriter = await connect({ redis: server.url, dataDir: await environment.folder('onewriter') });
const redis = new Redis(server.url);
const usedBytes = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))![1]);

async function writeTo(index: number): Promise<void> {
  const db = onewriter.tenant(`idle-${index}`);
  await db.exec('CREATE TABLE item(id INTEGER PRIMARY KEY, body TEXT NOT NULL)');
  const insert = db.prepare('INSERT INTO item(body) VALUES (?)');
  // One job each.
  for (let n = 1; n < writes; n++) await insert.run('forty characters of text in every row...');
}

// What comes once, with the first tenant, is not of the tenants.
await writeTo(tenants);
const before = await usedBytes();
let next = 0;
await Promise.all(
  Array.from({ length: PARALLEL }, async () => {
    while (next < tenants) await writeTo(next++);
  }),
);
const written = await usedBytes();

const link = new RedisLink({ url: server.url, log: createLogger('bench', 'warn'), name: 'bench' });
const walk = new FinishedJobs(link, DEFAULT_GROUP, createLogger('bench', 'warn'), KEEP_MS);
const walking = walk.run(100);
const hasFinished = async () => {
  for (let index = 0; index < tenants; index += 500) {
    const pipeline = redis.pipeline();
    for (let each = index; each < Math.min(index + 500, tenants); each++) {
      const { prefix, name } = tenantQueue(DEFAULT_GROUP, `idle-${each}`);
      pipeline.exists(`${prefix}:${name}:completed`);
    }
    if ((await pipeline.exec())!.some(([, count]) => count !== 0)) return true;
  }
  return false;
};
await waitFor(async () => !(await hasFinished()), { timeoutMs: 60_000, intervalMs: 200, what: 'the walk' });
walk.stop();
await walking;
link.close();
const idle = await usedBytes();
const { prefix, name } = tenantQueue(DEFAULT_GROUP, 'idle-0');
const keys = await redis.keys(`${prefix}:*`);
redis.disconnect();

const perTenant = (bytes: number) => `${((bytes - before) / tenants / 1_000).toFixed(2)} kB`;
process.stdout.write(
  `${tenants} tenants, ${writes} writes each: ${perTenant(written)} a tenant when written, ${perTenant(idle)} when idle, ` +
    `in ${keys.length} keys (${keys.map(key => key.slice(`${prefix}:${name}:`.length)).join(', ')})\n`,
);
