import { readdirSync } from 'node:fs';
import { DEFAULT_DB_FILE } from '@onewriter/protocol';
import { connect, type Onewriter } from '@onewriter/sdk';
import { waitFor } from '@onewriter/testkit';
import { Redis } from 'ioredis';
import type { Environment } from '../environment.ts';
import { cpuSecondsOf, openFilesNamed, residentMibOf } from '../measure/process-usage.ts';
import { INSERT_ITEM, WORKLOADS } from '../workloads.ts';
import { measureLoad, startLoad } from './measure-load.ts';
import { type ScaleContext, type ScalePart, type ScaleResult, stepsUpTo } from './scale-part.ts';

/** Each writes to one tenant of its own, so that as many are open at every step: what grows is what is there besides. */
const CALLERS = 64;
const STEPS = [100, 1_000, 5_000];
const CREATE_CONCURRENCY = 32;
/** Writes that wait for each tenant in a backlog. */
const BACKLOG_WRITES = 4;
const DRAIN_TIMEOUT_MS = 600_000;

/** From a hundred tenants to twenty thousand: a write of one, the tenant itself, and a write out of a backlog of all. */
export const scaleTenants: ScalePart = {
  id: 'tenants',
  title: 'Tenants',
  async measure({ environment, limits, say }: ScaleContext): Promise<ScaleResult> {
    const server = await environment.redis('onewriter');
    const dataDir = await environment.folder('onewriter');
    const redis = new Redis(server.url);
    const onewriter = await connect({ redis: server.url, dataDir, writeTimeoutMs: DRAIN_TIMEOUT_MS });
    const write: Point[] = [];
    const backlog: Point[] = [];
    const create: Point[] = [];
    const first: Point[] = [];
    const latency: Point[] = [];
    const facts: Record<string, number> = {};
    try {
      const usedBytes = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
      const startSeconds = cpuSecondsOf((await environment.broker()).pid);
      facts['brokerIdleMib'] = residentMibOf((await environment.broker()).pid);
      // The code is compiled, and Redis has its scripts.
      await createTenants(onewriter, 0, CALLERS);
      let made = CALLERS;
      for (const tenants of stepsUpTo(limits.maxTenants, STEPS, limits.lastStepOnly)) {
        const broker = await environment.broker();
        const before = {
          mib: residentMibOf(broker.pid),
          open: openTenants(broker.pid),
          fds: fdsOf(broker.pid),
        };
        const [cpuBefore, redisBefore, count] = [cpuSecondsOf(broker.pid), await usedBytes(), tenants - made];
        await createTenants(onewriter, made, tenants);
        create.push({ x: tenants, y: ((cpuSecondsOf(broker.pid) - cpuBefore) * 1_000_000) / count });
        facts['redisBytesPerTenant'] = ((await usedBytes()) - redisBefore) / count;
        const opened = openTenants(broker.pid) - before.open;
        if (opened > CALLERS / 2 && facts['fdsPerOpenTenant'] === undefined) {
          facts['kibPerOpenTenant'] = ((residentMibOf(broker.pid) - before.mib) * 1_024) / opened;
          facts['fdsPerOpenTenant'] = (fdsOf(broker.pid) - before.fds) / opened;
        }
        made = tenants;
        say(`${tenants} tenants are there`);

        let byRole = '';
        const load = await startLoad({
          driver: { kind: 'sdk', redisUrl: server.url, dataDir },
          ...{ workload: 'insert', callers: CALLERS, choice: 'own' },
          tenants: Array.from({ length: CALLERS }, (_, index) => `written-${tenants}-${index}`),
        });
        try {
          const pids = { broker: broker.pid, redis: server.pid() };
          const figures = await measureLoad(load, pids, limits);
          write.push({ x: tenants, y: figures.allCpuUs });
          byRole = Object.entries(figures.cpuUs)
            .map(([role, us]) => `${role} ${round(us)}`)
            .join(', ');
          latency.push({ x: tenants, y: figures.p50Ms });
          facts['brokerUsPerWrite'] = figures.cpuUs['broker']!;
          facts['writesPerSecond'] = figures.perSecond;
        } finally {
          await load.close();
        }
        facts['brokerMib'] = residentMibOf(broker.pid);
        facts['tenants'] = tenants;

        const drained = await drainBacklog(environment, onewriter, tenants, startSeconds);
        backlog.push({ x: tenants, y: drained.cpuUs });
        first.push({ x: tenants, y: drained.firstMs });
        facts['backlogWritesPerSecond'] = drained.perSecond;
        facts['redisBytesPerBacklogWrite'] = drained.redisBytes;
        say(
          `${tenants} tenants: a write ${round(write.at(-1)!.y)} µs of CPU (${byRole}), ` +
            `a new tenant ${round(create.at(-1)!.y)}, out of a backlog ${round(drained.cpuUs)}, ` +
            `the first write beside it after ${round(drained.firstMs)} ms`,
        );
      }
    } finally {
      redis.disconnect();
      await onewriter.close({ timeoutMs: 0 });
    }
    return {
      facts,
      curves: [
        {
          ...{
            id: 'tenants-cpu',
            title: 'CPU by the number of tenants',
            xLabel: 'tenants',
            yLabel: 'CPU µs',
          },
          lines: [
            { label: `a write (${CALLERS} callers)`, points: write, isFlat: true },
            { label: 'a new tenant (broker)', points: create, isFlat: true },
            {
              label: 'a write of a backlog (broker)',
              ...{ points: backlog, isFlat: true },
              why: 'each tenant is opened, and SQLite looks for a file in a list of all that are open (ADR 0036)',
            },
          ],
        },
        {
          ...{
            id: 'tenants-latency',
            title: 'Latency by the number of tenants',
            xLabel: 'tenants',
            yLabel: 'ms',
          },
          lines: [
            { label: `a write, p50 (${CALLERS} callers)`, points: latency, isFlat: false },
            { label: 'first write beside a backlog of all', points: first, isFlat: false },
          ],
        },
      ],
    };
  },
};

interface Point {
  readonly x: number;
  readonly y: number;
}

function nameOf(index: number): string {
  return `scale-${index}`;
}

/** Tenants number `from` to `to`, each with its table. */
async function createTenants(onewriter: Onewriter, from: number, to: number): Promise<void> {
  const schema = WORKLOADS.insert.schema.sqlite.join(';\n');
  let next = from;
  await Promise.all(
    Array.from({ length: CREATE_CONCURRENCY }, async () => {
      while (next < to) await onewriter.tenant(nameOf(next++)).exec(schema);
    }),
  );
}

/**
 * Writes wait for all tenants when a broker starts.
 * @param startSeconds CPU that a broker has used when it has started, which is not of its writes
 * @returns CPU of the new broker for a write of them; when a tenant without any got its first answer
 */
async function drainBacklog(
  environment: Environment,
  onewriter: Onewriter,
  tenants: number,
  startSeconds: number,
): Promise<{ cpuUs: number; perSecond: number; firstMs: number; redisBytes: number }> {
  const server = await environment.redis('onewriter');
  const redis = new Redis(server.url);
  try {
    await environment.stopBroker();
    const usedBytes = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
    const bytesBefore = await usedBytes();
    let next = 0;
    await Promise.all(
      Array.from({ length: CREATE_CONCURRENCY }, async () => {
        for (let index = next++; index < tenants; index = next++) {
          const tenant = onewriter.tenant(nameOf(index));
          for (let write = 0; write < BACKLOG_WRITES; write++) {
            await tenant.enqueue(INSERT_ITEM, [write, `item ${write}`, 'a row of a backlog']);
          }
        }
      }),
    );
    const writes = tenants * BACKLOG_WRITES;
    const redisBytes = ((await usedBytes()) - bytesBefore) / writes;
    const broker = await environment.broker();
    const started = performance.now();
    const beside = onewriter.tenant(`beside-${tenants}`).exec(WORKLOADS.insert.schema.sqlite.join(';\n'));
    const firstMs = beside.then(() => performance.now() - started);
    const committed = async () => {
      const text = await (await fetch(`${broker.url}/metrics`)).text();
      return Number(/^onewriter_writes_total\{[^}]*result="committed"[^}]*\} (\d+)/m.exec(text)?.[1]);
    };
    // One more is the write beside them.
    await waitFor(async () => (await committed()) > writes, {
      ...{ timeoutMs: DRAIN_TIMEOUT_MS, intervalMs: 50, what: `${writes} writes of a backlog` },
    });
    const seconds = (performance.now() - started) / 1_000;
    return {
      cpuUs: ((cpuSecondsOf(broker.pid) - startSeconds) * 1_000_000) / writes,
      perSecond: writes / seconds,
      firstMs: await firstMs,
      redisBytes,
    };
  } finally {
    redis.disconnect();
  }
}

function openTenants(pid: number): number {
  return openFilesNamed(DEFAULT_DB_FILE, pid);
}

function fdsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function round(value: number): string {
  return value < 100 ? value.toPrecision(2) : value.toFixed(0);
}
