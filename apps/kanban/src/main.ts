import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { connect } from '@onewriter/sdk';
import { BackgroundWrites } from './background-writes.ts';
import { loadKanbanConfig } from './kanban-config.ts';
import { log } from './log.ts';
import { loadPage } from './page.ts';
import { createRoutes } from './routes.ts';
import { TenantBoards } from './tenant-boards.ts';

/** Time from SIGTERM to the end of the process; most of Kubernetes' default grace period of 30 s is left. */
const DRAIN_MS = 10_000;

const config = loadKanbanConfig();
const onewriter = await connect({
  redis: config.redisUrl,
  dataDir: config.dataDir,
  group: config.group,
  dbFile: config.dbFile,
  logger: log,
});
const background = new BackgroundWrites(error => log.error({ err: error }, 'A background write was lost'));
let draining = false;
const app = createRoutes({
  boards: new TenantBoards(onewriter),
  background,
  page: await loadPage(),
  isReady: () => !draining,
  reportFault: error => log.error({ err: error }, 'A request failed'),
});
const server = serve({ fetch: app.fetch, hostname: config.host, port: config.port }) as Server;
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
log.info({ url: `http://${config.host}:${port}`, pid: process.pid }, 'The kanban serves');
process.send?.({ type: 'ready', port });

async function drain(signal: string): Promise<void> {
  if (draining) return;
  draining = true;
  log.info({ signal }, 'Draining');
  const deadline = setTimeout(() => {
    log.error({}, 'The drain took too long');
    process.exit(1);
  }, DRAIN_MS);
  deadline.unref();
  server.close(); // no new connections; those that idle are ended, those that wait for an answer get it
  await once(server, 'close');
  await background.settled();
  await onewriter.close({ timeoutMs: DRAIN_MS / 2 });
  process.disconnect?.();
}
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void drain(signal));
