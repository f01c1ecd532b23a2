import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { connect, isOnewriterError } from '@onewriter/sdk';
import { BackgroundWrites } from './background-writes.ts';
import { loadKanbanConfig } from './kanban-config.ts';
import { log } from './log.ts';
import { createMetrics } from './metrics.ts';
import { loadPage } from './page.ts';
import { createRoutes } from './routes.ts';
import { TenantBoards } from './tenant-boards.ts';

async function main(): Promise<void> {
  const config = loadKanbanConfig();
  const onewriter = await connect({
    redis: config.redisUrl,
    dataDir: config.dataDir,
    group: config.group,
    dbFile: config.dbFile,
    gatewayUrl: config.gatewayUrl,
    token: config.token,
    logger: log,
  });
  const background = new BackgroundWrites(error => log.error({ err: error }, 'A background write was lost'));
  let draining = false;
  const app = createRoutes({
    boards: new TenantBoards(onewriter),
    background,
    page: await loadPage(),
    metrics: createMetrics(onewriter),
    isReady: () => !draining,
    ping: () => onewriter.ping(),
    reportFault: error => log.error({ err: error }, 'A request failed'),
  });
  const server = serve({ fetch: app.fetch, hostname: config.host, port: config.port }) as Server;
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  log.info({ url: `http://${config.host}:${port}`, pid: process.pid }, 'The kanban serves');
  process.send?.({ type: 'ready', port });

  const drain = async (signal: string) => {
    if (draining) return;
    draining = true;
    log.info({ signal }, 'Draining');
    setTimeout(() => fail(new Error('The drain took too long.')), config.drainMs).unref();
    // No new connections; those that idle are ended, those that wait for an answer get it.
    server.close();
    await once(server, 'close');
    await background.settled();
    await onewriter.close({ timeoutMs: config.drainMs / 2 });
    if (process.connected) process.disconnect();
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => drain(signal).catch(fail));
}

function fail(error: unknown): never {
  // A wrong setting or a port in use is for a person to read; only an internal error needs its stack.
  const isExpected = isOnewriterError(error) || (error as NodeJS.ErrnoException).code !== undefined;
  log.error(isExpected ? {} : { err: error }, (error as Error).message);
  process.exit(1);
}

main().catch(fail);
