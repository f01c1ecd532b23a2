import { connectionsTo, residentMibOf } from '../measure/process-usage.ts';
import { measureLoad, startLoad } from './measure-load.ts';
import type { ScaleContext, ScalePart, ScaleResult } from './scale-part.ts';

const CLIENTS = [1, 10, 50, 200];
/** Tenants, each with one caller: as many writes under way, whatever the number of clients. */
const TENANTS = 200;

/** From one SDK client to two hundred, as many app processes have, for the same callers and tenants. */
export const scaleClients: ScalePart = {
  id: 'clients',
  title: 'Clients',
  async measure({ environment, limits, say }: ScaleContext): Promise<ScaleResult> {
    const [server, broker] = [await environment.redis('onewriter'), await environment.broker()];
    const dataDir = await environment.folder('onewriter');
    const servers: { x: number; y: number }[] = [];
    const all: { x: number; y: number }[] = [];
    const facts: Record<string, number> = {};
    for (const clients of CLIENTS) {
      const load = await startLoad({
        driver: { kind: 'sdk', redisUrl: server.url, dataDir, clients },
        ...{ workload: 'insert', callers: TENANTS, choice: 'own' },
        tenants: Array.from({ length: TENANTS }, (_, index) => `clients-${clients}-${index}`),
      });
      try {
        const figures = await measureLoad(load, { broker: broker.pid, redis: server.pid() }, limits);
        servers.push({ x: clients, y: figures.cpuUs['broker']! + figures.cpuUs['redis']! });
        all.push({ x: clients, y: figures.allCpuUs });
        facts['connectionsPerClient'] = connectionsTo(server.port, load.pid) / clients;
        facts['clientsProcessMib'] = residentMibOf(load.pid);
        say(
          `${clients} clients: a write ${figures.allCpuUs.toFixed(0)} µs of CPU, ` +
            `${figures.perSecond.toFixed(0)}/s, p50 ${figures.p50Ms.toFixed(1)} ms`,
        );
      } finally {
        await load.close();
      }
    }
    return {
      facts,
      curves: [
        {
          ...{ id: 'clients-cpu', title: `CPU of a write by SDK clients (${TENANTS} callers and tenants)` },
          ...{ xLabel: 'clients', yLabel: 'CPU µs' },
          lines: [
            { label: 'broker and Redis', points: servers, isFlat: true },
            { label: 'with the clients', points: all, isFlat: true },
          ],
        },
      ],
    };
  },
};
