import { DEFAULT_DB_FILE, DEFAULT_GROUP, tenantQueue } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { Redis } from 'ioredis';
import { Environment, type EnvironmentOptions } from '../environment.ts';
import { openDriver } from '../load/driver.ts';
import { median } from '../report/statistics.ts';
import { connectionsTo, openFilesNamed, residentMibOf } from './process-usage.ts';

/** What Onewriter needs besides time. Memory in MiB unless the name says otherwise. */
export interface Resources {
  /** Broker's connections to Redis after writes to this many tenants. */
  readonly redisConnections: readonly { readonly tenants: number; readonly connections: number }[];
  readonly brokerIdleMib: number;
  /** After a write to each of 2,000 tenants, and how many of them are open then. */
  readonly brokerMib: number;
  readonly openThen: number;
  /** The broker's memory, per tenant that it opened beyond the first ten. */
  readonly kibPerOpenTenant: number;
  /** Tenants that had been written when {@link kibPerOpenTenant} was measured, all open. */
  readonly openTenants: number;
  readonly touchedTenants: number;
  /** First write of a tenant that has no file yet: `CREATE TABLE` as one script. Medians and 95th percentiles. */
  readonly coldFirstWrite: ColdWrites;
  /** The same with the single-pod proxy. */
  readonly coldFirstWriteProxy: ColdWrites;
  /** Redis memory of a write that waits, alone in its job, or with others. */
  readonly redisBytesPerLoneWrite: number;
  readonly redisBytesPerGatheredWrite: number;
  readonly writesPerGatheredJob: number;
}

/** Milliseconds. */
export interface ColdWrites {
  readonly tenants: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
}

const CREATE =
  'CREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL)';
const INSERT = 'INSERT INTO item(owner, title, body) VALUES (?, ?, ?)';
const PARAMS = [1, 'a title', 'forty characters of text in every row...'] as const;
/** As many as both threads of a broker with default settings keep open. */
const OPEN_TENANTS = 500;

/** Measures a broker and a Redis without other users. */
export async function measureResources(
  options: EnvironmentOptions,
  scale: { touchedTenants: number; coldTenants: number },
): Promise<Resources> {
  await using environment = new Environment(options);
  const broker = await environment.broker();
  const redis = await environment.redis('onewriter');
  const dataDir = await environment.folder('onewriter');
  await using onewriter = await connect({ redis: redis.url, dataDir });

  const brokerIdleMib = residentMibOf(broker.pid);
  const redisConnections: { tenants: number; connections: number }[] = [];
  const countConnections = (tenants: number) =>
    redisConnections.push({ tenants, connections: connectionsTo(redis.port, broker.pid) });

  await touch(onewriter, 0, 10);
  countConnections(10);
  const withTenMib = residentMibOf(broker.pid);
  const openTenants = Math.min(OPEN_TENANTS, scale.touchedTenants);
  await touch(onewriter, 10, openTenants);
  const kibPerOpenTenant = ((residentMibOf(broker.pid) - withTenMib) * 1_024) / (openTenants - 10);
  await touch(onewriter, openTenants, scale.touchedTenants);
  countConnections(scale.touchedTenants);
  const brokerMib = residentMibOf(broker.pid);
  const openThen = openFilesNamed(DEFAULT_DB_FILE, broker.pid);

  const coldFirstWrite = await measureColdWrites(scale.coldTenants, tenant =>
    onewriter.tenant(tenant).exec(CREATE),
  );
  const { url } = await environment.proxy();
  const proxy = await openDriver({ kind: 'http', url, connections: 1 });
  const coldFirstWriteProxy = await measureColdWrites(scale.coldTenants, tenant =>
    proxy.script(tenant, [CREATE]),
  );
  await proxy.close();
  return {
    ...{ redisConnections, brokerIdleMib, brokerMib, openThen, kibPerOpenTenant, openTenants },
    ...{ touchedTenants: scale.touchedTenants, coldFirstWrite, coldFirstWriteProxy },
    ...(await measureQueueMemory()),
  };
}

/** Writes to tenants number `from` to `to`, some at a time. */
async function touch(onewriter: Onewriter, from: number, to: number): Promise<void> {
  let next = from;
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      while (next < to) {
        const tenant = onewriter.tenant(`touched-${next++}`);
        await tenant.exec(CREATE);
        await tenant.prepare(INSERT).run(...PARAMS);
      }
    }),
  );
}

async function measureColdWrites(
  count: number,
  write: (tenant: string) => Promise<unknown>,
): Promise<ColdWrites> {
  const latenciesMs: number[] = [];
  for (let index = 0; index < count; index++) {
    const started = performance.now();
    await write(`cold-${index}`);
    latenciesMs.push(performance.now() - started);
  }
  const sorted = latenciesMs.sort((a, b) => a - b);
  return { tenants: count, p50Ms: median(sorted), p95Ms: sorted[Math.floor(count * 0.95)]! };
}

/** Fills the queue of a Redis that has no broker. */
async function measureQueueMemory() {
  await using environment = new Environment();
  const server = await environment.redis('onewriter');
  const redis = new Redis(server.url);
  const onewriter = await connect({ redis: server.url, dataDir: await environment.folder('onewriter') });
  try {
    const usedBytes = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
    const enqueue = (tenant: string) => onewriter.tenant(tenant).enqueue(INSERT, PARAMS);
    // The keys of the queues themselves, and of the client's buffers.
    await enqueue('lone');
    await enqueue('gathered');

    const lone = 500;
    const before = await usedBytes();
    for (let index = 0; index < lone; index++) await enqueue('lone');
    const between = await usedBytes();
    // The first leaves at once, the others gather behind it.
    const gathered = 10_000;
    await Promise.all(Array.from({ length: gathered }, () => enqueue('gathered')));
    const after = await usedBytes();
    const queue = tenantQueue(DEFAULT_GROUP, 'gathered');
    const jobs = await redis.llen(`${queue.prefix}:${queue.name}:wait`);
    return {
      redisBytesPerLoneWrite: (between - before) / lone,
      redisBytesPerGatheredWrite: (after - between) / gathered,
      writesPerGatheredJob: gathered / (jobs - 1),
    };
  } finally {
    await onewriter.close({ timeoutMs: 0 });
    redis.disconnect();
  }
}
